//! Pods of a namespace, tracked by a watch and by their logs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use futures::{AsyncBufReadExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _, api::LogParams};
use parking_lot::{Mutex, MutexGuard};
use scenarios::{
    timeline::{Timeline, TimelineEntry},
    watch::{Change, watch_objects},
};
use serde::Deserialize;
use testkit::{
    login_tally::{LoginOutcome, LoginTallies},
    terminal::Style,
};
use tokio::task::JoinSet;

use crate::{
    consumers::{APPLICATION_LABEL, CONSUMER_LABEL},
    scenario::RESTARTED,
};

/// A gap between logins that is reported when it ends.
const NOTABLE_GAP: Duration = Duration::from_secs(1);

/// Line of a consumer's log that is not a message.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LogLine {
    Login { login: String, tries: u64, gap: f64 },
    List { list: usize },
}

/// State of a Pod, mostly from its log.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodState {
    application: String,
    /// Number of values that the consumer read last.
    pub(crate) values: usize,
    /// Auth0 accepted its last login.
    pub(crate) is_logged_in: bool,
    /// It is being deleted, or is gone.
    pub(crate) is_deleted: bool,
    /// Number of restarts of its containers.
    pub(crate) restarts: i32,
    /// Why its log ended while the Pod existed.
    pub(crate) log_error: Option<String>,
    /// Its log, without the lines about logins and lists.
    pub(crate) log: String,
    has_reader: bool,
    last_message: String,
}

impl PodState {
    /// Returns whether it reads its Secret from a file. The environment of a process never changes.
    pub(crate) fn reads_file(&self) -> bool {
        self.application != RESTARTED
    }
}

/// Logins of the Pods.
#[derive(Clone, Default)]
pub(crate) struct Logins {
    pub(crate) by_application: LoginTallies,
    pub(crate) by_consumer: LoginTallies,
}

/// All Pods of a namespace that ever existed, by name. Clones share them.
#[derive(Clone)]
pub(crate) struct PodTracker {
    api: Api<Pod>,
    pods: Arc<Mutex<BTreeMap<String, PodState>>>,
    logins: Logins,
    timeline: Timeline,
}

impl PodTracker {
    pub(crate) fn new(
        client: &Client,
        namespace: &str,
        logins: &Logins,
        timeline: &Timeline,
    ) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        Self { api, pods: Arc::default(), logins: logins.clone(), timeline: timeline.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PodState>> {
        self.pods.lock()
    }

    /// Returns all Pods that ever existed.
    pub(crate) fn all(&self) -> Vec<PodState> {
        self.lock().values().cloned().collect()
    }

    /// Returns the Pods that exist.
    pub(crate) fn existing(&self) -> Vec<PodState> {
        self.lock().values().filter(|pod| !pod.is_deleted).cloned().collect()
    }

    /// Returns the logs of all Pods that ever existed.
    pub(crate) fn logs(&self) -> String {
        self.lock().values().map(|pod| pod.log.as_str()).collect()
    }

    /// Watches the Pods, and reads the log of each from its beginning, until the returned set is
    /// dropped.
    pub(crate) fn start(&self) -> JoinSet<()> {
        let tracker = self.clone();
        let mut readers = JoinSet::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_objects(self.api.clone(), move |change| match change {
            Change::Applied(pod) => {
                if tracker.update(&pod) {
                    readers.spawn(LogReader::new(&tracker, &pod).run());
                }
            }
            Change::Deleted(pod) => tracker.change(&pod.name_any(), |pod| pod.is_deleted = true),
        }));
        tasks
    }

    /// Updates the state of a Pod, and returns whether its log needs a reader.
    fn update(&self, pod: &Pod) -> bool {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let statuses = statuses.map(Vec::as_slice).unwrap_or_default();
        let has_started = statuses.iter().any(|container| {
            let state = container.state.as_ref();
            state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        });
        let mut pods = self.lock();
        let state = pods.entry(pod.name_any()).or_default();
        state.application = label(pod, APPLICATION_LABEL);
        let restarts = statuses.iter().map(|container| container.restart_count).sum();
        state.restarts = state.restarts.max(restarts);
        state.is_deleted = pod.metadata.deletion_timestamp.is_some();
        let needs_reader = has_started && !state.has_reader;
        state.has_reader |= has_started;
        needs_reader
    }

    fn change(&self, pod: &str, change: impl FnOnce(&mut PodState)) {
        change(self.lock().entry(pod.to_owned()).or_default());
    }
}

fn label(pod: &Pod, name: &str) -> String {
    pod.labels().get(name).cloned().unwrap_or_default()
}

/// Reads the log of one Pod as it is written.
struct LogReader {
    tracker: PodTracker,
    pod: String,
    application: String,
    /// Empty if the Pod is not a consumer.
    consumer: String,
}

