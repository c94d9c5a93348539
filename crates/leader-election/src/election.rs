//! State machine of the election: decides the next step from this replica's observations of the
//! Lease and their times.
//!
//! Pure: time is an argument, and the caller sends the requests.

use std::time::Duration;

use crate::{boot_instant::BootInstant, config::LeaderElectionConfig};

/// Content of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRecord {
    /// UID and resourceVersion of the object; changes with every write.
    pub(crate) version: String,
    /// Replica that holds the Lease; `None` after a release.
    pub(crate) holder_identity: Option<String>,
    /// How long the holder wants other replicas to respect the Lease.
    pub(crate) lease_duration: Option<Duration>,
    /// How many times the Lease changed its holder.
    pub(crate) lease_transitions: i32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait until this time.
    Wait(BootInstant),
    /// Read the Lease.
    Read,
    /// Create the Lease with this replica as its holder.
    Create,
    /// Write this replica as the holder over the version that was read last.
    Write {
        /// New value of `leaseTransitions`.
        lease_transitions: i32,
        /// True if this replica is not yet the holder.
        acquires: bool,
    },
    /// Stop for good: this replica lost leadership.
    Stop(LossReason),
}

/// Why a replica lost leadership.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LossReason {
    /// The leader did not renew the Lease before its renew deadline.
    #[error("could not renew the Lease within {0:?}")]
    DeadlineExceeded(Duration),
    /// Another replica holds the Lease.
    #[error("{0} holds the Lease")]
    Taken(String),
    /// A user or another program deleted the Lease, or removed its holder.
    #[error("the Lease was deleted, or its holder was removed")]
    Removed,
}

/// Outcome of a write whose outcome is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    /// The Lease has this content now.
    Stored(LeaseRecord),
    /// The Lease was changed since it was read; nothing was written.
    Conflict,
}

/// The election from the point of view of one replica.
#[derive(Debug)]
pub(crate) struct Election {
    identity: String,
    config: LeaderElectionConfig,
    /// `None` before the first read.
    observed: Option<Observed>,
    /// How long to respect a Lease that was deleted.
    deleted_lease_duration: Duration,
    /// True if the next step may rely on `observed` without another read.
    is_fresh: bool,
    /// No step other than `Wait` before this time.
    not_before: BootInstant,
    /// Failed requests in a row.
    failures: u32,
    /// `Some` while this replica is the leader.
    term: Option<Term>,
}

/// The Lease as it was last observed.
#[derive(Clone, Debug)]
struct Observed {
    /// `None` if the Lease didn't exist.
    record: Option<LeaseRecord>,
    /// When this content was first observed.
    since: BootInstant,
}

/// The term of this replica as the leader.
#[derive(Debug)]
struct Term {
    /// When the last successful renewal was sent.
    renewed_at: BootInstant,
    /// True after another party wrote to the Lease, until this replica has written it again. The
    /// leader does not act in the meantime.
    is_disputed: bool,
}

impl Election {
    pub(crate) fn new(identity: String, config: LeaderElectionConfig, now: BootInstant) -> Self {
        Self {
            identity,
            config,
            observed: None,
            deleted_lease_duration: Duration::ZERO,
            is_fresh: false,
            not_before: now,
            failures: 0,
            term: None,
        }
    }

    /// Returns until when this replica may act, or `None` if it may not.
    pub(crate) fn may_act_until(&self) -> Option<BootInstant> {
        match &self.term {
            Some(Term { renewed_at, is_disputed: false }) => Some(self.deadline(*renewed_at)),
            Some(Term { is_disputed: true, .. }) | None => None,
        }
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.term.is_some()
    }

    /// Returns the holder that was observed last.
    pub(crate) fn holder(&self) -> Option<&str> {
        self.observed.as_ref()?.record.as_ref()?.holder_identity.as_deref()
    }

    pub(crate) fn is_held_by_self(&self, record: &LeaseRecord) -> bool {
        record.holder_identity.as_ref() == Some(&self.identity)
    }

