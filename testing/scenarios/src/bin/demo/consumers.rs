//! Consumers, in place of an application's Pods, which log in continuously.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use auth0_simulator::Simulator;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use reqwest::StatusCode;
use scenarios::{environment::Environment, quickstart::Application, timeline::Timeline};
use secrecy::{ExposeSecret as _, SecretString};
use testkit::{
    auth0::AUDIENCE,
    login_tally::{LoginOutcome, LoginTallies},
    target_secret::TargetSecret,
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    login::{Knowledge, LoginEnvironment, log_in},
    recording::Recording,
};

const LOGIN_INTERVAL: Duration = Duration::from_millis(300);
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
const SECRET_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Behavior of a consumer between logins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behavior {
    /// Its difference to the others, in two or three words.
    pub(crate) name: &'static str,
    /// How often it reads its Secret.
    read_interval: Duration,
    /// How often it restarts and loses what it knows.
    restart_interval: Option<Duration>,
}

/// One consumer reads often, one lags as a mounted Secret does, and one keeps restarting.
pub(crate) const BEHAVIORS: [Behavior; 3] = [
    Behavior {
        name: "reads every 1 s",
        read_interval: Duration::from_secs(1),
        restart_interval: None,
    },
    Behavior {
        name: "reads every 5 s",
        read_interval: Duration::from_secs(5),
        restart_interval: None,
    },
    Behavior {
        name: "restarts every 4 s",
        read_interval: Duration::from_secs(1),
        restart_interval: Some(Duration::from_secs(4)),
    },
];

/// Description of the consumers for users.
pub(crate) const DESCRIPTION: &str = "Each application has three consumers, which log in every 0.3 s: one reads its Secret every \
     second,\none every 5 s, and one restarts every 4 s.";

/// Starts the consumers of all applications. They end with the returned set.
pub(crate) fn start(env: &Environment, recording: &Recording) -> reqwest::Result<JoinSet<()>> {
    let http = reqwest::Client::builder().no_proxy().timeout(REQUEST_DEADLINE).build()?;
    let mut tasks = JoinSet::new();
    for application in &env.quickstart.applications {
        for (index, behavior) in BEHAVIORS.into_iter().enumerate() {
            let consumer = Consumer {
                index,
                recording: recording.clone(),
                application: application.clone(),
                secrets: Api::namespaced(env.client.clone(), &env.quickstart.namespace),
                simulator: env.simulator.clone(),
                http: http.clone(),
                logins: env.logins.clone(),
                timeline: env.timeline.clone(),
            };
            // Spreads the logins.
            let offset = LOGIN_INTERVAL * u32::try_from(index).unwrap_or_default() / 3;
            tasks.spawn(async move {
                tokio::time::sleep(offset).await;
                consumer.run(behavior).await;
            });
        }
    }
    Ok(tasks)
}

struct Consumer {
    index: usize,
    recording: Recording,
    application: Application,
    secrets: Api<Secret>,
    simulator: Arc<Simulator>,
    http: reqwest::Client,
    logins: LoginTallies,
    timeline: Timeline,
}

impl Consumer {
    async fn run(self, behavior: Behavior) {
        let mut knowledge = self.wait_for_secret().await;
        let mut read_at = Instant::now();
        let mut started_at = Instant::now();
        let mut accepted_at = Instant::now();
        let mut has_failed = false;
        let mut ticks = interval(LOGIN_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if behavior.restart_interval.is_some_and(|interval| started_at.elapsed() >= interval) {
                knowledge = self.wait_for_secret().await;
                (read_at, started_at) = (Instant::now(), Instant::now());
            } else if read_at.elapsed() >= behavior.read_interval {
                // Keeps what it knows if the Secret can't be read.
                knowledge.values = self.read_values().await.unwrap_or(knowledge.values);
                read_at = Instant::now();
            }
            let outcome = log_in(&mut knowledge, &self).await;
            let name = &self.application.name;
            self.recording.add_login(name, self.index, knowledge.accepted());
            self.logins.count(name, outcome, accepted_at.elapsed());
            if !outcome.is_failure() {
                accepted_at = Instant::now();
            } else if !has_failed {
                // Consecutive failures have one line. All of them are counted.
                self.record_failure(outcome);
            }
            has_failed = outcome.is_failure();
        }
    }

    /// Waits for the Secret, because a Pod doesn't start before it exists.
    async fn wait_for_secret(&self) -> Knowledge {
        loop {
            if let Some(values) = self.read_values().await
                && !values.is_empty()
            {
                return Knowledge::new(values);
            }
            tokio::time::sleep(SECRET_POLL_INTERVAL).await;
        }
    }

    fn record_failure(&self, outcome: LoginOutcome) {
        let text = match outcome {
            LoginOutcome::FailedBeforePublication => {
                "a login failed: Auth0 has a new secret, which is not published yet"
            }
            _ => "a login failed although the secret that Auth0 has is published",
        };
        self.timeline.record_failure(&self.application.name, "LOGIN", text);
    }
}

impl LoginEnvironment for Consumer {
    async fn is_accepted(&self, secret: &SecretString) -> bool {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.application.client_id),
            ("client_secret", secret.expose_secret()),
            ("audience", AUDIENCE),
        ];
        let url = format!("{}/oauth/token", self.simulator.url());
        let response = self.http.post(url).form(&form).send().await;
        response.is_ok_and(|response| response.status() == StatusCode::OK)
    }

    async fn read_values(&self) -> Option<Vec<SecretString>> {
        let secret = self.secrets.get_opt(&self.application.secret);
        let secret = tokio::time::timeout(REQUEST_DEADLINE, secret).await.ok()?.ok()??;
        Some(TargetSecret::parse(&secret).values)
    }

    fn secret_at_auth0(&self) -> Option<SecretString> {
        self.simulator.client_secret(&self.application.client_id)
    }
}
