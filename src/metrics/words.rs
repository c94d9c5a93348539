//! The words that labels have, and no others.

use rotation::{Cause, ErrorClass, Outcome, Phase, Purpose, Strategy};

/// How passes end.
pub(super) const PASSES: [&str; 8] =
    ["ok", "unchanged", "gone", "retry", "throttled", "invalid", "conflict", "fatal"];

pub(super) const STRATEGIES: [Strategy; 2] = [Strategy::Rotate, Strategy::Staged];

pub(super) const CAUSES: [Cause; 5] =
    [Cause::Initial, Cause::Schedule, Cause::Request, Cause::Drift, Cause::Recovery];

pub(super) const OUTCOMES: [Outcome; 4] =
    [Outcome::Completed, Outcome::Superseded, Outcome::Aborted, Outcome::Rejected];

/// The phases whose beginning a record has.
pub(super) const PHASES: [Phase; 5] =
    [Phase::Started, Phase::Staging, Phase::Activating, Phase::Confirming, Phase::Grace];

pub(super) const PURPOSES: [Purpose; 9] = [
    Purpose::Import,
    Purpose::Response,
    Purpose::ReadBack,
    Purpose::Stage,
    Purpose::Promote,
    Purpose::Retire,
    Purpose::Withdraw,
    Purpose::Repair,
    Purpose::Render,
];

pub(crate) fn class(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Retry => "retry",
        ErrorClass::Throttled { .. } => "throttled",
        ErrorClass::Invalid => "invalid",
        ErrorClass::Conflict => "conflict",
        ErrorClass::Fatal => "fatal",
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
        Outcome::Rejected => "refused",
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
        Purpose::Response => "answer",
        Purpose::ReadBack => "read-back",
        Purpose::Stage => "stage",
        Purpose::Promote => "promote",
        Purpose::Retire => "retire",
        Purpose::Withdraw => "withdraw",
        Purpose::Repair => "repair",
        Purpose::Render => "render",
    }
}