    pub(crate) fn next_step(&mut self, now: BootInstant) -> Step {
        let deadline = self.term.as_ref().map(|term| self.deadline(term.renewed_at));
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Step::Stop(LossReason::DeadlineExceeded(self.config.renew_deadline()));
        }
        if now < self.not_before {
            let until = deadline.map_or(self.not_before, |deadline| deadline.min(self.not_before));
            return Step::Wait(until);
        }
        match self.observed.clone() {
            Some(observed) if self.is_fresh && self.is_leader() => {
                self.step_as_leader(observed.record)
            }
            Some(observed) if self.is_fresh => self.step_as_standby(observed, now),
            Some(_) | None => Step::Read,
        }
    }

    fn step_as_leader(&self, lease: Option<LeaseRecord>) -> Step {
        match lease {
            Some(record) if self.is_held_by_self(&record) => {
                Step::Write { lease_transitions: record.lease_transitions, acquires: false }
            }
            Some(LeaseRecord { holder_identity: Some(holder), .. }) => {
                Step::Stop(LossReason::Taken(holder))
            }
            Some(LeaseRecord { holder_identity: None, .. }) | None => {
                Step::Stop(LossReason::Removed)
            }
        }
    }

    fn step_as_standby(&mut self, observed: Observed, now: BootInstant) -> Step {
        let Observed { record, since } = observed;
        let Some(record) = record else {
            // The previous holder may not know yet that its Lease was deleted.
            let expiry = since.saturating_add(self.deleted_lease_duration);
            return if now < expiry { self.wait_and_read(expiry, now) } else { Step::Create };
        };
        let acquire = Step::Write {
            lease_transitions: record.lease_transitions.saturating_add(1),
            acquires: true,
        };
        if record.holder_identity.is_none() {
            return acquire;
        }
        if self.is_held_by_self(&record) {
            // An earlier write succeeded, but its response was lost. The term starts with the next
            // write.
            return Step::Write { lease_transitions: record.lease_transitions, acquires: false };
        }
        let lease_duration = record.lease_duration.unwrap_or(self.config.lease_duration());
        let expiry = since.saturating_add(lease_duration);
        if now < expiry { self.wait_and_read(expiry, now) } else { acquire }
    }

    /// Waits for the retry period, or until `expiry` if that is earlier; a read follows.
    fn wait_and_read(&mut self, expiry: BootInstant, now: BootInstant) -> Step {
        self.is_fresh = false;
        self.not_before = expiry.min(now.saturating_add(self.config.retry_period()));
        Step::Wait(self.not_before)
    }

    /// Records that the Lease was read. `now` is a time after the response.
    pub(crate) fn record_read(&mut self, lease: Option<LeaseRecord>, now: BootInstant) {
        let has_changed = self.observed.as_ref().is_none_or(|observed| observed.record != lease);
        if has_changed {
            if let Some(Observed { record: Some(previous), .. }) = &self.observed {
                self.deleted_lease_duration = match previous.holder_identity {
                    Some(_) => previous.lease_duration.unwrap_or(self.config.lease_duration()),
                    None => Duration::ZERO,
                };
            }
            self.observed = Some(Observed { record: lease, since: now });
        }
        self.is_fresh = true;
        self.not_before = now;
        self.failures = 0;
    }

    /// Records that a read failed, or that the outcome of a write is unknown.
    pub(crate) fn record_failure(&mut self, now: BootInstant) {
        self.is_fresh = false;
        self.failures = self.failures.saturating_add(1);
        // A leader has to renew before its deadline, so it retries without backoff.
        let doublings = if self.is_leader() { 0 } else { self.failures.saturating_sub(1).min(3) };
        self.not_before = now.saturating_add(self.config.retry_period() * 2u32.pow(doublings));
    }

    /// Records the outcome of a write. `sent` is a time before the request, `now` a time after the
    /// response.
    pub(crate) fn record_write(
        &mut self,
        outcome: WriteOutcome,
        sent: BootInstant,
        now: BootInstant,
    ) {
        match outcome {
            WriteOutcome::Stored(record) => {
                self.term = Some(Term { renewed_at: sent, is_disputed: false });
                self.observed = Some(Observed { record: Some(record), since: now });
                self.is_fresh = true;
                self.failures = 0;
                self.not_before = sent.saturating_add(self.config.renew_interval());
            }
            WriteOutcome::Conflict => {
                if let Some(term) = &mut self.term {
                    term.is_disputed = true;
                }
                self.is_fresh = false;
                self.not_before = now.saturating_add(self.config.retry_period() / 8);
            }
        }
    }

    fn deadline(&self, renewed_at: BootInstant) -> BootInstant {
        renewed_at.saturating_add(self.config.renew_deadline())
    }
}
