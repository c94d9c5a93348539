//! Watch that counts the objects that meet conditions, and when.

use std::{
    collections::HashSet,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use http::Request;
use kube::{Client, core::WatchEvent};
use serde::Deserialize;
use tokio::{sync::watch, task::JoinSet};

/// The part of an object that conditions are about. The rest isn't parsed, because that would use up
/// CPU that the measured processes need.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Observed {
    metadata: Metadata,
    #[serde(default)]
    pub(crate) status: Status,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    resource_version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
    pub(crate) last_handled_request: Option<String>,
    rotation: Option<Rotation>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Rotation {
    phase: String,
}

impl Status {
    pub(crate) fn is_ready(&self) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }

    /// Returns the phase of the rotation in progress.
    pub(crate) fn phase(&self) -> Option<&str> {
        self.rotation.as_ref().map(|rotation| rotation.phase.as_str())
    }
}

/// Condition that objects can meet.
pub(crate) type Predicate = Box<dyn Fn(&Status) -> bool + Send>;

/// How many objects have met a condition so far.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    objects: usize,
    /// When the last one did so.
    at: Option<Instant>,
}

/// Running watch, which counts the objects that have met each of its conditions. An object that no
/// longer meets one still counts.
pub(crate) struct Watch {
    met: watch::Receiver<Vec<Met>>,
    task: JoinSet<Result<()>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    metadata: ListMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

impl Watch {
    /// Watches changes from now on of the objects at an API path.
    pub(crate) async fn start(
        client: &Client,
        path: &str,
        predicates: Vec<Predicate>,
    ) -> Result<Self> {
        let request = Request::get(format!("{path}?limit=1")).body(Vec::new())?;
        let list: List = client.request(request).await.context("can't list the objects")?;
        let (sender, met) = watch::channel(vec![Met::default(); predicates.len()]);
        let counter = Counter {
            seen: predicates.iter().map(|_| HashSet::new()).collect(),
            predicates,
            met: sender,
            version: list.metadata.resource_version,
        };
        let mut task = JoinSet::new();
        task.spawn(counter.run(client.clone(), path.to_owned()));
        Ok(Self { met, task })
    }

    /// Waits until so many objects have met a condition, and returns when the last one did so.
    pub(crate) async fn wait(
        &mut self,
        condition: usize,
        objects: usize,
        deadline: Duration,
    ) -> Result<Instant> {
        let reached = self.met.wait_for(|met| met[condition].objects >= objects);
        let reached = tokio::select! {
            reached = tokio::time::timeout(deadline, reached) => match reached {
                Ok(reached) => reached.ok().and_then(|met| met[condition].at),
                Err(_) => None,
            },
            Some(ended) = self.task.join_next() => {
                ended??;
                bail!("the watch ended");
            }
        };
        if let Some(at) = reached {
            return Ok(at);
        }
        let met = self.met(condition);
        bail!("{met} of {objects} objects met the condition within {deadline:?}")
    }

    /// Returns how many objects have met a condition so far.
    pub(crate) fn met(&self, condition: usize) -> usize {
        self.met.borrow()[condition].objects
    }
}

struct Counter {
    predicates: Vec<Predicate>,
    /// Names of the objects that have met each condition.
    seen: Vec<HashSet<String>>,
    met: watch::Sender<Vec<Met>>,
    version: String,
}

impl Counter {
    async fn run(mut self, client: Client, path: String) -> Result<()> {
        loop {
            let uri = format!("{path}?watch=true&resourceVersion={}", self.version);
            let request = Request::get(uri).body(Vec::new())?;
            let events = client.request_events::<Observed>(request).await;
            let mut events = pin!(events.context("can't watch the objects")?);
            // After a connection error, the watch continues with the last version that was seen.
            while let Ok(Some(event)) = events.try_next().await {
                match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => self.count(object),
                    WatchEvent::Error(error) => bail!("the watch failed: {error:?}"),
                    WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
                }
            }
        }
    }

    fn count(&mut self, object: Observed) {
        let Metadata { name, resource_version } = object.metadata;
        self.version = resource_version;
        for (condition, predicate) in self.predicates.iter().enumerate() {
            if predicate(&object.status) && self.seen[condition].insert(name.clone()) {
                self.met.send_modify(|met| {
                    met[condition].objects += 1;
                    met[condition].at = Some(Instant::now());
                });
            }
        }
    }
}
