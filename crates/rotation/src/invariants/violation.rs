//! Invariants and their violations.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::status::{Cause, Phase};

/// An invariant of the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// Consumers can always authenticate.
    NoLockout,
    /// A change at Auth0 follows its durable record.
    WriteAhead,
    /// Each cause starts at most one rotation.
    OneRotationPerCause,
    /// Each value that Auth0 has is published.
    NothingLost,
    /// A value is removed only when it is certainly obsolete.
    EvidenceBeforeRemoval,
    /// Changes by another party that recur are not followed at once.
    DriftHoldOff,
    /// A rotation changes only a client that the operator has just seen to be suitable.
    SuitableClient,
    /// The target Secret was written in the same rotation before `rotate-secret` is called.
    ProvenWrite,
    /// While the resource is ready, applications can log in, as far as the operator can know.
    ReadyMeansLogin,
    /// A restart that another party takes back is not repeated at once.
    RestartHoldOff,
}

impl Invariant {
    /// Returns the name of the invariant.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoLockout => "no lockout",
            Self::WriteAhead => "write-ahead",
            Self::OneRotationPerCause => "one rotation per cause",
            Self::NothingLost => "nothing lost",
            Self::EvidenceBeforeRemoval => "evidence before removal",
            Self::DriftHoldOff => "drift hold-off",
            Self::SuitableClient => "suitable client",
            Self::ProvenWrite => "proven write",
            Self::ReadyMeansLogin => "ready means login",
            Self::RestartHoldOff => "restart hold-off",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Violation of an invariant. It contains numbers and times, never a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    /// A list that consumers may have contains no value that Auth0 accepts, or soon none.
    #[error(
        "no lockout: at {at} Auth0 accepts none of the {values} values in a list that consumers \
         may have (rotation {number:?})"
    )]
    Lockout {
        /// When it happened.
        at: DateTime<Utc>,
        /// Number of the rotation in progress.
        number: Option<u64>,
        /// Number of values in the list.
        values: usize,
    },
    /// The secret changed at Auth0 without a durable record of the intent.
    #[error(
        "write-ahead: at {at} the secret changed at Auth0 while the stored phase was {phase:?}"
    )]
    UnrecordedChange {
        /// When it happened.
        at: DateTime<Utc>,
        /// Stored phase of the rotation in progress.
        phase: Option<Phase>,
    },
    /// A rotation started without a cause, or with a cause that was used up.
    #[error(
        "one rotation per cause: at {at} rotation {number} started without a cause of its own \
         ({cause:?})"
    )]
    UncausedRotation {
        /// When it happened.
        at: DateTime<Utc>,
        /// Number of the rotation.
        number: u64,
        /// Cause in the status.
        cause: Cause,
    },
    /// A value that `rotate-secret` returned was replaced, or given up, before it was published.
    #[error(
        "nothing lost: at {at} the secret that Auth0 has had since {since} was not published and \
         {problem}"
    )]
    LostValue {
        /// When it happened.
        at: DateTime<Utc>,
        /// When Auth0's secret last changed.
        since: DateTime<Utc>,
        /// The event that made it a violation.
        problem: &'static str,
    },
    /// A value was removed without evidence, or too early.
    #[error(
        "evidence before removal: at {at} the secret superseded at {superseded_at} was removed \
         before {}",
        if *.is_accepted { "its grace period was over" } else { "it was proven that Auth0 accepts the next one" }
    )]
    EarlyRemoval {
        /// When it happened.
        at: DateTime<Utc>,
        /// When another secret replaced it at Auth0.
        superseded_at: DateTime<Utc>,
        /// Whether Auth0 was seen to accept the other secret.
        is_accepted: bool,
    },
    /// Three changes by another party were followed within the shortest hold-off.
    #[error(
        "drift hold-off: rotation {number} followed a change at {at}, and the one before the last \
         was followed at {earlier}"
    )]
    DriftStorm {
        /// When it happened.
        at: DateTime<Utc>,
        /// Number of the rotation.
        number: u64,
        /// When the rotation before the last started.
        earlier: DateTime<Utc>,
    },
    /// The first change of a rotation was sent although the client was not seen to be suitable.
    #[error(
        "suitable client: at {at} rotation {number:?} changed a client that {}",
        if *.was_read { "must not be rotated" } else { "was not read before" }
    )]
    UnsuitableClient {
        /// When it happened.
        at: DateTime<Utc>,
        /// Number of the rotation in progress.
        number: Option<u64>,
        /// Whether the operator read the client before.
        was_read: bool,
    },
    /// The secret was rotated although nothing proves that the new one can be stored.
    #[error(
        "proven write: at {at} rotation {number} called rotate-secret, and had not written the target \
         Secret before"
    )]
    UnprovenWrite {
        /// When it happened.
        at: DateTime<Utc>,
        /// Number of the rotation.
        number: u64,
    },
    /// The resource is ready although Auth0 accepts no published value, and the operator could know it.
    #[error(
        "ready means login: at {at} Ready is true, and the secret that Auth0 has had since {since} is not \
         published"
    )]
    ReadyWithoutLogin {
        /// When it happened.
        at: DateTime<Utc>,
        /// When Auth0's secret last changed.
        since: DateTime<Utc>,
    },
    /// A workload was restarted three times for the same values within one propagation window.
    #[error(
        "restart hold-off: at {at} a workload was restarted for rotation {number} again, and the \
         restart before the last was at {earlier}"
    )]
    RestartStorm {
        /// When it happened.
        at: DateTime<Utc>,
        /// Number of the rotation.
        number: u64,
        /// When the restart before the last happened.
        earlier: DateTime<Utc>,
    },
    /// The operator has nothing left to do, but the result is wrong.
    #[error("nothing lost: at {at} the operator is idle although {problem}")]
    NotSettled {
        /// When it happened.
        at: DateTime<Utc>,
        /// The wrong part of the result.
        problem: &'static str,
    },
}

impl Violation {
    /// Returns the invariant that does not hold.
    pub fn invariant(&self) -> Invariant {
        match self {
            Self::Lockout { .. } => Invariant::NoLockout,
            Self::UnrecordedChange { .. } => Invariant::WriteAhead,
            Self::UncausedRotation { .. } => Invariant::OneRotationPerCause,
            Self::LostValue { .. } | Self::NotSettled { .. } => Invariant::NothingLost,
            Self::EarlyRemoval { .. } => Invariant::EvidenceBeforeRemoval,
            Self::DriftStorm { .. } => Invariant::DriftHoldOff,
            Self::UnsuitableClient { .. } => Invariant::SuitableClient,
            Self::UnprovenWrite { .. } => Invariant::ProvenWrite,
            Self::ReadyWithoutLogin { .. } => Invariant::ReadyMeansLogin,
            Self::RestartStorm { .. } => Invariant::RestartHoldOff,
        }
    }
}
