//! The applications: Deployments whose pods mount their Secret, and their logs as they are written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{AsyncBufReadExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt as _};
use rig::cluster;
use rig::terminal::Style;
use serde::Deserialize;
use serde_json::{Value, json};
use testbed::manifests::Application;
use testbed::tally::{Outcome, Tallies};
use testbed::timeline::Timeline;
use testbed::wording::Happening;
use tokio::task::JoinSet;

use crate::auth0::AUDIENCE;
use crate::images::CONSUMER;
use crate::install::available;

/// How many pods an application has.
pub(crate) const PODS: u64 = 2;
const AUTHORITY: &str = "auth0-ca";
const SECRET: &str = "/var/run/auth0";

/// What the applications log in to.
pub(crate) struct Place<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
    pub(crate) url: &'a str,
    /// The certificate to trust, PEM.
    pub(crate) authority: &'a str,
}

/// A line of a consumer's log.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Login { login: String, tries: u64, gap: f64 },
    List { list: usize },
}

/// A pod of an application, as its log tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Consumer {
    /// How many values it read last.
    pub(crate) list: usize,
    /// Whether its last login was accepted.
    pub(crate) is_in: bool,
    /// Its log ended, with this.
    pub(crate) lost: Option<String>,
}

/// All pods, by name.
#[derive(Clone, Default)]
pub(crate) struct Consumers(Arc<Mutex<BTreeMap<String, Consumer>>>);

impl Consumers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Consumer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<(String, Consumer)> {
        self.lock().iter().map(|(name, consumer)| (name.clone(), consumer.clone())).collect()
    }
}

/// Creates the Deployments, waits until their pods run, and follows what they write. That ends with
/// the returned set.
pub(crate) async fn start(
    place: &Place<'_>,
    applications: &[Application],
    told: &(Consumers, Tallies, Timeline),
) -> Result<JoinSet<()>> {
    let mut manifests = vec![authority(place)];
    manifests.extend(applications.iter().map(|application| deployment(place, application)));
    cluster::apply(place.client, &manifests).await?;
    let mut running = JoinSet::new();
    let pods: Api<Pod> = Api::namespaced(place.client.clone(), place.namespace);
    for Application { name, .. } in applications {
        let deployments = Api::namespaced(place.client.clone(), place.namespace);
        available(deployments, name).await.with_context(|| format!("application {name}"))?;
        for pod in pods.list(&ListParams::default().labels(&format!("app={name}"))).await? {
            let follower = Follower {
                pods: pods.clone(),
                pod: pod.name_any(),
                application: name.clone(),
                told: told.clone(),
            };
            running.spawn(follower.run());
        }
    }
    Ok(running)
}

fn authority(place: &Place<'_>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": AUTHORITY, "namespace": place.namespace},
        "data": {"ca.crt": place.authority},
    })
}

fn deployment(place: &Place<'_>, application: &Application) -> Value {
    let Application { name, secret, .. } = application;
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": place.namespace},
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": false,
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532},
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{
                        "name": "application",
                        "image": CONSUMER,
                        "env": [
                            {"name": "AUTH0_URL", "value": place.url},
                            {"name": "AUTH0_CA_FILE", "value": "/etc/auth0/ca.crt"},
                            {"name": "AUTH0_AUDIENCE", "value": AUDIENCE},
                            {"name": "AUTH0_SECRET", "value": SECRET},
                        ],
                        "volumeMounts": [
                            {"name": "secret", "mountPath": SECRET, "readOnly": true},
                            {"name": "authority", "mountPath": "/etc/auth0", "readOnly": true},
                        ],
                    }],
                    "volumes": [
                        {"name": "secret", "secret": {"secretName": secret}},
                        {"name": "authority", "configMap": {"name": AUTHORITY}},
                    ],
                },
            },
        },
    })
}

/// Reads the log of one pod as it is written.
struct Follower {
    pods: Api<Pod>,
    pod: String,
    application: String,
    told: (Consumers, Tallies, Timeline),
}

impl Follower {
    async fn run(self) {
        self.told.0.lock().insert(self.pod.clone(), Consumer::default());
        let ended = self.follow().await.err();
        let why = ended.map_or("it ended".to_owned(), |error| error.to_string());
        self.told.2.fail(&self.application, "lost", &format!("the log of pod {}: {why}", self.pod));
        self.change(|consumer| consumer.lost = Some(why));
    }

    async fn follow(&self) -> Result<()> {
        let follow = LogParams { follow: true, ..LogParams::default() };
        let mut lines = self.pods.log_stream(&self.pod, &follow).await?.lines();
        while let Some(line) = lines.next().await {
            let line = line?;
            let read = serde_json::from_str(&line);
            self.hear(&read.with_context(|| format!("it says: {line}"))?);
        }
        Ok(())
    }

    fn hear(&self, line: &Line) {
        let (consumers, tallies, timeline) = &self.told;
        match line {
            Line::List { list } => {
                let number = if *list == 1 { "1 secret" } else { &format!("{list} secrets") };
                let text = format!("pod {} has {number} in its file", short(&self.pod));
                let happening = Happening::new(Style::Plain, "read", text);
                timeline.tell(&self.application, &happening);
                self.change(|consumer| consumer.list = *list);
            }
            Line::Login { login, tries, gap } => {
                let outcome = match (login.as_str(), tries) {
                    ("accepted", 1) => Outcome::First,
                    ("accepted", _) => Outcome::Later,
                    _ => Outcome::Failed,
                };
                let gap = Duration::try_from_secs_f64(*gap).unwrap_or_default();
                tallies.count(&self.application, outcome, gap);
                let is_in = !outcome.is_failure();
                let before = consumers.lock().get(&self.pod).is_none_or(|consumer| consumer.is_in);
                // One line for failures in a row, and one for their end: all of them are counted.
                if before && !is_in {
                    let text = format!("pod {} can't log in", short(&self.pod));
                    timeline.fail(&self.application, "LOGIN", &text);
                } else if is_in && !before && gap > Duration::from_secs(1) {
                    let seconds = gap.as_secs_f64();
                    let text =
                        format!("pod {} logs in again, after {seconds:.1} s", short(&self.pod));
                    timeline.act(&self.application, "login", &text);
                }
                self.change(|consumer| consumer.is_in = is_in);
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Consumer)) {
        if let Some(consumer) = self.told.0.lock().get_mut(&self.pod) {
            change(consumer);
        }
    }
}

/// The last part of a pod's name, which tells it from the others of its application.
fn short(pod: &str) -> &str {
    pod.rsplit('-').next().unwrap_or(pod)
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
    fn pods_have_short_names() {
        assert_eq!(short("billing-6d4cf56db6-x7k2p"), "x7k2p");
    }
}
