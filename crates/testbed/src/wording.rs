//! What happened, in words: the differences between two states of a resource or a Secret.

use crate::status::{Ended, Rotation, Status};
use crate::target::Target;
use rig::terminal::Style;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    pub style: Style,
    /// A word for it.
    pub what: String,
    pub text: String,
}

impl Happening {
    pub fn new(style: Style, what: impl Into<String>, text: impl Into<String>) -> Self {
        Self { style, what: what.into(), text: text.into() }
    }
}

/// The phases of a rotation, which its condition `Reconciling` has as reasons while all is well.
const PHASES: [&str; 5] = ["Started", "Staging", "Activating", "Confirming", "Grace"];

/// What happened between two statuses of a resource.
pub fn of_status(before: &Status, after: &Status) -> Vec<Happening> {
    let mut happened: Vec<Happening> = newly_ended(before, after).map(ended).collect();
    if before.current.is_none() && after.rotation.is_none() && after.history.is_empty() {
        happened.extend(after.current.map(|number| {
            let text = format!("the secret that Auth0 has now is number {number}");
            Happening::new(Style::Good, "imported", text)
        }));
    }
    if let Some(rotation) = &after.rotation {
        let known = before.rotation.as_ref().filter(|known| known.number == rotation.number);
        if known.is_none() {
            happened.push(started(rotation, after));
        }
        if known.is_none_or(|known| known.phase != rotation.phase) {
            happened.extend(reached(rotation));
        }
    }
    happened.extend(trouble(before, after));
    happened
}

/// The rotations that ended between two statuses.
pub fn newly_ended<'a>(before: &'a Status, after: &'a Status) -> impl Iterator<Item = &'a Ended> {
    after.history.iter().filter(|ended| !before.history.contains(ended))
}

fn ended(ended: &Ended) -> Happening {
    let Ended { number, outcome, message, .. } = ended;
    if outcome == "Completed" {
        let text = format!("rotation {number} is complete");
        Happening::new(Style::Good, "completed", text)
    } else {
        let text = format!("rotation {number} ended: {message}");
        Happening::new(Style::Notable, outcome.to_lowercase(), text)
    }
}

fn started(rotation: &Rotation, status: &Status) -> Happening {
    let number = rotation.number;
    let (style, why) = match rotation.cause.as_str() {
        "Schedule" => (Style::Plain, "by its schedule".to_owned()),
        "Request" => {
            let request = status.last_handled_request.as_deref().unwrap_or("a request");
            (Style::Plain, format!("as asked for by {request}"))
        }
        "Initial" => (Style::Plain, "the first one".to_owned()),
        "Drift" => (Style::Notable, "somebody changed the secret at Auth0".to_owned()),
        "Recovery" => (Style::Notable, "its record was lost and is made anew".to_owned()),
        other => (Style::Notable, other.to_owned()),
    };
    let strategy = &rotation.strategy;
    Happening::new(style, "started", format!("rotation {number}, {why}; strategy {strategy}"))
}

fn reached(rotation: &Rotation) -> Option<Happening> {
    let number = rotation.number;
    let (style, what, text) = match rotation.phase.as_str() {
        // That it started is told already.
        "Started" => return None,
        "Staging" => (
            Style::Plain,
            "staged",
            format!("applications are given time to read number {number}; Auth0 isn't told yet"),
        ),
        "Activating" if rotation.strategy == "Rotate" => (
            Style::Plain,
            "activating",
            "recorded before Auth0 is asked for a new secret".to_owned(),
        ),
        "Activating" => {
            (Style::Plain, "activating", format!("recorded before Auth0 is told number {number}"))
        }
        "Confirming" => {
            (Style::Plain, "activated", format!("number {number} is the current secret"))
        }
        "Grace" => (
            Style::Good,
            "confirmed",
            format!("Auth0 accepts number {number}; the one before it stays for a while"),
        ),
        other => (Style::Notable, other, format!("rotation {number}")),
    };
    Some(Happening::new(style, what.to_lowercase(), text))
}

/// What isn't as it should be, when it begins.
fn trouble(before: &Status, after: &Status) -> Vec<Happening> {
    let mut happened = Vec::new();
    if let Some(stalled) = after.holds("Stalled").filter(|now| before.holds("Stalled") != Some(now))
    {
        let text = format!("{}: {}", stalled.reason, stalled.message);
        happened.push(Happening::new(Style::Bad, "stalled", text));
    }
    let trying = |status: &Status| {
        let reconciling = status.holds("Reconciling")?;
        let in_order = PHASES.contains(&reconciling.reason.as_str());
        (!in_order).then(|| reconciling.clone())
    };
    if let Some(again) = trying(after).filter(|_| trying(before).is_none()) {
        let text = format!("{}: {}", again.reason, again.message);
        happened.push(Happening::new(Style::Notable, "retrying", text));
    }
    let lost_ready = before.holds("Ready").is_some() && after.holds("Ready").is_none();
    if let Some(ready) = after.condition("Ready").filter(|_| lost_ready) {
        let text = format!("{}: {}", ready.reason, ready.message);
        happened.push(Happening::new(Style::Bad, "not ready", text));
    }
    happened
}

/// What happened to a target Secret between two states of it.
pub fn of_target(before: Option<&Target>, after: Option<&Target>) -> Option<Happening> {
    let Some(now) = after else {
        before?;
        return Some(Happening::new(Style::Notable, "gone", "its Secret does not exist any more"));
    };
    if !now.is_sound() {
        let text = "its Secret is not as the operator wrote it";
        return Some(Happening::new(Style::Notable, "edited", text));
    }
    match before {
        Some(before) if before.is_sound() && before.numbers == now.numbers => None,
        Some(before) if !before.is_sound() => Some(Happening::new(
            Style::Good,
            "put right",
            format!("its Secret lists {} again", numbers(now)),
        )),
        _ => Some(Happening::new(
            Style::Good,
            "published",
            format!("its Secret lists {}", numbers(now)),
        )),
    }
}

/// `number 1`, or `number 2, then 1`.
fn numbers(target: &Target) -> String {
    let numbers: Vec<String> = target.numbers.iter().map(u64::to_string).collect();
    format!("number {}", numbers.join(", then "))
}

#[cfg(test)]
#[path = "wording_tests.rs"]
mod tests;
