//! All pods of a namespace: watched, and their logs read as they are written.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures::{AsyncBufReadExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use rig::terminal::Style;
use serde::Deserialize;
use testbed::tally::{Outcome, Tallies};
use testbed::timeline::Timeline;
use testbed::wording::Happening;
use tokio::task::JoinSet;

use crate::consumers::{APPLICATION, CONSUMER};
use crate::script::RESTARTED;

/// A line of a consumer's log that isn't a message.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Login { login: String, tries: u64, gap: f64 },
    List { list: usize },
}

/// A pod, as its log tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Whose Secret it takes.
    application: String,
    /// How many values a consumer read last.
    pub(crate) list: usize,
    /// Whether its last login was accepted.
    pub(crate) is_in: bool,
    /// It is being deleted, or is gone.
    pub(crate) is_gone: bool,
    /// How often its containers were started again.
    pub(crate) restarts: i32,
    /// Its log ended while it was there, with this.
    pub(crate) lost: Option<String>,
    /// Its log, without what consumers tell of logins.
    pub(crate) log: String,
    is_followed: bool,
    /// The message that it wrote last: it is told once.
    message: String,
}

impl Seen {
    /// Whether it reads a file. Who has the list in the environment has it for good.
    pub(crate) fn has_file(&self) -> bool {
        self.application != RESTARTED
    }
}

/// All pods of a namespace that there ever were, by name. Clones share them.
#[derive(Clone)]
pub(crate) struct Pods {
    api: Api<Pod>,
    pods: Arc<Mutex<BTreeMap<String, Seen>>>,
    /// Logins by application, and by consumer.
    tallies: [Tallies; 2],
    timeline: Timeline,
}

impl Pods {
    pub(crate) fn new(
        client: &Client,
        namespace: &str,
        tallies: [Tallies; 2],
        timeline: &Timeline,
    ) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        Self { api, pods: Arc::default(), tallies, timeline: timeline.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that there ever were.
    pub(crate) fn ever(&self) -> Vec<Seen> {
        self.lock().values().cloned().collect()
    }

    /// Those that are there.
    pub(crate) fn present(&self) -> Vec<Seen> {
        self.lock().values().filter(|seen| !seen.is_gone).cloned().collect()
    }

    /// Watches them, and reads the log of each from its beginning, until the returned set is dropped.
    pub(crate) fn follow(&self) -> JoinSet<()> {
        let mut running = JoinSet::new();
        running.spawn(self.clone().watch());
        running
    }

    async fn watch(self) {
        let mut readers = JoinSet::new();
        let pods = watcher(self.api.clone(), watcher::Config::default());
        let mut changes = pin!(pods.default_backoff());
        while let Some(change) = changes.next().await {
            // A watch that failed is opened anew, and begins with what there is then.
            match change {
                Ok(Event::Apply(pod) | Event::InitApply(pod)) if self.see(&pod) => {
                    readers.spawn(Reader { pods: self.clone(), whose: Whose::of(&pod) }.run());
                }
                Ok(Event::Delete(pod)) => self.change(&pod.name_any(), |seen| seen.is_gone = true),
                _ => {}
            }
        }
    }

    /// Notes how a pod is, and returns whether its log can be read for the first time.
    fn see(&self, pod: &Pod) -> bool {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let statuses = statuses.map(Vec::as_slice).unwrap_or_default();
        let has_begun = statuses.iter().any(|container| {
            let state = container.state.as_ref();
            state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        });
        let mut pods = self.lock();
        let seen = pods.entry(pod.name_any()).or_default();
        seen.application = pod.labels().get(APPLICATION).cloned().unwrap_or_default();
        let restarts = statuses.iter().map(|container| container.restart_count).sum();
        seen.restarts = seen.restarts.max(restarts);
        seen.is_gone = pod.metadata.deletion_timestamp.is_some();
        let is_new = has_begun && !seen.is_followed;
        seen.is_followed |= has_begun;
        is_new
    }

    fn change(&self, pod: &str, change: impl FnOnce(&mut Seen)) {
        change(self.lock().entry(pod.to_owned()).or_default());
    }
}

/// What a pod is called, and whose Secret it takes.
struct Whose {
    pod: String,
    application: String,
    consumer: String,
}

impl Whose {
    fn of(pod: &Pod) -> Self {
        let label = |name| pod.labels().get(name).cloned().unwrap_or_default();
        Self { pod: pod.name_any(), application: label(APPLICATION), consumer: label(CONSUMER) }
    }
}

/// Reads the log of one pod as it is written.
struct Reader {
    pods: Pods,
    whose: Whose,
}

impl Reader {
    async fn run(self) {
        let ended = self.read().await.err();
        let is_there = match self.pods.api.get_opt(&self.whose.pod).await {
            Ok(pod) => pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none()),
            Err(_) => true,
        };
        if !is_there {
            return;
        }
        let why = ended.map_or("it ended".to_owned(), |error| error.to_string());
        let text = format!("the log of pod {}: {why}", self.whose.pod);
        self.pods.timeline.fail(&self.whose.application, "lost", &text);
        self.change(|seen| seen.lost = Some(why));
    }

