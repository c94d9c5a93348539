//! What must always hold, as code that watches from outside.
//!
//! A [`Ledger`] is told what happened to one client, in order: what its target Secret held, what
//! its secret at Auth0 was, what the record said. It answers with a [`Breach`] when a promise is
//! broken. The model check uses it with symbols for values; who watches real ones gives it numbers
//! of their own for them. It compares values, and a breach never shows one.
//!
//! # What is promised, and what can't be
//!
//! - **No lockout.** A consumer whose list is younger than one staging period finds an accepted value in
//!   it. Under `Rotate` this counts from the moment the answer is written: lists before that are
//!   excused. A revoked secret excuses the lists that don't have the new one yet.
//! - **Write-ahead.** When we change the secret at Auth0, the record is [`Phase::Activating`].
//! - **One rotation per cause.** A rotation begins with a request or a due time that no other has
//!   used up, or once in the life of a resource with `initial: Rotate`.
//! - **Nothing lost.** What `rotate-secret` brought is written before we change anything again. Where
//!   secrets can't be read back, a value that is published already may replace it.
//! - **Evidence before removal.** A value that Auth0 had is taken out of the target Secret when its
//!   grace period is over and Auth0 was seen to accept the one after it. A revoked secret has no
//!   grace period.
//!
//! Two things are beyond the operator. Someone who changes the secret at Auth0 kills the one before
//! it, and someone who edits or deletes the target Secret takes values out of it that can't be had
//! again (Auth0 shows its present secret only). From then on nothing is held against the operator
//! until the target Secret has Auth0's secret again and Auth0 has switched to it: by its word, or
//! because the propagation window is over. Lists from before that moment are excused for good.

use chrono::{DateTime, TimeDelta, Utc};

use crate::status::{Cause, Phase, Rotation, Status, Strategy};

/// A promise that was broken. It tells numbers and times, never a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Breach {
    /// A list that a consumer may have has no value that Auth0 accepts, or will have none.
    #[error(
        "no lockout: at {at} the secret number {number:?} left a list of {values} without an accepted value"
    )]
    Lockout {
        /// When.
        at: DateTime<Utc>,
        /// The rotation on record then.
        number: Option<u64>,
        /// How many values the list has.
        values: usize,
    },
    /// The secret was changed at Auth0 without a record that says so.
    #[error("write-ahead: at {at} Auth0's secret was changed while the record said {phase:?}")]
    NotRecorded {
        /// When.
        at: DateTime<Utc>,
        /// The phase of the rotation on record, if there was one.
        phase: Option<Phase>,
    },
    /// A rotation that nothing asked for, or that was asked for once and made twice.
    #[error(
        "one rotation per cause: at {at} rotation {number} had no cause of its own ({cause:?})"
    )]
    Uncaused {
        /// When.
        at: DateTime<Utc>,
        /// The rotation.
        number: u64,
        /// What the record gives as its cause.
        cause: Cause,
    },
    /// A value that `rotate-secret` brought was replaced, or given up, before it was written.
    #[error(
        "nothing lost: at {at} a secret that Auth0 had since {since} was not published ({what})"
    )]
    Lost {
        /// When.
        at: DateTime<Utc>,
        /// When Auth0's secret last changed.
        since: DateTime<Utc>,
        /// What came instead.
        what: &'static str,
    },
    /// A value was removed without evidence, or too early.
    #[error(
        "evidence before removal: at {at} a secret superseded at {superseded} was removed, {}",
        if *.accepted { "before its grace period was over" } else { "and Auth0 had not accepted the next" }
    )]
    Removed {
        /// When.
        at: DateTime<Utc>,
        /// When Auth0 got another.
        superseded: DateTime<Utc>,
        /// Auth0 was seen to accept the other.
        accepted: bool,
    },
    /// Everything is at rest, and not as it should be.
    #[error("nothing lost: at {at} everything is at rest, and {what}")]
    Unsettled {
        /// When.
        at: DateTime<Utc>,
        /// What is wrong.
        what: &'static str,
    },
}

impl Breach {
    /// The promise that was broken, in the words of the design.
    pub fn promise(&self) -> &'static str {
        match self {
            Breach::Lockout { .. } => "no lockout",
            Breach::NotRecorded { .. } => "write-ahead",
            Breach::Uncaused { .. } => "one rotation per cause",
            Breach::Lost { .. } | Breach::Unsettled { .. } => "nothing lost",
            Breach::Removed { .. } => "evidence before removal",
        }
    }
}

