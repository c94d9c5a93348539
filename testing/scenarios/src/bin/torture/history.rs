//! History of each client: the lists in its Secret, its status, and the latest events.

use std::{collections::VecDeque, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::{Mutex, MutexGuard};
use rotation::Status;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    audit_log::{Stored, Write},
    clients::{PROPAGATION, STAGING, TestClient},
};

/// Number of lists that are kept: more than are written in a staging period.
const MAX_LISTS: usize = 64;
/// Number of events that are printed after a violation.
const MAX_EVENTS: usize = 60;

/// The values in a Secret, as a consumer reads them.
pub(crate) type List = Arc<[SecretString]>;

/// List since the time when it was stored.
struct DatedList {
    since: DateTime<Utc>,
    list: List,
}

/// History of one client.
#[derive(Default)]
pub(crate) struct ClientHistory {
    lists: VecDeque<DatedList>,
    pub(crate) status: Status,
    revocation: Option<Revocation>,
    events: VecDeque<String>,
    /// The latest resource versions.
    status_version: u64,
    secret_version: u64,
    /// When Auth0 last changed the secret.
    pub(crate) changed_at: Option<DateTime<Utc>>,
}

/// Time in which logins may fail because of a `revoke` request, which skips staging and grace period.
#[derive(Clone, Debug)]
struct Revocation {
    request: String,
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
}

impl ClientHistory {
    /// Returns the list in the Secret at a time, if there was one.
    pub(crate) fn list_at(&self, at: DateTime<Utc>) -> Option<List> {
        let dated = self.lists.iter().rev().find(|dated| dated.since <= at)?;
        Some(dated.list.clone())
    }

    /// Returns the list in the Secret now.
    pub(crate) fn list(&self) -> Option<List> {
        Some(self.lists.back()?.list.clone())
    }

    fn publish(&mut self, since: DateTime<Utc>, list: Vec<SecretString>) {
        self.lists.push_back(DatedList { since, list: list.into() });
        if self.lists.len() > MAX_LISTS {
            self.lists.pop_front();
        }
    }

    /// Records that a `revoke` request is about to be written.
    pub(crate) fn begin_revocation(&mut self, request: &str, now: DateTime<Utc>) {
        let request = request.to_owned();
        self.revocation = Some(Revocation { request, since: now, until: None });
    }

    /// Returns whether a `revoke` request is in progress.
    pub(crate) fn is_revoking(&self) -> bool {
        self.revocation.as_ref().is_some_and(|revocation| revocation.until.is_none())
    }

    /// Returns whether a login that fails now may fail because of a `revoke` request.
    pub(crate) fn is_revoked(&self, now: DateTime<Utc>) -> bool {
        self.revocation.as_ref().is_some_and(|revocation| {
            revocation.since <= now && revocation.until.is_none_or(|until| now <= until)
        })
    }

    /// Ends a revocation once its request is handled, its rotation has ended, and consumers have had
    /// time to see that.
    fn update_revocation(&mut self, at: DateTime<Utc>) {
        let Some(revocation) = &mut self.revocation else { return };
        let is_handled = self.status.last_handled_request.as_ref() == Some(&revocation.request);
        let is_running = self.status.rotation.as_ref().is_some_and(|rotation| rotation.skip_grace);
        if revocation.until.is_none() && is_handled && !is_running {
            let lag = TimeDelta::from_std(STAGING + PROPAGATION).unwrap_or_default();
            revocation.until = Some(at + lag);
        }
    }

    /// Records an event, for the output after a violation.
    pub(crate) fn record_event(&mut self, at: DateTime<Utc>, text: &str) {
        self.events.push_back(format!("{} {text}", at.format("%H:%M:%S%.3f")));
        if self.events.len() > MAX_EVENTS {
            self.events.pop_front();
        }
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.events.iter().cloned().collect()
    }

    /// Returns whether an object that was read has content that no audit event has reported. A newer
    /// version may differ only in other parts of the object.
    fn has_missed(&self, found: &Write) -> bool {
        match &found.stored {
            Stored::Status(status) => {
                found.version > self.status_version && **status != self.status
            }
            Stored::Secret(target) => {
                let known = self.list().unwrap_or_default();
                found.version > self.secret_version && !is_same(&target.values, &known)
            }
            Stored::SecretDeleted => false,
        }
    }

    fn record(&mut self, write: &Write) {
        let by = if write.by_operator { "operator" } else { "user" };
        match &write.stored {
            Stored::Status(status) => {
                self.status_version = self.status_version.max(write.version);
                let text = describe(status);
                if text != describe(&self.status) || !write.by_operator {
                    self.record_event(write.requested_at, &format!("{by}: status {text}"));
                }
                self.status.clone_from(status);
                self.update_revocation(write.completed_at);
            }
            Stored::Secret(target) => {
                self.secret_version = self.secret_version.max(write.version);
                if !write.by_operator && is_same(&target.values, &self.list().unwrap_or_default()) {
                    return;
                }
                let (numbers, values) = (&target.numbers, target.values.len());
                let text = format!("{by}: Secret {numbers:?}, {values} values");
                self.record_event(write.requested_at, &text);
                self.publish(write.completed_at, target.values.clone());
            }
            Stored::SecretDeleted => {
                self.record_event(write.requested_at, &format!("{by}: Secret deleted"));
                self.publish(write.completed_at, Vec::new());
            }
        }
    }
}

fn is_same(a: &[SecretString], b: &[SecretString]) -> bool {
    let texts = |list: &[SecretString]| -> Vec<String> {
        list.iter().map(|value| value.expose_secret().to_owned()).collect()
    };
    texts(a) == texts(b)
}

