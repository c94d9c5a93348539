//! What is known of the resources and their Secrets, kept up to date by watches.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::manifests::Application;
use crate::status::Status;
use crate::target::Target;
use crate::timeline::Timeline;
use crate::wording;

/// One application as the watches see it.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub status: Status,
    pub target: Option<Target>,
    /// How many rotations ended as they should, by cause. The status remembers ten only.
    pub completed: BTreeMap<String, u64>,
    /// How many ended otherwise.
    pub not_completed: u64,
}

impl View {
    pub fn completed(&self, cause: &str) -> u64 {
        self.completed.get(cause).copied().unwrap_or_default()
    }

    /// Whether the Secret is as the operator writes it.
    pub fn is_sound(&self) -> bool {
        self.target.as_ref().is_some_and(Target::is_sound)
    }

    /// Whether a Secret is published, and no rotation is in progress.
    pub fn is_idle(&self) -> bool {
        self.status.current.is_some() && self.status.rotation.is_none() && self.is_sound()
    }
}

type Views = BTreeMap<String, View>;

/// All applications, by name.
#[derive(Clone)]
pub struct World {
    views: watch::Sender<Views>,
    timeline: Timeline,
}

/// Something didn't come about in time.
#[derive(Debug)]
pub struct Overdue {
    what: String,
    after: Duration,
    obstacle: Option<String>,
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} did not happen within {} s", self.what, self.after.as_secs())?;
        match &self.obstacle {
            Some(obstacle) => write!(f, ". {obstacle}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Overdue {}

impl World {
    pub fn new(timeline: Timeline) -> Self {
        Self { views: watch::Sender::default(), timeline }
    }

    /// What is known of an application.
    pub fn view(&self, application: &str) -> View {
        self.views.borrow().get(application).cloned().unwrap_or_default()
    }

    /// Waits until `condition` holds of an application; `what` is what then has happened.
    pub async fn wait(
        &self,
        application: &str,
        within: Duration,
        what: &str,
        condition: impl Fn(&View) -> bool,
    ) -> Result<(), Overdue> {
        let mut views = self.views.subscribe();
        let holds = |views: &Views| views.get(application).is_some_and(&condition);
        let came = tokio::time::timeout(within, views.wait_for(holds)).await;
        if matches!(came, Ok(Ok(_))) {
            return Ok(());
        }
        let obstacle = self.view(application).status.obstacle();
        Err(Overdue { what: format!("{application}: {what}"), after: within, obstacle })
    }

    /// Starts the watches. They end with the returned set.
    pub fn watch(
        &self,
        client: &Client,
        namespace: &str,
        applications: &[Application],
    ) -> JoinSet<()> {
        let mut running = JoinSet::new();
        let resources = Api::namespaced_with(client.clone(), namespace, &client_secret_rotations());
        running.spawn(self.clone().watch_resources(resources));
        let secrets = Api::namespaced(client.clone(), namespace);
        let owners = applications.iter().map(|app| (app.secret.clone(), app.name.clone()));
        running.spawn(self.clone().watch_secrets(secrets, owners.collect()));
        running
    }

    async fn watch_resources(self, resources: Api<DynamicObject>) {
        let mut changes = pin!(watcher(resources, watcher::Config::default()).default_backoff());
        while let Some(change) = changes.next().await {
            // A watch that failed is opened anew, and begins with what there is then.
            if let Ok(Event::Apply(resource) | Event::InitApply(resource)) = change {
                let status = resource.data.get("status").cloned().unwrap_or_default();
                self.see_status(&resource.name_any(), serde_json::from_value(status));
            }
        }
    }

    async fn watch_secrets(self, secrets: Api<Secret>, owners: BTreeMap<String, String>) {
        let mut changes = pin!(watcher(secrets, watcher::Config::default()).default_backoff());
        while let Some(change) = changes.next().await {
            let (secret, exists) = match change {
                Ok(Event::Apply(secret) | Event::InitApply(secret)) => (secret, true),
                Ok(Event::Delete(secret)) => (secret, false),
                Ok(Event::Init | Event::InitDone) | Err(_) => continue,
            };
            if let Some(application) = owners.get(&secret.name_any()) {
                self.see_target(application, exists.then(|| Target::read(&secret)));
            }
        }
    }

    fn see_status(&self, application: &str, status: serde_json::Result<Status>) {
        // A resource without a status has one that is null.
        let Ok(status) = status else { return };
        let mut happened = Vec::new();
        self.views.send_modify(|views| {
            let view = views.entry(application.to_owned()).or_default();
            happened = wording::of_status(&view.status, &status);
            for ended in wording::newly_ended(&view.status, &status) {
                if ended.outcome == "Completed" {
                    *view.completed.entry(ended.cause.clone()).or_default() += 1;
                } else {
                    view.not_completed += 1;
                }
            }
            view.status = status;
        });
        for happening in happened {
            self.timeline.tell(application, &happening);
        }
    }

    fn see_target(&self, application: &str, target: Option<Target>) {
        let mut happened = None;
        self.views.send_modify(|views| {
            let view = views.entry(application.to_owned()).or_default();
            happened = wording::of_target(view.target.as_ref(), target.as_ref());
            view.target = target;
        });
        if let Some(happening) = happened {
            self.timeline.tell(application, &happening);
        }
    }
}

/// The resource as the API server knows it.
pub fn client_secret_rotations() -> ApiResource {
    let kind = GroupVersionKind::gvk("auth0-rotator.dev", "v1alpha1", "ClientSecretRotation");
    ApiResource::from_gvk_with_plural(&kind, "clientsecretrotations")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Ended;
    use crate::target::tests::target;
    use rig::terminal::Terminal;

    fn world() -> World {
        World::new(Timeline::begin(Terminal::silent()))
    }

    fn with_history(history: &[(u64, &str)]) -> Status {
        let ended = |&(number, outcome): &(u64, &str)| Ended {
            number,
            cause: "Schedule".into(),
            outcome: outcome.into(),
            ..Ended::default()
        };
        let history = history.iter().map(ended).collect();
        Status { current: Some(9), history, ..Status::default() }
    }

    #[tokio::test]
    async fn rotations_are_counted_beyond_what_the_status_remembers() {
        let world = world();
        world.see_status("a", Ok(with_history(&[(2, "Completed")])));
        world.see_status("a", Ok(with_history(&[(3, "Superseded"), (2, "Completed")])));
        world.see_status("a", Ok(with_history(&[(4, "Completed"), (3, "Superseded")])));
        world.see_status("a", Ok(with_history(&[(4, "Completed"), (3, "Superseded")])));
        let view = world.view("a");
        assert_eq!((view.completed("Schedule"), view.not_completed), (2, 1));
        assert_eq!(view.completed("Request"), 0);
    }

    #[tokio::test]
    async fn a_wait_ends_when_it_comes_about_or_says_what_did_not() {
        let world = world();
        world.see_status("a", Ok(with_history(&[])));
        let brief = Duration::from_millis(20);
        let overdue = world.wait("a", brief, "the import", View::is_idle).await.unwrap_err();
        assert_eq!(overdue.to_string(), "a: the import did not happen within 0 s");
        world.see_target("a", Some(target(&[9])));
        world.wait("a", brief, "the import", View::is_idle).await.unwrap();
    }
}