/// Who changed a secret at Auth0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The operator.
    Us,
    /// Anyone else, for example in the dashboard.
    SomeoneElse,
}

/// The lengths of time that the promises speak of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lengths {
    /// How late a consumer may see what is published.
    pub staging: TimeDelta,
    /// How long a superseded value stays.
    pub grace: TimeDelta,
    /// How long Auth0 may take to switch.
    pub window: TimeDelta,
    /// Auth0 shows secrets to those who read a client.
    pub readable: bool,
}

/// Why nothing is held against the operator for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Excuse {
    /// The answer of `rotate-secret` is not written yet.
    Unwritten,
    /// Someone else touched the target Secret, which hasn't been written since.
    Tampered,
    /// The same, and then Auth0's secret was changed, which whoever repairs may not have seen.
    Overtaken,
    /// The target Secret hasn't got Auth0's secret yet, or Auth0 hasn't switched to it.
    Unsettled,
}

/// What happened to one client, as far as the promises need it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ledger<V> {
    lengths: Lengths,
    /// What the target Secret has, in the order to try.
    list: Vec<V>,
    /// What it had before, and until when.
    older: Vec<(DateTime<Utc>, Vec<V>)>,
    /// Auth0's secret, and since when.
    secret: V,
    since: DateTime<Utc>,
    /// Auth0 was seen to accept it.
    accepted: bool,
    /// It came from `rotate-secret` and has not been published.
    unpublished: bool,
    /// Values of the list that Auth0 had before, and until when.
    past: Vec<(V, DateTime<Utc>)>,
    excuse: Option<Excuse>,
    /// Requests that no record speaks of as handled.
    requests: Vec<String>,
    /// The rotation on record: its number and start.
    rotation: Option<(u64, DateTime<Utc>)>,
    /// The superseded secret is compromised, whatever becomes of the record.
    revoked: bool,
    /// The due time on record, and the last one that was used up.
    due: Option<DateTime<Utc>>,
    used: Option<DateTime<Utc>>,
    /// The one initial rotation has begun.
    initial: bool,
}

impl<V: Clone + Eq> Ledger<V> {
    /// A client that has the secret `secret` since `at`, and no target Secret.
    pub fn new(at: DateTime<Utc>, secret: V, lengths: Lengths) -> Ledger<V> {
        Ledger {
            lengths,
            list: Vec::new(),
            older: Vec::new(),
            secret,
            since: at,
            accepted: false,
            unpublished: false,
            past: Vec::new(),
            excuse: Some(Excuse::Unsettled),
            requests: Vec::new(),
            rotation: None,
            revoked: false,
            due: None,
            used: None,
            initial: false,
        }
    }

    /// The spec, or what may be read at Auth0, was changed.
    pub fn lengths_changed(&mut self, at: DateTime<Utc>, lengths: Lengths) {
        self.settle(at);
        self.lengths = lengths;
    }

    /// Someone asked for something with the annotation.
    pub fn requested(&mut self, text: &str) {
        if !self.requests.iter().any(|known| known == text) {
            self.requests.push(text.to_owned());
        }
    }

    /// The status was stored, or lost.
    pub fn recorded(&mut self, at: DateTime<Utc>, record: &Status) -> Result<(), Breach> {
        let handled = record.last_handled_request.as_ref();
        let open = self.requests.len();
        self.requests.retain(|known| Some(known) != handled);
        let newly_handled = self.requests.len() < open;
        let due = std::mem::replace(&mut self.due, record.next_rotation_time);
        let before = self.rotation.take();
        let Some(rotation) = &record.rotation else { return Ok(()) };
        let Rotation { number, cause, started_at, .. } = *rotation;
        self.rotation = Some((number, started_at));
        let same = before == self.rotation;
        self.revoked &= same || cause == Cause::Recovery;
        self.revoked |= rotation.skip_grace;
        if same {
            return Ok(());
        }
        let caused = match cause {
            Cause::Request => newly_handled,
            Cause::Schedule => {
                let due = due.filter(|due| *due <= at && Some(*due) > self.used);
                self.used = due.or(self.used);
                due.is_some()
            }
            Cause::Initial => !std::mem::replace(&mut self.initial, true),
            // They change nothing at Auth0, which is seen to where something changes.
            Cause::Drift | Cause::Recovery => true,
        };
        if caused { Ok(()) } else { Err(Breach::Uncaused { at, number, cause }) }
    }

