//! Events: the difference between two statuses. The operator publishes an Event only on a
//! transition.

use crate::{
    condition::{Condition, ConditionStatus, condition_types, find_condition, is_condition_true},
    decide::are_probes_proofs,
    reason::Reason,
    status::{Cause, HistoryEntry, Outcome, Phase, Rotation, Status},
    text::bounded_bytes,
};

/// Maximum length of the message of an Event in bytes, which the API server enforces.
pub const EVENT_MESSAGE_LIMIT: usize = 1024;

/// A transition to log, and to publish as an Event unless it is routine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// The Event has type Warning: a user should look at it.
    pub is_warning: bool,
    /// A step of a healthy rotation, which the Event of its result covers. Only the log has it.
    pub is_routine: bool,
    /// Machine-readable reason.
    pub reason: Reason,
    /// Human-readable explanation.
    pub message: String,
}

impl EventRecord {
    fn normal(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(false, reason, &message.into())
    }

    fn routine(reason: Reason, message: impl Into<String>) -> Self {
        Self { is_routine: true, ..Self::normal(reason, message) }
    }

    fn warning(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(true, reason, &message.into())
    }

    /// Returns a record whose message is on one line and cut at [`EVENT_MESSAGE_LIMIT`].
    pub fn new(is_warning: bool, reason: Reason, message: &str) -> Self {
        let message = bounded_bytes(message, EVENT_MESSAGE_LIMIT);
        Self { is_warning, is_routine: false, reason, message }
    }
}

/// Returns the transitions between two statuses of the same resource.
pub fn event_records(before: &Status, after: &Status) -> Vec<EventRecord> {
    let mut events = Vec::new();
    add_ended_rotations(before, after, &mut events);
    if let Some(rotation) = &after.rotation {
        add_rotation_progress(before, after, rotation, &mut events);
    }
    add_request_rejection(before, after, &mut events);
    if before.current.is_none() && after.current.is_some() && after.rotation.is_none() {
        events
            .push(EventRecord::normal(Reason::Imported, "published the client's existing secret"));
    }
    add_condition_changes(before, after, &mut events);
    events
}

fn add_ended_rotations(before: &Status, after: &Status, events: &mut Vec<EventRecord>) {
    for entry in &after.history {
        if !before.history.contains(entry) {
            events.push(ended_rotation(entry));
        }
    }
}

fn ended_rotation(entry: &HistoryEntry) -> EventRecord {
    let number = entry.number;
    match entry.outcome {
        Outcome::Completed => EventRecord::normal(
            Reason::Retired,
            format!("rotation {number} is complete; the previous secret was removed"),
        ),
        Outcome::Aborted => EventRecord::normal(
            Reason::Aborted,
            format!("rotation {number} was aborted before its secret was activated"),
        ),
        Outcome::Rejected => EventRecord::warning(
            Reason::RotationRejected,
            format!("rotation {number} was withdrawn: {}", entry.message),
        ),
        Outcome::Superseded => EventRecord::warning(
            Reason::Superseded,
            format!("another change of the secret superseded rotation {number}"),
        ),
    }
}

fn add_rotation_progress(
    before: &Status,
    after: &Status,
    rotation: &Rotation,
    events: &mut Vec<EventRecord>,
) {
    let is_proven = are_probes_proofs(after);
    let number = rotation.number;
    let before = before.rotation.as_ref().filter(|before| before.number == number);
    let Some(before) = before else {
        events.push(started_rotation(rotation));
        if let Some(event) = entered_phase(rotation, None, is_proven) {
            events.push(event);
        }
        return;
    };
    if before.strategy != rotation.strategy {
        let message = rotation.message.clone().unwrap_or_default();
        events.push(EventRecord::warning(
            Reason::SwitchedToStaged,
            format!("rotation {number}: {message}"),
        ));
    }
    if before.phase != rotation.phase
        && let Some(event) = entered_phase(rotation, Some(before.phase), is_proven)
    {
        events.push(event);
    }
}

fn started_rotation(rotation: &Rotation) -> EventRecord {
    let number = rotation.number;
    match rotation.cause {
        Cause::Drift => EventRecord::warning(
            Reason::Drift,
            format!(
                "another party changed the secret at Auth0; the operator publishes it as number \
                 {number}"
            ),
        ),
        Cause::Recovery => EventRecord::warning(
            Reason::Recovered,
            format!("the state of rotation {number} was lost; resumed from the target Secret"),
        ),
        Cause::Initial | Cause::Schedule | Cause::Request => EventRecord::routine(
            Reason::Started,
            format!("rotation {number} started ({:?})", rotation.cause),
        ),
    }
}

