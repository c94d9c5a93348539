//! Timeline entries for the differences between two states of a resource or a Secret.

use rotation::{
    Cause, HistoryEntry, Outcome, Phase, Reason, Rotation, Status, Strategy, condition_types,
    find_condition,
};
use testkit::{status::true_condition, target_secret::TargetSecret, terminal::Style};

use crate::timeline::TimelineEntry;

/// Reasons of the condition `Reconciling` while a rotation makes progress.
const PROGRESS: [Reason; 5] =
    [Reason::Started, Reason::Staging, Reason::Activating, Reason::Confirming, Reason::Grace];

/// Returns what happened between two statuses of a resource.
pub fn of_status(before: &Status, after: &Status) -> Vec<TimelineEntry> {
    let mut entries: Vec<TimelineEntry> = newly_ended(before, after).map(ended).collect();
    if before.current.is_none() && after.rotation.is_none() && after.history.is_empty() {
        entries.extend(after.current.map(|number| {
            let text = format!("Auth0's present secret is number {number}");
            TimelineEntry::new(Style::Good, "imported", text)
        }));
    }
    if let Some(rotation) = &after.rotation {
        let known = before.rotation.as_ref().filter(|known| known.number == rotation.number);
        if known.is_none() {
            entries.push(started(rotation, after));
        }
        if known.is_none_or(|known| known.phase != rotation.phase) {
            entries.extend(reached(rotation));
        }
    }
    entries.extend(problems(before, after));
    entries
}

/// Returns the rotations that ended between two statuses.
pub fn newly_ended<'a>(
    before: &'a Status,
    after: &'a Status,
) -> impl Iterator<Item = &'a HistoryEntry> {
    after.history.iter().filter(|ended| !before.history.contains(ended))
}

fn ended(ended: &HistoryEntry) -> TimelineEntry {
    let HistoryEntry { number, outcome, message, .. } = ended;
    if *outcome == Outcome::Completed {
        let text = format!("rotation {number} is complete");
        return TimelineEntry::new(Style::Good, "completed", text);
    }
    let label = format!("{outcome:?}").to_lowercase();
    TimelineEntry::new(Style::Notable, label, format!("rotation {number} ended: {message}"))
}

fn started(rotation: &Rotation, status: &Status) -> TimelineEntry {
    let Rotation { number, strategy, .. } = rotation;
    let (style, cause) = match rotation.cause {
        Cause::Schedule => (Style::Plain, "due by schedule".to_owned()),
        Cause::Request => {
            let request = status.last_handled_request.as_deref().unwrap_or("a user");
            (Style::Plain, format!("requested by {request}"))
        }
        Cause::Initial => (Style::Plain, "the initial one".to_owned()),
        Cause::Drift => (Style::Notable, "because the secret changed at Auth0".to_owned()),
        Cause::Recovery => (Style::Notable, "resumed from the target Secret".to_owned()),
    };
    TimelineEntry::new(
        style,
        "started",
        format!("rotation {number}, {cause}; strategy {strategy:?}"),
    )
}

fn reached(rotation: &Rotation) -> Option<TimelineEntry> {
    let number = rotation.number;
    let (style, label, text) = match (rotation.phase, rotation.strategy) {
        // `started` has an entry of its own.
        (Phase::Started, _) => return None,
        (Phase::Staging, _) => {
            let text =
                format!("applications have time to read number {number}, then Auth0 gets it");
            (Style::Plain, "staged", text)
        }
        (Phase::Activating, Strategy::Rotate) => {
            (Style::Plain, "activating", "recorded before rotate-secret is called".to_owned())
        }
        (Phase::Activating, Strategy::Staged) => {
            (Style::Plain, "activating", format!("recorded before Auth0 gets number {number}"))
        }
        (Phase::Confirming, _) => {
            (Style::Plain, "activated", format!("number {number} is the current secret"))
        }
        (Phase::Grace, _) => {
            let text =
                format!("Auth0 accepts number {number}; the previous secret stays as a fallback");
            (Style::Good, "confirmed", text)
        }
        (Phase::Withdrawing, _) => {
            (Style::Notable, "withdrawing", format!("number {number}, which Auth0 doesn't have"))
        }
    };
    Some(TimelineEntry::new(style, label, text))
}

/// Returns the problems that began between two statuses.
fn problems(before: &Status, after: &Status) -> Vec<TimelineEntry> {
    let mut entries = Vec::new();
    let stalled = true_condition(after, condition_types::STALLED);
    if let Some(stalled) = stalled
        && true_condition(before, condition_types::STALLED) != Some(stalled)
    {
        let text = format!("{}: {}", stalled.reason, stalled.message);
        entries.push(TimelineEntry::new(Style::Bad, "stalled", text));
    }
    if let Some(text) = retry(after)
        && retry(before).is_none()
    {
        entries.push(TimelineEntry::new(Style::Notable, "retrying", text));
    }
    let was_ready = true_condition(before, condition_types::READY).is_some();
    let is_ready = true_condition(after, condition_types::READY).is_some();
    let ready = find_condition(&after.conditions, condition_types::READY);
    if let Some(ready) = ready
        && was_ready
        && !is_ready
    {
        let text = format!("{}: {}", ready.reason, ready.message);
        entries.push(TimelineEntry::new(Style::Bad, "not ready", text));
    }
    entries
}

/// Returns why the operator retries, if it does.
fn retry(status: &Status) -> Option<String> {
    let condition = true_condition(status, condition_types::RECONCILING)?;
    if PROGRESS.iter().any(|reason| reason.as_str() == condition.reason) {
        return None;
    }
    Some(format!("{}: {}", condition.reason, condition.message))
}

/// Returns what happened to a target Secret between two states.
pub fn of_target(
    before: Option<&TargetSecret>,
    after: Option<&TargetSecret>,
) -> Option<TimelineEntry> {
    let (style, label, text) = match (before, after) {
        (None, None) => return None,
        (Some(_), None) => (Style::Notable, "deleted", "its Secret no longer exists".to_owned()),
        (_, Some(now)) if !now.is_consistent() => {
            (Style::Notable, "edited", "its Secret differs from what the operator wrote".to_owned())
        }
        (Some(before), Some(now)) if !before.is_consistent() => {
            (Style::Good, "restored", format!("its Secret lists {} again", numbers(now)))
        }
        (Some(before), Some(now)) if before.numbers == now.numbers => return None,
        (_, Some(now)) => (Style::Good, "published", format!("its Secret lists {}", numbers(now))),
    };
    Some(TimelineEntry::new(style, label, text))
}

/// Returns the numbers as in `number 2, then 1`.
fn numbers(target: &TargetSecret) -> String {
    let numbers: Vec<String> = target.numbers.iter().map(u64::to_string).collect();
    format!("number {}", numbers.join(", then "))
}

#[cfg(test)]
#[path = "changes_tests.rs"]
pub(crate) mod tests;
