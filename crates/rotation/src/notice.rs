//! What is worth telling: the difference between two statuses. An Event exists only on a transition.

use crate::{
    condition::{self, ConditionStatus, condition_types},
    reason::Reason,
    status::{Cause, HistoryEntry, Outcome, Phase, Status},
};

/// Something that happened, for an Event and a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// A person should look.
    pub warning: bool,
    /// A word for programs, an Event's reason.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
}

impl EventRecord {
    /// Something that is as it should be.
    pub fn normal(reason: Reason, message: impl Into<String>) -> EventRecord {
        EventRecord { warning: false, reason, message: message.into() }
    }

    /// Something that a person should look at.
    pub fn warning(reason: Reason, message: impl Into<String>) -> EventRecord {
        EventRecord { warning: true, reason, message: message.into() }
    }
}

/// What happened between two statuses of the same resource.
pub fn event_records(before: &Status, after: &Status) -> Vec<EventRecord> {
    let mut notices = Vec::new();
    ended(before, after, &mut notices);
    rotation(before, after, &mut notices);
    request(before, after, &mut notices);
    if before.current.is_none() && after.current.is_some() && after.rotation.is_none() {
        notices
            .push(EventRecord::normal(Reason::Imported, "published the client's present secret"));
    }
    conditions(before, after, &mut notices);
    notices
}

fn ended(before: &Status, after: &Status, notices: &mut Vec<EventRecord>) {
    let is_new = |entry: &&HistoryEntry| !before.history.contains(entry);
    for entry in after.history.iter().filter(is_new) {
        let number = entry.number;
        notices.push(match entry.outcome {
            Outcome::Completed => EventRecord::normal(
                Reason::Retired,
                format!("rotation {number} is complete: the secret before it was removed"),
            ),
            Outcome::Aborted => EventRecord::normal(
                Reason::Aborted,
                format!("rotation {number} was withdrawn before its secret was activated"),
            ),
            Outcome::Rejected => EventRecord::warning(
                Reason::RotationRejected,
                format!("rotation {number} was withdrawn: {}", entry.message),
            ),
            Outcome::Superseded => EventRecord::warning(
                Reason::Superseded,
                format!("rotation {number} was overtaken by another change of the secret"),
            ),
        });
    }
}

fn rotation(before: &Status, after: &Status, notices: &mut Vec<EventRecord>) {
    let Some(rotation) = &after.rotation else {
        return;
    };
    let number = rotation.number;
    let same = before.rotation.as_ref().filter(|before| before.number == number);
    if same.is_none() {
        notices.push(match rotation.cause {
            Cause::Drift => EventRecord::warning(
                Reason::Drift,
                format!(
                    "the secret was changed at Auth0 by someone else: published as number {number}"
                ),
            ),
            Cause::Recovery => EventRecord::warning(
                Reason::Recovered,
                format!(
                    "the record of rotation {number} was lost: going on from the target Secret"
                ),
            ),
            Cause::Initial | Cause::Schedule | Cause::Request => EventRecord::normal(
                Reason::Started,
                format!("rotation {number} started ({:?})", rotation.cause),
            ),
        });
    }
    if same.is_some_and(|before| before.strategy != rotation.strategy) {
        let message = rotation.message.clone().unwrap_or_default();
        notices.push(EventRecord::warning(
            Reason::SwitchedToStaged,
            format!("rotation {number}: {message}"),
        ));
    }
    let before = same.map(|before| before.phase);
    if before == Some(rotation.phase) {
        return;
    }
    match rotation.phase {
        Phase::Staging => notices.push(EventRecord::normal(
            Reason::Staged,
            format!("rotation {number}: the next secret is published as a fallback"),
        )),
        Phase::Confirming if before.is_some_and(|phase| phase != Phase::Grace) => {
            notices.push(EventRecord::normal(
                Reason::Activated,
                format!("rotation {number}: the new secret is published, the one before it is its fallback"),
            ));
        }
        Phase::Grace => notices.push(EventRecord::normal(
            Reason::Confirmed,
            format!("rotation {number}: Auth0 accepts the new secret"),
        )),
        Phase::Started | Phase::Activating | Phase::Confirming | Phase::Withdrawing => {}
    }
}

fn request(before: &Status, after: &Status, notices: &mut Vec<EventRecord>) {
    let Some(refusal) = &after.request_rejection else { return };
    if before.last_handled_request != after.last_handled_request {
        let text = after.last_handled_request.as_deref().unwrap_or_default();
        notices.push(EventRecord::warning(Reason::RequestRejected, format!("{text}: {refusal}")));
    }
}

fn conditions(before: &Status, after: &Status, notices: &mut Vec<EventRecord>) {
    // Stalled: when it comes, or comes to mean something else.
    if let Some(stalled) = condition::find_condition(&after.conditions, condition_types::STALLED) {
        let known = condition::find_condition(&before.conditions, condition_types::STALLED)
            .is_some_and(|known| known.status == stalled.status && known.reason == stalled.reason);
        if condition::is_condition_true(&after.conditions, condition_types::STALLED) && !known {
            notices.push(EventRecord::warning(
                Reason::Stalled,
                format!("{}: {}", stalled.reason, stalled.message),
            ));
        }
    }
    if let Some(reached) =
        condition::find_condition(&after.conditions, condition_types::CONSUMERS_REACHED)
        && reached.status == ConditionStatus::False
        && condition::find_condition(&before.conditions, condition_types::CONSUMERS_REACHED)
            != Some(reached)
    {
        notices.push(EventRecord::warning(Reason::PodsNeverUpdated, reached.message.clone()));
    }
    if let Some(signs) =
        condition::find_condition(&after.conditions, condition_types::SIGNS_WITH_SECRET)
        && signs.status == ConditionStatus::True
        && !condition::is_condition_true(&before.conditions, condition_types::SIGNS_WITH_SECRET)
    {
        notices.push(EventRecord::warning(Reason::SignsWithSecret, signs.message.clone()));
    }
    let was_ready = condition::is_condition_true(&before.conditions, condition_types::READY);
    if let Some(ready) = condition::find_condition(&after.conditions, condition_types::READY)
        && was_ready
        && !condition::is_condition_true(&after.conditions, condition_types::READY)
    {
        notices.push(EventRecord::warning(
            Reason::NotReady,
            format!("{}: {}", ready.reason, ready.message),
        ));
    }
}