fn entered_phase(
    rotation: &Rotation,
    before: Option<Phase>,
    is_proven: bool,
) -> Option<EventRecord> {
    let (number, cause) = (rotation.number, rotation.cause);
    let event = match (rotation.phase, before) {
        (Phase::Staging, _) => EventRecord::routine(
            Reason::Staged,
            format!("rotation {number}: the next secret is published as a fallback"),
        ),
        // A rotation that starts in this phase, or returns to it, activates nothing.
        (Phase::Confirming, None | Some(Phase::Grace)) => return None,
        (Phase::Confirming, Some(_)) => EventRecord::routine(
            Reason::Activated,
            format!(
                "rotation {number}: the new secret is published with the previous one as its \
                 fallback"
            ),
        ),
        (Phase::Grace, _) if !is_proven => EventRecord::normal(
            Reason::Confirmed,
            format!(
                "rotation {number} ({cause:?}): the new secret is published, Auth0 has it, and its \
                 propagation window is over; a probe proves nothing for this client"
            ),
        ),
        (Phase::Grace, _) => EventRecord::normal(
            Reason::Confirmed,
            format!(
                "rotation {number} ({cause:?}): the new secret is published, and Auth0 accepts it"
            ),
        ),
        (Phase::Started | Phase::Activating | Phase::Withdrawing, _) => return None,
    };
    Some(event)
}

fn add_request_rejection(before: &Status, after: &Status, events: &mut Vec<EventRecord>) {
    let Some(rejection) = &after.request_rejection else { return };
    if before.last_handled_request != after.last_handled_request {
        let request = after.last_handled_request.as_deref().unwrap_or_default();
        events
            .push(EventRecord::warning(Reason::RequestRejected, format!("{request}: {rejection}")));
    }
}

fn add_condition_changes(before: &Status, after: &Status, events: &mut Vec<EventRecord>) {
    let (before, after) = (&before.conditions, &after.conditions);
    if let Some(stalled) = find_condition(after, condition_types::STALLED)
        && stalled.status == ConditionStatus::True
    {
        // A resource that stays stalled for another reason is a transition too.
        let is_known = find_condition(before, condition_types::STALLED)
            .is_some_and(|known| known.status == stalled.status && known.reason == stalled.reason);
        if !is_known {
            events.push(EventRecord::warning(
                Reason::Stalled,
                format!("{}: {}", stalled.reason, stalled.message),
            ));
        }
    }
    if let Some(accepted) = find_condition(after, condition_types::REQUEST_ACCEPTED)
        && accepted.reason == Reason::InvalidRequest.as_str()
        && find_condition(before, condition_types::REQUEST_ACCEPTED)
            .is_none_or(|known| known.message != accepted.message)
    {
        events.push(EventRecord::warning(Reason::InvalidRequest, accepted.message.clone()));
    }
    if let Some(reached) = find_condition(after, condition_types::CONSUMERS_REACHED)
        && reached.status == ConditionStatus::False
        && find_condition(before, condition_types::CONSUMERS_REACHED) != Some(reached)
    {
        let reason = Reason::parse(&reached.reason).unwrap_or(Reason::PodsNeverUpdated);
        events.push(EventRecord::warning(reason, reached.message.clone()));
    }
    if let Some(signs) = find_condition(after, condition_types::SIGNS_WITH_SECRET)
        && signs.status == ConditionStatus::True
        && !is_condition_true(before, condition_types::SIGNS_WITH_SECRET)
    {
        events.push(EventRecord::warning(Reason::SignsWithSecret, signs.message.clone()));
    }
    if let Some(probe) = find_condition(after, condition_types::PROBE_INCONCLUSIVE)
        && probe.status == ConditionStatus::True
        && find_condition(before, condition_types::PROBE_INCONCLUSIVE)
            .is_none_or(|known| known.status != probe.status || known.reason != probe.reason)
    {
        events.push(EventRecord::warning(Reason::ProbeInconclusive, probe.message.clone()));
    }
    add_revoked_secret(before, after, events);
    if let Some(in_sync) = find_condition(after, condition_types::IN_SYNC)
        && in_sync.status == ConditionStatus::False
        && find_condition(before, condition_types::IN_SYNC)
            .is_none_or(|known| known.message != in_sync.message)
    {
        let reason = Reason::parse(&in_sync.reason).unwrap_or(Reason::TargetContested);
        events.push(EventRecord::warning(reason, in_sync.message.clone()));
    }
    if let Some(ready) = find_condition(after, condition_types::READY)
        && ready.status != ConditionStatus::True
        && is_condition_true(before, condition_types::READY)
    {
        events.push(EventRecord::warning(
            Reason::NotReady,
            format!("{}: {}", ready.reason, ready.message),
        ));
    }
}

fn add_revoked_secret(before: &[Condition], after: &[Condition], events: &mut Vec<EventRecord>) {
    let type_ = condition_types::REVOKED_SECRET_REJECTED;
    let Some(rejected) = find_condition(after, type_) else { return };
    let known = find_condition(before, type_).map(|known| (known.status, known.message.as_str()));
    if known == Some((rejected.status, rejected.message.as_str())) {
        return;
    }
    match rejected.status {
        ConditionStatus::True => events
            .push(EventRecord::normal(Reason::RevokedSecretRejected, rejected.message.clone())),
        ConditionStatus::False => events
            .push(EventRecord::warning(Reason::RevokedSecretAccepted, rejected.message.clone())),
        ConditionStatus::Unknown => {}
    }
}
