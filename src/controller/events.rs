//! Events (`events.k8s.io/v1`): one object for each transition.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use leader_election::{Leadership, WriteFence};
use rotation::EventRecord;

use super::kube_call::kube_call;
use crate::api::FIELD_MANAGER;

/// Publishes Events. Each is an object of its own: a series would keep only the first note.
pub(crate) struct EventRecorder {
    client: Client,
    instance: String,
    leadership: Leadership,
}

impl EventRecorder {
    pub(crate) fn new(client: Client, instance: String, leadership: Leadership) -> Self {
        Self { client, instance, leadership }
    }

    /// Publishes Events about an object. One that cannot be written is dropped: the log and the
    /// status have its content.
    pub(crate) async fn publish(&self, regarding: &ObjectReference, records: &[EventRecord]) {
        let namespace = regarding.namespace.as_deref().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams::default();
        for record in records {
            if !WriteFence::Leader(&self.leadership).allows_write() {
                return;
            }
            let event = self.event(regarding, record);
            if kube_call("publishing an Event", events.create(&params, &event)).await.is_err() {
                tracing::warn!(reason = %record.reason, "failed to publish an Event");
            }
        }
    }

    fn event(&self, regarding: &ObjectReference, record: &EventRecord) -> Event {
        let type_ = if record.is_warning { "Warning" } else { "Normal" };
        let name = regarding.name.as_deref().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                // A name has at most 253 characters, a UUID 36.
                name: Some(format!("{name:.200}.{}", uuid::Uuid::new_v4())),
                namespace: regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(Timestamp::now())),
            type_: Some(type_.to_owned()),
            reason: Some(record.reason.to_string()),
            action: Some("Reconcile".to_owned()),
            note: Some(record.message.clone()),
            regarding: Some(regarding.clone()),
            reporting_controller: Some(format!("auth0-rotator.dev/{FIELD_MANAGER}")),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}
