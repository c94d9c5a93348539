//! What a replica does next about the Lease, given what it has seen of it and when.
//!
//! Pure: time is an argument, calls are made by someone else.

use std::time::Duration;

use super::{clock::BootInstant, terms::LeaderElectionConfig};

/// The Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Different after every write: the object's UID and resourceVersion.
    pub(super) version: String,
    /// Who holds it; nobody after it was released.
    pub(super) holder: Option<String>,
    /// How long its holder wants it to be respected.
    pub(super) duration: Option<Duration>,
    /// How often it has changed hands.
    pub(super) transitions: i32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing before that moment.
    Wait(BootInstant),
    Read,
    /// Create the Lease, as its holder.
    Create,
    /// Write the Lease over the version that was read, as its holder.
    Write {
        transitions: i32,
        /// It was another's, or nobody's.
        takes: bool,
    },
    /// The Lease is lost, and so is this process's leadership for good.
    Stop(Loss),
}

/// How a Lease was lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// It could not be renewed in time.
    #[error("it could not be renewed for {0:?}")]
    Deadline(Duration),
    /// Another replica holds it.
    #[error("{0} holds it now")]
    Taken(String),
    /// Someone has emptied or deleted it.
    #[error("someone has deleted it, or taken its holder out")]
    Gone,
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Stored(Record),
    /// The Lease was not as it was read; nothing was written.
    Conflict,
    /// It may have been written, or not.
    Unknown,
}

/// An election, as one replica sees it.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    terms: LeaderElectionConfig,
    /// The Lease as it was last seen (`None`: it wasn't there), and when it was first seen so.
    seen: Option<(Option<Record>, BootInstant)>,
    /// How long a Lease that has gone has to be respected.
    respected: Duration,
    /// What was seen last is what the next step goes by.
    is_fresh: bool,
    not_before: BootInstant,
    failures: u32,
    term: Option<Term>,
}

/// While this replica holds the Lease.
#[derive(Debug)]
struct Term {
    /// Before the last call that renewed it was sent.
    renewed: BootInstant,
    /// Someone else has written to the Lease: nothing is done until it is clear who holds it.
    is_disputed: bool,
}

impl Election {
    pub(super) fn new(identity: String, terms: LeaderElectionConfig, now: BootInstant) -> Election {
        Election {
            identity,
            terms,
            seen: None,
            respected: Duration::ZERO,
            is_fresh: false,
            not_before: now,
            failures: 0,
            term: None,
        }
    }

    /// Until when this replica may act; `None` when it may not.
    pub(super) fn may_act_until(&self) -> Option<BootInstant> {
        let term = self.term.as_ref().filter(|term| !term.is_disputed)?;
        Some(term.renewed.after(self.terms.renew_deadline()))
    }

    pub(super) fn leads(&self) -> bool {
        self.term.is_some()
    }

    /// The holder that was last seen.
    pub(super) fn holder(&self) -> Option<&str> {
        self.seen.as_ref()?.0.as_ref()?.holder.as_deref()
    }

    pub(super) fn is_own(&self, record: &Record) -> bool {
        record.holder.as_ref() == Some(&self.identity)
    }

    pub(super) fn step(&mut self, now: BootInstant) -> Step {
        let limit = self.terms.renew_deadline();
        let deadline = self.term.as_ref().map(|term| term.renewed.after(limit));
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Step::Stop(Loss::Deadline(limit));
        }
        if now < self.not_before {
            return Step::Wait(deadline.map_or(self.not_before, |it| it.min(self.not_before)));
        }
        let Some((lease, since)) = self.seen.clone().filter(|_| self.is_fresh) else {
            return Step::Read;
        };
        if deadline.is_some() { self.renew(lease) } else { self.stand(lease, since, now) }
    }

    /// What a leader does.
    fn renew(&self, lease: Option<Record>) -> Step {
        match lease {
            Some(record) if self.is_own(&record) => {
                Step::Write { transitions: record.transitions, takes: false }
            }
            Some(Record { holder: Some(holder), .. }) => Step::Stop(Loss::Taken(holder)),
            Some(Record { holder: None, .. }) | None => Step::Stop(Loss::Gone),
        }
    }

    /// What the others do.
    fn stand(&mut self, lease: Option<Record>, since: BootInstant, now: BootInstant) -> Step {
        let Some(lease) = lease else {
            // Whoever held it before it was deleted may not know yet.
            return self.wait_out(since.after(self.respected), now).unwrap_or(Step::Create);
        };
        match &lease.holder {
            // Written by a call of ours whose answer was lost. It counts from the next one.
            Some(_) if self.is_own(&lease) => {
                Step::Write { transitions: lease.transitions, takes: false }
            }
            Some(_) => {
                let respected = lease.duration.unwrap_or(self.terms.duration());
                let take =
                    Step::Write { transitions: lease.transitions.saturating_add(1), takes: true };
                self.wait_out(since.after(respected), now).unwrap_or(take)
            }
            None => Step::Write { transitions: lease.transitions.saturating_add(1), takes: true },
        }
    }

    /// Rests, and then reads again, until a moment has come.
    fn wait_out(&mut self, until: BootInstant, now: BootInstant) -> Option<Step> {
        if now >= until {
            return None;
        }
        self.is_fresh = false;
        self.not_before = until.min(now.after(self.terms.retry_period()));
        Some(Step::Wait(self.not_before))
    }

    /// The Lease was read. `now` is after the answer came.
    pub(super) fn was_read(&mut self, lease: Option<Record>, now: BootInstant) {
        let known = self.seen.as_ref().map(|(known, _)| known);
        if known != Some(&lease) {
            if let Some(before) = known.and_then(Option::as_ref) {
                let respected = before.duration.unwrap_or(self.terms.duration());
                self.respected = before.holder.as_ref().map_or(Duration::ZERO, |_| respected);
            }
            self.seen = Some((lease, now));
        }
        (self.is_fresh, self.not_before, self.failures) = (true, now, 0);
    }

    /// The Lease could not be read, or perhaps not be written.
    pub(super) fn failed(&mut self, now: BootInstant) {
        self.is_fresh = false;
        self.failures = self.failures.saturating_add(1);
        // A leader has no time to lose.
        let doublings = if self.leads() { 0 } else { self.failures.saturating_sub(1).min(3) };
        self.not_before = now.after(self.terms.retry_period() * 2u32.pow(doublings));
    }

    /// The Lease was written, or not. `sent` is before the call was sent, `now` after its answer.
    pub(super) fn was_written(&mut self, written: Written, sent: BootInstant, now: BootInstant) {
        match written {
            Written::Stored(record) => {
                self.term = Some(Term { renewed: sent, is_disputed: false });
                self.seen = Some((Some(record), now));
                (self.is_fresh, self.failures) = (true, 0);
                self.not_before = sent.after(self.terms.renew_interval());
            }
            Written::Conflict => {
                if let Some(term) = &mut self.term {
                    term.is_disputed = true;
                }
                self.is_fresh = false;
                self.not_before = now.after(self.terms.retry_period() / 8);
            }
            Written::Unknown => self.failed(now),
        }
    }
}
