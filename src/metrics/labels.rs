//! Values of labels. Each label has a fixed set of values.

use chrono::DateTime;
use rotation::{Cause, ErrorClass, Outcome, Phase, Purpose, Strategy};

/// Result of a reconciliation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReconcileResult {
    /// The state machine ran, and has nothing more to do for now.
    Ok,
    /// Nothing changed since the last reconciliation, so no request was sent.
    Unchanged,
    /// The resource was deleted.
    Gone,
    /// An error of this class.
    Error(ErrorClass),
}

pub(super) const RECONCILE_RESULTS: [ReconcileResult; 9] = [
    ReconcileResult::Ok,
    ReconcileResult::Unchanged,
    ReconcileResult::Gone,
    ReconcileResult::Error(ErrorClass::Retry),
    ReconcileResult::Error(ErrorClass::Throttled { until: DateTime::UNIX_EPOCH }),
    ReconcileResult::Error(ErrorClass::Invalid),
    ReconcileResult::Error(ErrorClass::Denied),
    ReconcileResult::Error(ErrorClass::Conflict),
    ReconcileResult::Error(ErrorClass::Fatal),
];

/// Result of asking Auth0 whether it accepts a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProbeResult {
    /// Auth0 accepts the secret.
    Accepted,
    /// Auth0 rejects the secret.
    Rejected,
    /// The response showed neither, or there was none.
    Unknown,
}

pub(super) const PROBE_RESULTS: [ProbeResult; 3] =
    [ProbeResult::Accepted, ProbeResult::Rejected, ProbeResult::Unknown];

pub(super) const STRATEGIES: [Strategy; 2] = [Strategy::Rotate, Strategy::Staged];

pub(super) const CAUSES: [Cause; 5] =
    [Cause::Initial, Cause::Schedule, Cause::Request, Cause::Drift, Cause::Recovery];

pub(super) const OUTCOMES: [Outcome; 4] =
    [Outcome::Completed, Outcome::Superseded, Outcome::Aborted, Outcome::Rejected];

/// Phases whose start the status records.
pub(super) const PHASES: [Phase; 5] =
    [Phase::Started, Phase::Staging, Phase::Activating, Phase::Confirming, Phase::Grace];

pub(super) const PURPOSES: [Purpose; 10] = [
    Purpose::Import,
    Purpose::Response,
    Purpose::ReadBack,
    Purpose::ProveWrite,
    Purpose::Stage,
    Purpose::Promote,
    Purpose::Retire,
    Purpose::Withdraw,
    Purpose::Repair,
    Purpose::Render,
];

pub(super) fn reconcile_result(result: ReconcileResult) -> &'static str {
    match result {
        ReconcileResult::Ok => "ok",
        ReconcileResult::Unchanged => "unchanged",
        ReconcileResult::Gone => "gone",
        ReconcileResult::Error(class) => error_class(class),
    }
}

pub(super) fn error_class(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Retry => "retry",
        ErrorClass::Throttled { .. } => "throttled",
        ErrorClass::Invalid => "invalid",
        ErrorClass::Denied => "denied",
        ErrorClass::Conflict => "conflict",
        ErrorClass::Fatal => "fatal",
    }
}

pub(super) fn probe_result(result: ProbeResult) -> &'static str {
    match result {
        ProbeResult::Accepted => "accepted",
        ProbeResult::Rejected => "rejected",
        ProbeResult::Unknown => "unknown",
    }
}

pub(super) fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Rotate => "rotate",
        Strategy::Staged => "staged",
    }
}

pub(super) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Initial => "initial",
        Cause::Schedule => "schedule",
        Cause::Request => "request",
        Cause::Drift => "drift",
        Cause::Recovery => "recovery",
    }
}

pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Superseded => "superseded",
        Outcome::Aborted => "aborted",
        Outcome::Rejected => "rejected",
    }
}

pub(crate) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Started => "started",
        Phase::Staging => "staging",
        Phase::Activating => "activating",
        Phase::Confirming => "confirming",
        Phase::Grace => "grace",
        Phase::Withdrawing => "withdrawing",
    }
}

pub(super) fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Import => "import",
        Purpose::Response => "response",
        Purpose::ReadBack => "read-back",
        Purpose::ProveWrite => "prove-write",
        Purpose::Stage => "stage",
        Purpose::Promote => "promote",
        Purpose::Retire => "retire",
        Purpose::Withdraw => "withdraw",
        Purpose::Repair => "repair",
        Purpose::Render => "render",
    }
}
