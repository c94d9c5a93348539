//! The consumers: stand-ins for an application's pods, which log in all the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use auth0_simulator::Simulator;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use testbed::login::{Knowledge, Surroundings, log_in};
use testbed::manifests::Application;
use testbed::tally::{Outcome, Tallies};
use testbed::target;
use testbed::timeline::Timeline;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// The API that the applications ask tokens for.
pub(crate) const AUDIENCE: &str = "https://api.acme.example";

const LOGIN_EVERY: Duration = Duration::from_millis(300);
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// What one consumer does between logins.
#[derive(Clone, Copy, Debug)]
struct Habit {
    /// How often it reads its Secret.
    read_every: Duration,
    /// How often it starts anew and knows nothing but what it reads then.
    restart_every: Option<Duration>,
}

/// One that reads often, one that lags as a mounted Secret does, and one that keeps restarting.
const HABITS: [Habit; 3] = [
    Habit { read_every: Duration::from_secs(1), restart_every: None },
    Habit { read_every: Duration::from_secs(5), restart_every: None },
    Habit { read_every: Duration::from_secs(1), restart_every: Some(Duration::from_secs(4)) },
];

/// What the consumers are, for the one who watches them.
pub(crate) const DESCRIPTION: &str = "Each application has three consumers, which log in every 0.3 s: one reads its Secret every \
     second,\none every 5 s, and one starts anew every 4 s.";

/// What all consumers share.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) http: reqwest::Client,
    pub(crate) tallies: Tallies,
    pub(crate) timeline: Timeline,
}

/// Starts the consumers of all applications. They end with the returned set.
pub(crate) fn start(setting: &Setting, applications: &[Application]) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for application in applications {
        for (place, habit) in HABITS.into_iter().enumerate() {
            let consumer = Consumer {
                setting: setting.clone(),
                application: application.clone(),
                secrets: Api::namespaced(setting.client.clone(), &setting.namespace),
            };
            // Not all at once.
            let offset = LOGIN_EVERY * u32::try_from(place).unwrap_or(0) / 3;
            running.spawn(async move {
                tokio::time::sleep(offset).await;
                consumer.run(habit).await;
            });
        }
    }
    running
}

struct Consumer {
    setting: Setting,
    application: Application,
    secrets: Api<Secret>,
}

impl Consumer {
    async fn run(self, habit: Habit) {
        let mut knowledge = self.wait_for_secret().await;
        let (mut read_at, mut started_at, mut accepted_at) =
            (Instant::now(), Instant::now(), Instant::now());
        let mut last = Outcome::First;
        let mut ticks = interval(LOGIN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if habit.restart_every.is_some_and(|every| started_at.elapsed() >= every) {
                knowledge = self.wait_for_secret().await;
                (read_at, started_at) = (Instant::now(), Instant::now());
            } else if read_at.elapsed() >= habit.read_every {
                // What can't be read is as it was, as far as a consumer knows.
                knowledge.list = self.read().await.unwrap_or(knowledge.list);
                read_at = Instant::now();
            }
            let outcome = log_in(&mut knowledge, &self).await;
            self.setting.tallies.count(&self.application.name, outcome, accepted_at.elapsed());
            if !outcome.is_failure() {
                accepted_at = Instant::now();
            } else if !last.is_failure() {
                // One line for failures in a row: all of them are counted.
                self.tell(outcome);
            }
            last = outcome;
        }
    }

    /// A pod isn't started before its Secret exists.
    async fn wait_for_secret(&self) -> Knowledge {
        loop {
            if let Some(list) = self.read().await.filter(|list| !list.is_empty()) {
                return Knowledge::new(list);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn tell(&self, failure: Outcome) {
        let text = if failure == Outcome::FailedUnpublished {
            "a login failed: Auth0 has a new secret, which is not published yet"
        } else {
            "a login failed although the secret that Auth0 has is published"
        };
        self.setting.timeline.fail(&self.application.name, "LOGIN", text);
    }
}

impl Surroundings for Consumer {
    async fn ask(&self, secret: &SecretString) -> bool {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.application.client_id),
            ("client_secret", secret.expose_secret()),
            ("audience", AUDIENCE),
        ];
        let url = format!("{}/oauth/token", self.setting.simulator.url());
        let answer = self.setting.http.post(url).form(&form).timeout(CALL_DEADLINE).send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    async fn read(&self) -> Option<Vec<SecretString>> {
        let read = self.secrets.get_opt(&self.application.secret);
        let secret = tokio::time::timeout(CALL_DEADLINE, read).await.ok()?.ok()??;
        Some(target::list(&secret.data.unwrap_or_default()))
    }

    fn truth(&self) -> Option<SecretString> {
        self.setting.simulator.client_secret(&self.application.client_id)
    }
}