/// Describes a status in one line.
fn describe(status: &Status) -> String {
    let current = status.current.map_or("none".to_owned(), |number| number.to_string());
    let request = status.last_handled_request.as_deref().unwrap_or("none");
    match &status.rotation {
        None => format!("idle with {current}, last request {request}"),
        Some(rotation) => format!(
            "rotation {} {:?} {:?} {:?}, attempt {}{}{}, current {current}, last request {request}",
            rotation.number,
            rotation.cause,
            rotation.strategy,
            rotation.phase,
            rotation.attempts,
            if rotation.skip_grace { ", no grace period" } else { "" },
            if rotation.rollback { ", rollback" } else { "" },
        ),
    }
}

/// Histories of all clients.
pub(crate) struct History {
    clients: Vec<TestClient>,
    histories: Vec<Mutex<ClientHistory>>,
}

impl History {
    pub(crate) fn new(clients: &[TestClient]) -> Self {
        let histories = clients.iter().map(|_| Mutex::default()).collect();
        Self { clients: clients.to_vec(), histories }
    }

    pub(crate) fn clients(&self) -> &[TestClient] {
        &self.clients
    }

    pub(crate) fn of(&self, client: usize) -> MutexGuard<'_, ClientHistory> {
        self.histories[client].lock()
    }

    /// Returns the client of a resource or Secret.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let name = name.strip_suffix("-auth0").unwrap_or(name);
        self.clients.iter().position(|client| client.name == name)
    }

    /// Returns the client of an object that was read, if no audit event has reported its content.
    pub(crate) fn find_missed(&self, found: &Write) -> Option<usize> {
        let client = self.find(&found.name)?;
        self.of(client).has_missed(found).then_some(client)
    }

    /// Records a write and returns its client.
    pub(crate) fn record(&self, write: &Write) -> Option<usize> {
        let client = self.find(&write.name)?;
        self.of(client).record(write);
        Some(client)
    }
}

#[cfg(test)]
mod tests {
    use rotation::{Cause, Phase, Strategy};
    use testkit::target_secret::TargetSecret;

    use super::*;
    use crate::clients::create_clients;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_800_000_000_000 + millis).unwrap()
    }

    fn write(millis: i64, stored: Stored) -> Write {
        Write {
            requested_at: at(millis - 5),
            completed_at: at(millis),
            by_operator: true,
            name: create_clients(1)[0].name.clone(),
            version: u64::try_from(millis).unwrap(),
            stored,
        }
    }

    fn list(values: &[&str]) -> Stored {
        let values = values.iter().map(|value| SecretString::from(*value)).collect();
        Stored::Secret(TargetSecret { values, ..TargetSecret::default() })
    }

    #[test]
    fn late_consumer_has_an_earlier_list() {
        let history = History::new(&create_clients(1));
        assert!(history.of(0).list_at(at(0)).is_none());
        history.record(&write(1_000, list(&["a"])));
        history.record(&write(2_000, list(&["a", "b"])));
        history.record(&write(3_000, Stored::SecretDeleted));
        let length = |millis| history.of(0).list_at(at(millis)).map(|list| list.len());
        let lengths = [999, 1_000, 1_999, 2_000, 3_000].map(length);
        assert_eq!(lengths, [None, Some(1), Some(1), Some(2), Some(0)]);
        for millis in 0..200 {
            history.record(&write(4_000 + millis, list(&["c"])));
        }
        assert_eq!(history.of(0).lists.len(), MAX_LISTS);
    }

    #[test]
    fn finds_a_write_without_an_audit_event() {
        let history = History::new(&create_clients(1));
        history.record(&write(1_000, list(&["a"])));
        assert_eq!(history.find_missed(&write(900, list(&["b"]))), None, "it is older");
        assert_eq!(history.find_missed(&write(1_100, list(&["a"]))), None, "it is the same");
        assert_eq!(history.find_missed(&write(1_100, list(&["a", "b"]))), Some(0));
        history.record(&write(1_000, status("rotate/1", None)));
        assert_eq!(history.find_missed(&write(1_100, status("rotate/1", None))), None);
        assert_eq!(history.find_missed(&write(1_100, status("rotate/2", None))), Some(0));
    }

    /// Returns a status with a handled request, and a rotation that may skip its grace period.
    fn status(handled: &str, skip_grace: Option<bool>) -> Stored {
        let rotation = skip_grace.map(|skip_grace| rotation::Rotation {
            skip_grace,
            ..serde_json::from_value(serde_json::json!({
                "number": 2, "cause": Cause::Request, "strategy": Strategy::Staged,
                "phase": Phase::Started, "startedAt": at(0),
            }))
            .unwrap()
        });
        let last_handled_request = Some(handled.to_owned());
        Stored::Status(Box::new(Status { last_handled_request, rotation, ..Status::default() }))
    }

    #[test]
    fn revocation_lasts_until_consumers_can_see_its_end() {
        let history = History::new(&create_clients(1));
        assert!(!history.of(0).is_revoked(at(0)));
        history.of(0).begin_revocation("revoke/1", at(1_000));
        history.record(&write(2_000, status("rotate/1", Some(false))));
        assert!(history.of(0).is_revoking(), "it is not handled yet");
        history.record(&write(3_000, status("revoke/1", Some(true))));
        assert!(history.of(0).is_revoking(), "its rotation has not ended yet");
        history.record(&write(4_000, status("revoke/1", None)));
        assert!(!history.of(0).is_revoking());
        assert!(history.of(0).is_revoked(at(9_000)) && !history.of(0).is_revoked(at(9_001)));
        assert!(!history.of(0).is_revoked(at(999)));
    }
}