    async fn read(&self) -> Result<()> {
        let follow = LogParams { follow: true, ..LogParams::default() };
        let mut lines = self.pods.api.log_stream(&self.whose.pod, &follow).await?.lines();
        while let Some(line) = lines.next().await {
            self.hear(&line?);
        }
        Ok(())
    }

    fn hear(&self, line: &str) {
        let is_consumer = !self.whose.consumer.is_empty();
        match serde_json::from_str(line) {
            Ok(Line::Login { login, tries, gap }) if is_consumer => {
                let gap = Duration::try_from_secs_f64(gap).unwrap_or_default();
                self.login(outcome(&login, tries), gap);
            }
            Ok(Line::List { list }) if is_consumer => {
                let number = if list == 1 { "1 secret" } else { &format!("{list} secrets") };
                let text = format!("{} has {number}", self.name());
                self.tell(&Happening::new(Style::Plain, "read", text));
                self.change(|seen| seen.list = list);
            }
            _ => self.message(line, is_consumer),
        }
    }

    /// What isn't told of a login or a list. Of the operator's the world tells.
    fn message(&self, line: &str, is_consumer: bool) {
        let mut is_new = false;
        self.change(|seen| {
            seen.log.push_str(line);
            seen.log.push('\n');
            is_new = seen.message != line;
            seen.message = line.to_owned();
        });
        if is_consumer && is_new {
            let text = format!("{}: {line}", self.name());
            self.tell(&Happening::new(Style::Plain, "says", text));
        }
    }

    fn login(&self, outcome: Outcome, gap: Duration) {
        let [applications, consumers] = &self.pods.tallies;
        applications.count(&self.whose.application, outcome, gap);
        consumers.count(&self.whose.consumer, outcome, gap);
        let is_in = !outcome.is_failure();
        let mut was_in = false;
        self.change(|seen| was_in = std::mem::replace(&mut seen.is_in, is_in));
        let (name, timeline) = (self.name(), &self.pods.timeline);
        // One line for failures in a row, and one for their end: all of them are counted.
        if !is_in && (was_in || gap < Duration::from_secs(1)) {
            timeline.fail(&self.whose.application, "LOGIN", &format!("{name} can't log in"));
        } else if is_in && !was_in && gap > Duration::from_secs(1) {
            let text = format!("{name} logs in again, after {:.1} s", gap.as_secs_f64());
            timeline.act(&self.whose.application, "login", &text);
        }
    }

    fn tell(&self, happening: &Happening) {
        self.pods.timeline.tell(&self.whose.application, happening);
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        self.pods.change(&self.whose.pod, change);
    }

    /// The consumer and the last part of the pod's name, which tells it from its others.
    fn name(&self) -> String {
        let Whose { pod, consumer, .. } = &self.whose;
        format!("{consumer} {}", pod.rsplit('-').next().unwrap_or(pod))
    }
}

fn outcome(login: &str, tries: u64) -> Outcome {
    match (login, tries) {
        ("accepted", 1) => Outcome::First,
        ("accepted", _) => Outcome::Later,
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_log_are_read() {
        let line = |text| serde_json::from_str::<Line>(text);
        let login = line(r#"{"login":"accepted","tries":2,"gap":0.5}"#).unwrap();
        assert!(matches!(login, Line::Login { tries: 2, .. }));
        assert!(matches!(line(r#"{"list":2}"#).unwrap(), Line::List { list: 2 }));
        assert!(line("thread 'main' panicked").is_err());
    }

    #[test]
    fn only_an_accepted_login_counts_as_one() {
        assert_eq!(outcome("accepted", 1), Outcome::First);
        assert_eq!(outcome("accepted", 3), Outcome::Later);
        assert_eq!(outcome("failed", 1), Outcome::Failed);
        assert_eq!(outcome("", 1), Outcome::Failed);
    }
}
