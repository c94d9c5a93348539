//! Events, events.k8s.io/v1: one for each thing that happened.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use rotation::EventRecord;

use super::KUBE_DEADLINE;
use crate::api::MANAGER;
use leader_election::{Leadership, WriteFence};

/// Writes Events. Each is an object of its own: a series would keep the first note only.
pub(super) struct Announcer {
    client: Client,
    instance: String,
    leadership: Leadership,
}

impl Announcer {
    pub(super) fn new(client: Client, instance: String, leadership: Leadership) -> Announcer {
        Announcer { client, instance, leadership }
    }

    /// Tells what happened to `about`. An Event that can't be written is let go: what it says
    /// stands in the log, and in the status.
    pub(super) async fn tell(&self, about: &ObjectReference, notices: &[EventRecord]) {
        let namespace = about.namespace.as_deref().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams::default();
        for notice in notices {
            if !WriteFence::Leader(&self.leadership).holds() {
                return;
            }
            let event = self.event(about, notice);
            let created = events.create(&params, &event);
            match tokio::time::timeout(KUBE_DEADLINE, created).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => {
                    tracing::warn!(reason = %notice.reason, "an Event could not be written");
                }
            }
        }
    }

    fn event(&self, about: &ObjectReference, notice: &EventRecord) -> Event {
        let kind = if notice.is_warning { "Warning" } else { "Normal" };
        let name = about.name.as_deref().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                // Names have at most 253 characters, a UUID 36.
                name: Some(format!("{name:.200}.{}", uuid::Uuid::new_v4())),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(Timestamp::now())),
            type_: Some(kind.to_owned()),
            reason: Some(notice.reason.to_string()),
            action: Some("Reconcile".to_owned()),
            note: Some(notice.message.chars().take(1000).collect()),
            regarding: Some(about.clone()),
            reporting_controller: Some(format!("auth0-rotator.dev/{MANAGER}")),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}
