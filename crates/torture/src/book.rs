//! What is known of each client: the lists that its Secret held and when, its record, and what
//! happened to it lately.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use rotation::Status;
use secrecy::{ExposeSecret as _, SecretString};

use crate::audit::{What, Written};
use crate::fleet::{Member, PROPAGATION, STAGING};

/// How many versions of a list are kept: more than are written in a staging period.
const VERSIONS: usize = 64;
/// How many of the last things that happened to a client are told when a promise is broken.
const LATEST: usize = 60;

/// A list as a consumer reads it.
pub(crate) type List = Arc<[SecretString]>;

/// One client.
#[derive(Default)]
pub(crate) struct Page {
    versions: VecDeque<(DateTime<Utc>, List)>,
    pub(crate) status: Status,
    revocation: Option<Revocation>,
    latest: VecDeque<String>,
    /// The newest version of the resource's status and of the Secret.
    versions_seen: [u64; 2],
    /// When Auth0 last changed the secret.
    pub(crate) switched_at: Option<DateTime<Utc>>,
}

/// The time in which a request `revoke` lets logins fail: it has no staging and no grace.
#[derive(Clone, Debug)]
struct Revocation {
    text: String,
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
}

impl Page {
    /// The list that the Secret held at a time, once it held any.
    pub(crate) fn list_at(&self, at: DateTime<Utc>) -> Option<List> {
        let version = self.versions.iter().rev().find(|(since, _)| *since <= at);
        version.map(|(_, list)| list.clone())
    }

    /// The list that the Secret holds.
    pub(crate) fn list(&self) -> Option<List> {
        self.versions.back().map(|(_, list)| list.clone())
    }

    fn publish(&mut self, at: DateTime<Utc>, list: Vec<SecretString>) {
        self.versions.push_back((at, list.into()));
        if self.versions.len() > VERSIONS {
            self.versions.pop_front();
        }
    }

    /// A request `revoke` is about to be written.
    pub(crate) fn revoke(&mut self, text: &str, now: DateTime<Utc>) {
        self.revocation = Some(Revocation { text: text.to_owned(), since: now, until: None });
    }

    /// Whether a request `revoke` is not over yet.
    pub(crate) fn is_revoking(&self) -> bool {
        self.revocation.as_ref().is_some_and(|revocation| revocation.until.is_none())
    }

    /// Whether a login that fails now fails because of a request `revoke`.
    pub(crate) fn is_revoked(&self, now: DateTime<Utc>) -> bool {
        self.revocation.as_ref().is_some_and(|revocation| {
            revocation.since <= now && revocation.until.is_none_or(|until| now <= until)
        })
    }

    /// A revocation is over when it is recorded, the rotation that it hurried has ended, and
    /// consumers had the time to see that.
    fn follow_revocation(&mut self, at: DateTime<Utc>) {
        let Some(revocation) = self.revocation.as_mut().filter(|it| it.until.is_none()) else {
            return;
        };
        let handled = self.status.last_handled_request.as_ref() == Some(&revocation.text);
        let hurried = self.status.rotation.as_ref().is_some_and(|rotation| rotation.skip_grace);
        if handled && !hurried {
            let late = TimeDelta::from_std(STAGING + PROPAGATION).unwrap_or_default();
            revocation.until = Some(at + late);
        }
    }

    pub(crate) fn note(&mut self, at: DateTime<Utc>, what: &str) {
        self.latest.push_back(format!("{} {what}", at.format("%H:%M:%S%.3f")));
        if self.latest.len() > LATEST {
            self.latest.pop_front();
        }
    }

    pub(crate) fn latest(&self) -> Vec<String> {
        self.latest.iter().cloned().collect()
    }

    /// Whether something was written that nobody has told of. A version that is newer only because
    /// of another part of the object has nothing new in it.
    fn has_missed(&self, found: &Written) -> bool {
        let [status, secret] = self.versions_seen;
        match &found.what {
            What::Status(what) => found.version > status && **what != self.status,
            What::Secret(copy) => {
                let known = self.list().unwrap_or_default();
                let values = |list: &[SecretString]| -> Vec<String> {
                    list.iter().map(|value| value.expose_secret().to_owned()).collect()
                };
                found.version > secret && values(&copy.list) != values(&known)
            }
            What::SecretGone => false,
        }
    }

    /// Takes a write down.
    fn write(&mut self, written: &Written) {
        let who = if written.by_operator { "operator" } else { "somebody" };
        match &written.what {
            What::Status(status) => {
                self.versions_seen[0] = self.versions_seen[0].max(written.version);
                let told = tell(status);
                if told != tell(&self.status) || !written.by_operator {
                    self.note(written.asked_at, &format!("{who}: record {told}"));
                }
                self.status.clone_from(status);
                self.follow_revocation(written.done_at);
            }
            What::Secret(copy) => {
                self.versions_seen[1] = self.versions_seen[1].max(written.version);
                let numbers = &copy.numbers;
                self.note(
                    written.asked_at,
                    &format!("{who}: Secret {numbers:?}, {} values", copy.list.len()),
                );
                self.publish(written.done_at, copy.list.clone());
            }
            What::SecretGone => {
                self.note(written.asked_at, &format!("{who}: Secret deleted"));
                self.publish(written.done_at, Vec::new());
            }
        }
    }
}

