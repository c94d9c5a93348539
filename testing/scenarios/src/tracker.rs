//! State of the applications, tracked by watches on their resources and Secrets.

use std::{collections::HashMap, time::Duration};

use anyhow::{Result, bail};
use auth0_rotator::api::ClientSecretRotation;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};
use rotation::{Cause, Outcome, Phase, Status};
use testkit::{status, target_secret::TargetSecret};
use tokio::{
    sync::watch::{Receiver, Sender},
    task::JoinSet,
};

use crate::{
    changes,
    quickstart::Application,
    timeline::Timeline,
    watch::{Change, watch_objects},
};

/// State of one application.
#[derive(Clone, Debug, Default)]
pub struct ApplicationState {
    pub status: Status,
    pub target: Option<TargetSecret>,
    /// Number of completed rotations by cause. The status keeps only ten.
    pub completed: HashMap<Cause, u64>,
    /// Number of rotations that ended otherwise.
    pub not_completed: u64,
}

impl ApplicationState {
    pub fn completed(&self, cause: Cause) -> u64 {
        self.completed.get(&cause).copied().unwrap_or_default()
    }

    pub fn phase(&self) -> Option<Phase> {
        status::phase(&self.status)
    }

    /// Returns whether the Secret is as the operator writes it.
    pub fn has_consistent_target(&self) -> bool {
        self.target.as_ref().is_some_and(TargetSecret::is_consistent)
    }

    /// Returns whether a secret is published and no rotation is in progress.
    pub fn is_idle(&self) -> bool {
        self.status.current.is_some()
            && self.status.rotation.is_none()
            && self.has_consistent_target()
    }
}

/// States by the name of the application.
pub type States = HashMap<String, ApplicationState>;

/// States of all applications by name. Clones share them.
#[derive(Clone)]
pub struct Tracker {
    states: Sender<States>,
    timeline: Timeline,
}

impl Tracker {
    pub fn new(timeline: Timeline) -> Self {
        Self { states: Sender::default(), timeline }
    }

    /// Returns the states of all applications, and their changes.
    pub fn subscribe(&self) -> Receiver<States> {
        self.states.subscribe()
    }

    pub fn state(&self, application: &str) -> ApplicationState {
        self.states.borrow().get(application).cloned().unwrap_or_default()
    }

    /// Waits until an application meets a condition. After `deadline` it fails with `expected`, which
    /// describes the condition, and with the problem that the operator reports.
    pub async fn wait(
        &self,
        application: &str,
        deadline: Duration,
        expected: &str,
        is_met: impl Fn(&ApplicationState) -> bool,
    ) -> Result<()> {
        let mut states = self.states.subscribe();
        let is_met = |states: &States| states.get(application).is_some_and(&is_met);
        let waited = tokio::time::timeout(deadline, states.wait_for(is_met)).await;
        if matches!(waited, Ok(Ok(_))) {
            return Ok(());
        }
        let seconds = deadline.as_secs();
        match status::problem(&self.state(application).status) {
            Some(problem) => {
                bail!("{application}: {expected} did not happen within {seconds} s. {problem}")
            }
            None => bail!("{application}: {expected} did not happen within {seconds} s"),
        }
    }

    /// Starts the watches. They end with the returned set.
    pub fn start(
        &self,
        client: &Client,
        namespace: &str,
        applications: &[Application],
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let tracker = self.clone();
        let resources: Api<ClientSecretRotation> = Api::namespaced(client.clone(), namespace);
        tasks.spawn(watch_objects(resources, move |change| {
            if let Change::Applied(resource) = change {
                let name = resource.name_any();
                tracker.update_status(&name, resource.status.unwrap_or_default());
            }
        }));
        let tracker = self.clone();
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let owners = applications.iter().map(|app| (app.secret.clone(), app.name.clone()));
        let owners: HashMap<String, String> = owners.collect();
        tasks.spawn(watch_objects(secrets, move |change| {
            let (secret, target) = match change {
                Change::Applied(secret) => {
                    let target = TargetSecret::parse(&secret);
                    (secret, Some(target))
                }
                Change::Deleted(secret) => (secret, None),
            };
            if let Some(application) = owners.get(&secret.name_any()) {
                tracker.update_target(application, target);
            }
        }));
        tasks
    }

    fn update_status(&self, application: &str, status: Status) {
        let mut entries = Vec::new();
        self.states.send_modify(|states| {
            let state = states.entry(application.to_owned()).or_default();
            entries = changes::of_status(&state.status, &status);
            for ended in changes::newly_ended(&state.status, &status) {
                if ended.outcome == Outcome::Completed {
                    *state.completed.entry(ended.cause).or_default() += 1;
                } else {
                    state.not_completed += 1;
                }
            }
            state.status = status;
        });
        for entry in entries {
            self.timeline.record(application, &entry);
        }
    }

    fn update_target(&self, application: &str, target: Option<TargetSecret>) {
        let mut entry = None;
        self.states.send_modify(|states| {
            let state = states.entry(application.to_owned()).or_default();
            entry = changes::of_target(state.target.as_ref(), target.as_ref());
            state.target = target;
        });
        if let Some(entry) = entry {
            self.timeline.record(application, &entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use rotation::HistoryEntry;
    use testkit::terminal::Terminal;

    use super::*;

    fn tracker() -> Tracker {
        Tracker::new(Timeline::start(Terminal::silent()))
    }

    fn with_history(history: &[(u64, Outcome)]) -> Status {
        let entry = |&(number, outcome): &(u64, Outcome)| HistoryEntry {
            number,
            outcome,
            ..changes::tests::history_entry()
        };
        Status {
            current: Some(9),
            history: history.iter().map(entry).collect(),
            ..Status::default()
        }
    }

    #[tokio::test]
    async fn counts_rotations_beyond_the_history_of_the_status() {
        use Outcome::{Completed, Superseded};
        let tracker = tracker();
        tracker.update_status("a", with_history(&[(2, Completed)]));
        tracker.update_status("a", with_history(&[(3, Superseded), (2, Completed)]));
        tracker.update_status("a", with_history(&[(4, Completed), (3, Superseded)]));
        tracker.update_status("a", with_history(&[(4, Completed), (3, Superseded)]));
        let state = tracker.state("a");
        assert_eq!((state.completed(Cause::Schedule), state.not_completed), (2, 1));
        assert_eq!(state.completed(Cause::Request), 0);
    }

    #[tokio::test]
    async fn wait_ends_when_the_condition_is_met_or_names_it() {
        let tracker = tracker();
        tracker.update_status("a", with_history(&[]));
        let brief = Duration::from_millis(20);
        let error = tracker.wait("a", brief, "the import", ApplicationState::is_idle).await;
        assert_eq!(error.unwrap_err().to_string(), "a: the import did not happen within 0 s");
        tracker.update_target("a", Some(TargetSecret::with_numbers(&[9])));
        tracker.wait("a", brief, "the import", ApplicationState::is_idle).await.unwrap();
    }
}