    /// The operator wrote the target Secret.
    pub fn published(&mut self, at: DateTime<Utc>, list: &[V]) -> Result<(), Breach> {
        self.settle(at);
        let before = std::mem::replace(&mut self.list, list.to_vec());
        if before != self.list {
            self.older.push((at, before));
        }
        let checked = self.check_repair(at).and_then(|()| self.check_removal(at));
        if matches!(self.excuse, Some(Excuse::Tampered | Excuse::Overtaken)) {
            self.excuse = Some(Excuse::Unsettled);
        }
        let list = &self.list;
        self.past.retain(|(value, _)| list.contains(value));
        self.unpublished &= !self.list.contains(&self.secret);
        self.settle(at);
        checked
    }

    /// A target Secret that someone else touched is put right from Auth0.
    fn check_repair(&self, at: DateTime<Utc>) -> Result<(), Breach> {
        let tampered = self.excuse == Some(Excuse::Tampered) && self.lengths.readable;
        if tampered && !self.list.contains(&self.secret) {
            let what = "the target Secret was repaired with another";
            return Err(Breach::Lost { at, since: self.since, what });
        }
        Ok(())
    }

    fn check_removal(&self, at: DateTime<Utc>) -> Result<(), Breach> {
        if self.excuse.is_some() {
            return Ok(());
        }
        if !self.list.contains(&self.secret) {
            return Err(self.lockout(at, &self.list));
        }
        let Lengths { grace, window, .. } = self.lengths;
        let grace = if self.revoked { TimeDelta::zero() } else { grace.max(window) };
        let early = |(value, superseded): &&(V, DateTime<Utc>)| {
            !self.list.contains(value) && (!self.accepted || at < *superseded + grace)
        };
        let (superseded, accepted) = match self.past.iter().find(early) {
            None => return Ok(()),
            Some((_, superseded)) => (*superseded, self.accepted),
        };
        Err(Breach::Removed { at, superseded, accepted })
    }

    /// Someone else edited or deleted the target Secret, which has `list` now.
    pub fn tampered(&mut self, list: &[V]) {
        self.list = list.to_vec();
        self.older.clear();
        self.excuse = Some(Excuse::Tampered);
    }

    /// A change reached Auth0, and its secret is `value` now. `record` is the status as it is stored
    /// at that moment.
    pub fn changed(
        &mut self,
        at: DateTime<Utc>,
        value: V,
        by: By,
        record: &Status,
    ) -> Result<(), Breach> {
        self.recorded(at, record)?;
        self.arrived(at, value, by, record)
    }

    /// The same, where every record is told of as it is stored, and `record` is the one under which
    /// the change was sent: it may have been lost since.
    pub fn arrived(
        &mut self,
        at: DateTime<Utc>,
        value: V,
        by: By,
        record: &Status,
    ) -> Result<(), Breach> {
        self.settle(at);
        if value == self.secret {
            // The same `PATCH` again.
            return Ok(());
        }
        let checked = match by {
            By::Us => self.check_change(at, &value, record.rotation.as_ref()),
            By::SomeoneElse => {
                self.unpublished = false;
                if !matches!(self.excuse, Some(Excuse::Tampered | Excuse::Overtaken)) {
                    self.excuse = Some(Excuse::Unsettled);
                }
                Ok(())
            }
        };
        if self.excuse == Some(Excuse::Tampered) {
            self.excuse = Some(Excuse::Overtaken);
        }
        let superseded = std::mem::replace(&mut self.secret, value);
        self.past.retain(|(known, _)| *known != superseded && *known != self.secret);
        if self.list.contains(&superseded) {
            self.past.push((superseded, at));
        }
        (self.since, self.accepted) = (at, false);
        checked
    }

