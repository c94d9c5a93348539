//! What is worth telling: the difference between two statuses. An Event exists only on a transition.

use crate::{
    condition::{self, Truth, kind},
    status::{Cause, HistoryEntry, Outcome, Phase, Status},
};

/// Something that happened, for an Event and a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// A person should look.
    pub warning: bool,
    /// A word for programs, an Event's reason.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Notice {
    /// Something that is as it should be.
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Notice {
        Notice { warning: false, reason, message: message.into() }
    }

    /// Something that a person should look at.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Notice {
        Notice { warning: true, reason, message: message.into() }
    }
}

/// What happened between two statuses of the same resource.
pub fn notices(before: &Status, after: &Status) -> Vec<Notice> {
    let mut notices = Vec::new();
    ended(before, after, &mut notices);
    rotation(before, after, &mut notices);
    request(before, after, &mut notices);
    if before.current.is_none() && after.current.is_some() && after.rotation.is_none() {
        notices.push(Notice::normal("Imported", "published the client's present secret"));
    }
    conditions(before, after, &mut notices);
    notices
}

fn ended(before: &Status, after: &Status, notices: &mut Vec<Notice>) {
    let is_new = |entry: &&HistoryEntry| !before.history.contains(entry);
    for entry in after.history.iter().filter(is_new) {
        let number = entry.number;
        notices.push(match entry.outcome {
            Outcome::Completed => Notice::normal(
                "Retired",
                format!("rotation {number} is complete: the secret before it was removed"),
            ),
            Outcome::Aborted => Notice::normal(
                "Aborted",
                format!("rotation {number} was withdrawn before its secret was activated"),
            ),
            Outcome::Refused => Notice::warning(
                "Refused",
                format!("rotation {number} was withdrawn: {}", entry.message),
            ),
            Outcome::Superseded => Notice::warning(
                "Superseded",
                format!("rotation {number} was overtaken by another change of the secret"),
            ),
        });
    }
}

fn rotation(before: &Status, after: &Status, notices: &mut Vec<Notice>) {
    let Some(rotation) = &after.rotation else {
        return;
    };
    let number = rotation.number;
    let same = before.rotation.as_ref().filter(|before| before.number == number);
    if same.is_none() {
        notices.push(match rotation.cause {
            Cause::Drift => Notice::warning(
                "Drift",
                format!(
                    "the secret was changed at Auth0 by someone else: published as number {number}"
                ),
            ),
            Cause::Recovery => Notice::warning(
                "Recovered",
                format!(
                    "the record of rotation {number} was lost: going on from the target Secret"
                ),
            ),
            Cause::Initial | Cause::Schedule | Cause::Request => Notice::normal(
                "Started",
                format!("rotation {number} started ({:?})", rotation.cause),
            ),
        });
    }
    if same.is_some_and(|before| before.strategy != rotation.strategy) {
        let message = rotation.message.clone().unwrap_or_default();
        notices.push(Notice::warning("TookOver", format!("rotation {number}: {message}")));
    }
    let before = same.map(|before| before.phase);
    if before == Some(rotation.phase) {
        return;
    }
    match rotation.phase {
        Phase::Staging => notices.push(Notice::normal(
            "Staged",
            format!("rotation {number}: the next secret is published as a fallback"),
        )),
        Phase::Confirming if before.is_some_and(|phase| phase != Phase::Grace) => {
            notices.push(Notice::normal(
                "Activated",
                format!("rotation {number}: the new secret is published, the one before it is its fallback"),
            ));
        }
        Phase::Grace => notices.push(Notice::normal(
            "Confirmed",
            format!("rotation {number}: Auth0 accepts the new secret"),
        )),
        Phase::Started | Phase::Activating | Phase::Confirming | Phase::Withdrawing => {}
    }
}

fn request(before: &Status, after: &Status, notices: &mut Vec<Notice>) {
    let Some(refusal) = &after.request_refusal else { return };
    if before.last_handled_request != after.last_handled_request {
        let text = after.last_handled_request.as_deref().unwrap_or_default();
        notices.push(Notice::warning("RequestRefused", format!("{text}: {refusal}")));
    }
}

fn conditions(before: &Status, after: &Status, notices: &mut Vec<Notice>) {
    // Stalled: when it comes, or comes to mean something else.
    if let Some(stalled) = condition::find(&after.conditions, kind::STALLED) {
        let known = condition::find(&before.conditions, kind::STALLED)
            .is_some_and(|known| known.status == stalled.status && known.reason == stalled.reason);
        if condition::is_true(&after.conditions, kind::STALLED) && !known {
            notices.push(Notice::warning(
                "Stalled",
                format!("{}: {}", stalled.reason, stalled.message),
            ));
        }
    }
    if let Some(reached) = condition::find(&after.conditions, kind::CONSUMERS_REACHED)
        && reached.status == Truth::False
        && condition::find(&before.conditions, kind::CONSUMERS_REACHED) != Some(reached)
    {
        notices.push(Notice::warning("PodsNeverUpdated", reached.message.clone()));
    }
    if let Some(signs) = condition::find(&after.conditions, kind::SIGNS_WITH_SECRET)
        && signs.status == Truth::True
        && !condition::is_true(&before.conditions, kind::SIGNS_WITH_SECRET)
    {
        notices.push(Notice::warning("SignsWithSecret", signs.message.clone()));
    }
    let was_ready = condition::is_true(&before.conditions, kind::READY);
    if let Some(ready) = condition::find(&after.conditions, kind::READY)
        && was_ready
        && !condition::is_true(&after.conditions, kind::READY)
    {
        notices.push(Notice::warning("NotReady", format!("{}: {}", ready.reason, ready.message)));
    }
}