/// A record in one line.
fn tell(status: &Status) -> String {
    let current = status.current.map_or("none".to_owned(), |number| number.to_string());
    let request = status.last_handled_request.as_deref().unwrap_or("none");
    match &status.rotation {
        None => format!("at rest with {current}, last request {request}"),
        Some(rotation) => format!(
            "rotation {} {:?} {:?} {:?}, attempt {}{}{}, current {current}, last request {request}",
            rotation.number,
            rotation.cause,
            rotation.strategy,
            rotation.phase,
            rotation.attempts,
            if rotation.skip_grace { ", no grace" } else { "" },
            if rotation.rollback { ", rollback" } else { "" },
        ),
    }
}

/// All clients.
pub(crate) struct Book {
    members: Vec<Member>,
    pages: Vec<Mutex<Page>>,
}

impl Book {
    pub(crate) fn new(members: &[Member]) -> Self {
        let pages = members.iter().map(|_| Mutex::default()).collect();
        Self { members: members.to_vec(), pages }
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn page(&self, member: usize) -> MutexGuard<'_, Page> {
        self.pages[member].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client that a resource or Secret belongs to.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let name = name.strip_suffix("-auth0").unwrap_or(name);
        self.members.iter().position(|member| member.name == name)
    }

    /// Whose a write is that nobody has told of, if it is one.
    pub(crate) fn missed(&self, found: &Written) -> Option<usize> {
        let member = self.find(&found.name)?;
        self.page(member).has_missed(found).then_some(member)
    }

    /// Takes a write down, and says whose it is.
    pub(crate) fn write(&self, written: &Written) -> Option<usize> {
        let member = self.find(&written.name)?;
        self.page(member).write(written);
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use rotation::{Cause, Phase, Rotation, Strategy};

    use super::*;
    use crate::audit::Copy;
    use crate::fleet::muster;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_800_000_000_000 + millis).unwrap()
    }

    fn written(millis: i64, what: What) -> Written {
        let name = muster(1)[0].name.clone();
        let version = u64::try_from(millis).unwrap();
        let (asked_at, done_at) = (at(millis - 5), at(millis));
        Written { asked_at, done_at, by_operator: true, name, version, what }
    }

    fn list(values: &[&str]) -> What {
        let list = values.iter().map(|value| SecretString::from(*value)).collect();
        What::Secret(Copy { list, numbers: Vec::new() })
    }

    #[test]
    fn a_late_consumer_has_the_list_of_then() {
        let book = Book::new(&muster(1));
        assert!(book.page(0).list_at(at(0)).is_none());
        book.write(&written(1_000, list(&["a"])));
        book.write(&written(2_000, list(&["a", "b"])));
        book.write(&written(3_000, What::SecretGone));
        let length = |millis| book.page(0).list_at(at(millis)).map(|list| list.len());
        let lengths = [999, 1_000, 1_999, 2_000, 3_000].map(length);
        assert_eq!(lengths, [None, Some(1), Some(1), Some(2), Some(0)]);
        for millis in 0..200 {
            book.write(&written(4_000 + millis, list(&["c"])));
        }
        assert_eq!(book.page(0).versions.len(), VERSIONS);
    }

    #[test]
    fn a_write_that_nobody_told_of_is_found() {
        let book = Book::new(&muster(1));
        book.write(&written(1_000, list(&["a"])));
        assert_eq!(book.missed(&written(900, list(&["b"]))), None, "it is an older one");
        assert_eq!(book.missed(&written(1_100, list(&["a"]))), None, "it says the same");
        assert_eq!(book.missed(&written(1_100, list(&["a", "b"]))), Some(0));
        book.write(&written(1_000, record("rotate/1", None)));
        assert_eq!(book.missed(&written(1_100, record("rotate/1", None))), None);
        assert_eq!(book.missed(&written(1_100, record("rotate/2", None))), Some(0));
    }

    fn record(handled: &str, hurried: Option<bool>) -> What {
        let rotation = hurried.map(|skip_grace| Rotation {
            skip_grace,
            ..serde_json::from_value(serde_json::json!({
                "number": 2, "cause": Cause::Request, "strategy": Strategy::Staged,
                "phase": Phase::Started, "startedAt": at(0),
            }))
            .unwrap()
        });
        let last_handled_request = Some(handled.to_owned());
        What::Status(Box::new(Status { last_handled_request, rotation, ..Status::default() }))
    }

    #[test]
    fn a_revocation_lasts_until_consumers_had_time_to_see_its_end() {
        let book = Book::new(&muster(1));
        assert!(!book.page(0).is_revoked(at(0)));
        book.page(0).revoke("revoke/1", at(1_000));
        book.write(&written(2_000, record("rotate/1", Some(false))));
        assert!(book.page(0).is_revoking(), "it is not recorded yet");
        book.write(&written(3_000, record("revoke/1", Some(true))));
        assert!(book.page(0).is_revoking(), "its rotation is not over yet");
        book.write(&written(4_000, record("revoke/1", None)));
        assert!(!book.page(0).is_revoking());
        assert!(book.page(0).is_revoked(at(9_000)) && !book.page(0).is_revoked(at(9_001)));
        assert!(!book.page(0).is_revoked(at(999)));
    }
}