    fn check_change(
        &mut self,
        at: DateTime<Utc>,
        value: &V,
        rotation: Option<&Rotation>,
    ) -> Result<(), Breach> {
        let Some(rotation) = rotation.filter(|rotation| rotation.phase == Phase::Activating) else {
            let phase = rotation.map(|rotation| rotation.phase);
            return Err(Breach::NotRecorded { at, phase });
        };
        let listed = self.list.contains(value);
        let (number, cause) = (rotation.number, rotation.cause);
        if cause == Cause::Drift || cause == Cause::Recovery && !listed {
            return Err(Breach::Uncaused { at, number, cause });
        }
        if self.unpublished && (!listed || self.lengths.readable) {
            let what = "another took its place";
            return Err(Breach::Lost { at, since: self.since, what });
        }
        if !listed && rotation.strategy == Strategy::Rotate {
            self.unpublished = true;
            self.excuse.get_or_insert(Excuse::Unwritten);
            return Ok(());
        }
        if self.unpublished {
            // Nobody will ever know what it was: Auth0 may accept nothing else for a while.
            (self.unpublished, self.excuse) = (false, Some(Excuse::Unsettled));
        }
        if rotation.skip_staging && !rotation.rollback {
            self.older.clear();
        }
        let older = self.older.iter().map(|(_, list)| list);
        let without = older.chain([&self.list]).find(|list| !list.contains(value));
        match without.filter(|list| self.excuse.is_none() && !list.is_empty()) {
            Some(list) => Err(self.lockout(at, list)),
            None => Ok(()),
        }
    }

    /// Auth0 was asked whether it accepts `value`, and did.
    pub fn accepted(&mut self, at: DateTime<Utc>, value: &V) {
        self.accepted |= *value == self.secret;
        self.settle(at);
    }

    /// A consumer tried all of `list`, of which Auth0 accepts `accepted`. A list that is older than
    /// the staging period, or excused, is not held against anyone.
    pub fn login(&mut self, at: DateTime<Utc>, list: &[V], accepted: &[V]) -> Result<(), Breach> {
        self.settle(at);
        let works = list.iter().any(|value| accepted.contains(value));
        let promised = self.excuse.is_none() && self.lists().any(|known| known == list);
        if works || list.is_empty() || !promised { Ok(()) } else { Err(self.lockout(at, list)) }
    }

    /// Consumers with each list that may be in use try to log in.
    pub fn logins(&mut self, at: DateTime<Utc>, accepted: &[V]) -> Result<(), Breach> {
        self.settle(at);
        let lists: Vec<Vec<V>> = self.lists().map(<[V]>::to_vec).collect();
        lists.iter().try_for_each(|list| self.login(at, list, accepted))
    }

    /// The resource is gone: nobody will look after the client any more.
    pub fn gone(&mut self, at: DateTime<Utc>) -> Result<(), Breach> {
        self.settle(at);
        // Its deletion isn't held up for ever.
        let in_time = at < self.since + self.lengths.window * 10;
        let tampered = matches!(self.excuse, Some(Excuse::Tampered | Excuse::Overtaken));
        if self.unpublished && self.lengths.readable && in_time && !tampered {
            let what = "the resource was let go";
            return Err(Breach::Lost { at, since: self.since, what });
        }
        Ok(())
    }

    /// Nothing disturbs the operator any more, it had the time that it needs, and it rests with
    /// `record`.
    pub fn rest(&self, at: DateTime<Utc>, record: &Status) -> Result<(), Breach> {
        let what = if record.rotation.is_some() {
            "a rotation goes on"
        } else if self.unpublished || self.list.first() != Some(&self.secret) {
            "the target Secret's first value is not Auth0's secret"
        } else if self.list.len() > 1 {
            "a fallback was left behind"
        } else {
            return Ok(());
        };
        Err(Breach::Unsettled { at, what })
    }

    /// The lists that consumers may have.
    fn lists(&self) -> impl Iterator<Item = &[V]> {
        let older = self.older.iter().map(|(_, list)| list.as_slice());
        older.chain([self.list.as_slice()])
    }

    /// Forgets what isn't in use any more, and excuses that have come to their end.
    fn settle(&mut self, at: DateTime<Utc>) {
        let staging = self.lengths.staging;
        self.older.retain(|(until, _)| *until + staging > at);
        let switched = self.accepted || at >= self.since + self.lengths.window;
        let over = match self.excuse {
            None | Some(Excuse::Tampered | Excuse::Overtaken) => false,
            Some(Excuse::Unwritten) => self.list.contains(&self.secret),
            Some(Excuse::Unsettled) => switched && self.list.contains(&self.secret),
        };
        if over {
            self.excuse = None;
            self.older.clear();
        }
    }

    fn lockout(&self, at: DateTime<Utc>, list: &[V]) -> Breach {
        let number = self.rotation.map(|(number, _)| number);
        Breach::Lockout { at, number, values: list.len() }
    }
}

#[cfg(test)]
mod tests;
