//! Recording of one application, from which the picture of a rotation is made.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rotation::Phase;
use scenarios::{
    timeline::Timeline,
    tracker::{ApplicationState, Tracker},
};
use secrecy::{ExposeSecret as _, SecretString};
use testkit::target_secret::TargetSecret;

/// State of the application from a point in time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateSample {
    pub(crate) at: Duration,
    /// Number and phase of the rotation in progress.
    pub(crate) rotation: Option<(u64, Phase)>,
    /// Numbers of the values in the target Secret, in their order.
    pub(crate) published: Vec<u64>,
}

/// One login of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoginSample {
    pub(crate) at: Duration,
    pub(crate) consumer: usize,
    /// Number of the value that Auth0 accepted. `None`: the login failed.
    pub(crate) accepted: Option<u64>,
}

#[derive(Default)]
struct Samples {
    states: Vec<StateSample>,
    logins: Vec<(Duration, usize, Option<SecretString>)>,
    numbers: Vec<(SecretString, u64)>,
}

/// Records the states and logins of one application. Clones share the recording.
#[derive(Clone)]
pub(crate) struct Recording {
    application: &'static str,
    timeline: Timeline,
    samples: Arc<Mutex<Samples>>,
}

impl Recording {
    pub(crate) fn new(application: &'static str, timeline: Timeline) -> Self {
        Self { application, timeline, samples: Arc::default() }
    }

    /// Records all changes of the state until the future is dropped.
    pub(crate) async fn follow(self, tracker: Tracker) {
        let mut states = tracker.subscribe();
        loop {
            let state = states.borrow_and_update().get(self.application).cloned();
            self.add_state(&state.unwrap_or_default());
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    fn add_state(&self, state: &ApplicationState) {
        let mut samples = self.samples.lock();
        let target = state.target.as_ref().filter(|target| target.is_consistent());
        let Some(TargetSecret { numbers, values, .. }) = target else { return };
        let known: Vec<_> = values.iter().cloned().zip(numbers.iter().copied()).collect();
        samples.numbers.extend(known);
        let rotation = state.status.rotation.as_ref();
        samples.states.push(StateSample {
            at: self.timeline.elapsed(),
            rotation: rotation.map(|rotation| (rotation.number, rotation.phase)),
            published: numbers.clone(),
        });
    }

    /// Records a login with the value that Auth0 accepted.
    pub(crate) fn add_login(
        &self,
        application: &str,
        consumer: usize,
        accepted: Option<&SecretString>,
    ) {
        if application == self.application {
            let login = (self.timeline.elapsed(), consumer, accepted.cloned());
            self.samples.lock().logins.push(login);
        }
    }

    pub(crate) fn states(&self) -> Vec<StateSample> {
        self.samples.lock().states.clone()
    }

    pub(crate) fn logins(&self) -> Vec<LoginSample> {
        let samples = self.samples.lock();
        let number = |value: &SecretString| {
            let is_same = |known: &SecretString| known.expose_secret() == value.expose_secret();
            samples.numbers.iter().find(|(known, _)| is_same(known)).map(|(_, number)| *number)
        };
        let logins = samples.logins.iter().map(|(at, consumer, accepted)| LoginSample {
            at: *at,
            consumer: *consumer,
            accepted: accepted.as_ref().and_then(number),
        });
        logins.collect()
    }
}