impl LogReader {
    fn new(tracker: &PodTracker, pod: &Pod) -> Self {
        Self {
            tracker: tracker.clone(),
            pod: pod.name_any(),
            application: label(pod, APPLICATION_LABEL),
            consumer: label(pod, CONSUMER_LABEL),
        }
    }

    async fn run(self) {
        let error = self.read().await.err();
        if let Ok(pod) = self.tracker.api.get_opt(&self.pod).await
            && pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
        {
            return;
        }
        let reason = error.map_or("it ended".to_owned(), |error| error.to_string());
        let text = format!("the log of Pod {}: {reason}", self.pod);
        self.tracker.timeline.record_failure(&self.application, "lost log", &text);
        self.change(|state| state.log_error = Some(reason));
    }

    async fn read(&self) -> Result<()> {
        let follow = LogParams { follow: true, ..LogParams::default() };
        let mut lines = self.tracker.api.log_stream(&self.pod, &follow).await?.lines();
        while let Some(line) = lines.next().await {
            self.handle_line(&line?);
        }
        Ok(())
    }

    fn is_consumer(&self) -> bool {
        !self.consumer.is_empty()
    }

    fn handle_line(&self, line: &str) {
        match serde_json::from_str(line) {
            Ok(LogLine::Login { login, tries, gap }) if self.is_consumer() => {
                let gap = Duration::try_from_secs_f64(gap).unwrap_or_default();
                self.handle_login(outcome(&login, tries), gap);
            }
            Ok(LogLine::List { list }) if self.is_consumer() => {
                let number = if list == 1 { "1 secret" } else { &format!("{list} secrets") };
                self.record("read", format!("{} has {number}", self.name()));
                self.change(|state| state.values = list);
            }
            _ => self.handle_message(line),
        }
    }

    fn handle_message(&self, line: &str) {
        let mut is_new = false;
        self.change(|state| {
            state.log.push_str(line);
            state.log.push('\n');
            is_new = state.last_message != line;
            state.last_message = line.to_owned();
        });
        // The tracker of resources reports what the operator does.
        if self.is_consumer() && is_new {
            self.record("log", format!("{}: {line}", self.name()));
        }
    }

    fn handle_login(&self, outcome: LoginOutcome, gap: Duration) {
        let Logins { by_application, by_consumer } = &self.tracker.logins;
        by_application.count(&self.application, outcome, gap);
        by_consumer.count(&self.consumer, outcome, gap);
        let is_logged_in = !outcome.is_failure();
        let mut was_logged_in = false;
        self.change(|state| {
            was_logged_in = std::mem::replace(&mut state.is_logged_in, is_logged_in);
        });
        let (name, timeline) = (self.name(), &self.tracker.timeline);
        // Consecutive failures have one line, and their end has one. All of them are counted.
        if !is_logged_in && (was_logged_in || gap < NOTABLE_GAP) {
            timeline.record_failure(&self.application, "LOGIN", &format!("{name} can't log in"));
        } else if is_logged_in && !was_logged_in && gap > NOTABLE_GAP {
            let text = format!("{name} logs in again after {:.1} s", gap.as_secs_f64());
            timeline.record_action(&self.application, "login", &text);
        }
    }

    fn record(&self, label: &str, text: String) {
        let entry = TimelineEntry::new(Style::Plain, label, text);
        self.tracker.timeline.record(&self.application, &entry);
    }

    fn change(&self, change: impl FnOnce(&mut PodState)) {
        self.tracker.change(&self.pod, change);
    }

    /// Returns the consumer and the last part of the Pod's name, which is unique.
    fn name(&self) -> String {
        let suffix = self.pod.rsplit('-').next().unwrap_or(&self.pod);
        format!("{} {suffix}", self.consumer)
    }
}

fn outcome(login: &str, tries: u64) -> LoginOutcome {
    match (login, tries) {
        ("accepted", 1) => LoginOutcome::FirstTry,
        ("accepted", _) => LoginOutcome::LaterTry,
        _ => LoginOutcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_log_lines() {
        let line = |text| serde_json::from_str::<LogLine>(text);
        let login = line(r#"{"login":"accepted","tries":2,"gap":0.5}"#).unwrap();
        assert!(matches!(login, LogLine::Login { tries: 2, .. }));
        assert!(matches!(line(r#"{"list":2}"#).unwrap(), LogLine::List { list: 2 }));
        assert!(line("thread 'main' panicked").is_err());
    }

    #[test]
    fn only_an_accepted_login_succeeds() {
        assert_eq!(outcome("accepted", 1), LoginOutcome::FirstTry);
        assert_eq!(outcome("accepted", 3), LoginOutcome::LaterTry);
        assert_eq!(outcome("failed", 1), LoginOutcome::Failed);
        assert_eq!(outcome("", 1), LoginOutcome::Failed);
    }
}
