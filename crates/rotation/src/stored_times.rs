//! All times of a status. A new one is added here, which a test checks by the schema.

use chrono::{DateTime, TimeDelta, Utc};

use crate::status::{Rotation, Status};

/// A time of a status that a wait counts from or ends at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum TimeField {
    StagedAt,
    ActivatingAt,
    UnresolvedSince,
    ActivatedAt,
    RestartAt,
    RestartAttemptedAt,
    UnansweredUntil,
    DriftHoldOffUntil,
}

impl TimeField {
    /// Returns whether the time is the end of a wait; otherwise it is that of an event.
    pub(crate) fn is_end(self) -> bool {
        match self {
            Self::StagedAt
            | Self::ActivatingAt
            | Self::UnresolvedSince
            | Self::ActivatedAt
            | Self::RestartAt
            | Self::RestartAttemptedAt => false,
            Self::UnansweredUntil | Self::DriftHoldOffUntil => true,
        }
    }
}

/// Bounds of stored times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeBounds {
    pub(crate) now: DateTime<Utc>,
    /// How far in the future an event may be.
    pub(crate) event_tolerance: TimeDelta,
    /// How far in the future an end may be beyond its longest wait.
    pub(crate) end_tolerance: TimeDelta,
    /// The longest wait for an unanswered request.
    pub(crate) longest_window: TimeDelta,
    /// The longest hold-off.
    pub(crate) longest_hold_off: TimeDelta,
}

/// Returns the times of a status that a wait counts from or ends at.
pub(crate) fn stored_times(status: &Status) -> Vec<(TimeField, DateTime<Utc>)> {
    let mut times = vec![
        (TimeField::UnansweredUntil, status.unanswered_until),
        (TimeField::DriftHoldOffUntil, status.drift_hold_off.map(|hold_off| hold_off.until)),
    ];
    if let Some(rotation) = &status.rotation {
        times.push((TimeField::StagedAt, rotation.staged_at));
        times.push((TimeField::ActivatingAt, rotation.activating_at));
        times.push((TimeField::UnresolvedSince, rotation.unresolved_since));
        times.push((TimeField::ActivatedAt, rotation.activated_at));
        times.push((TimeField::RestartAt, rotation.restart_at));
        times.push((TimeField::RestartAttemptedAt, rotation.restart_attempted_at));
    }
    times.into_iter().filter_map(|(field, time)| Some((field, time?))).collect()
}

/// Corrects the times of a status that a clock ahead of this one stored. An event in the future
/// happens now. A hold-off that ends too late ends now, and a window starts again.
///
/// The due time and the time of retirement are not events: they are planned again where they are
/// used.
pub(crate) fn clamp_future_times(status: &mut Status, bounds: TimeBounds) {
    let Status {
        observed_generation: _,
        conditions,
        current: _,
        previous: _,
        last_rotation_time,
        next_rotation_time: _,
        last_handled_request: _,
        request_rejection: _,
        rotation,
        drift_hold_off,
        unanswered_until,
        probe_control,
        history,
        settled,
    } = status;
    let clamp_event = |time: &mut DateTime<Utc>| {
        if *time > bounds.now + bounds.event_tolerance {
            *time = bounds.now;
        }
    };
    let is_too_late =
        |end: DateTime<Utc>, longest: TimeDelta| end > bounds.now + longest + bounds.end_tolerance;
    conditions.iter_mut().for_each(|condition| clamp_event(&mut condition.last_transition_time));
    // Times that were planned by that clock can be wrong.
    settled.take_if(|settled| settled.at > bounds.now + bounds.end_tolerance);
    last_rotation_time.iter_mut().for_each(clamp_event);
    if let Some(control) = probe_control {
        clamp_event(&mut control.probed_at);
    }
    if let Some(hold_off) = drift_hold_off
        && is_too_late(hold_off.until, bounds.longest_hold_off)
    {
        hold_off.until = bounds.now;
    }
    // A request may be on its way all the same.
    if let Some(until) = unanswered_until
        && is_too_late(*until, bounds.longest_window)
    {
        *until = bounds.now + bounds.longest_window;
    }
    for entry in history {
        clamp_event(&mut entry.started_at);
        entry.activated_at.iter_mut().for_each(clamp_event);
        entry.retired_at.iter_mut().for_each(clamp_event);
    }
    if let Some(rotation) = rotation {
        events_of(rotation).into_iter().flatten().for_each(clamp_event);
    }
}

/// Returns the time of the latest event of a rotation.
pub(crate) fn latest_event(rotation: &mut Rotation) -> Option<DateTime<Utc>> {
    events_of(rotation).into_iter().flatten().map(|time| *time).max()
}

fn events_of(rotation: &mut Rotation) -> [Option<&mut DateTime<Utc>>; 8] {
    [
        Some(&mut rotation.started_at),
        rotation.staged_at.as_mut(),
        rotation.activating_at.as_mut(),
        rotation.unresolved_since.as_mut(),
        rotation.activated_at.as_mut(),
        rotation.confirmed_at.as_mut(),
        rotation.restart_at.as_mut(),
        rotation.restart_attempted_at.as_mut(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;

    const FUTURE: &str = "2126-01-01T00:00:00Z";

    /// Returns a value of a schema with every optional field, and [`FUTURE`] as every time.
    fn example(schema: &Value, definitions: &Value) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap();
            return example(&definitions[name], definitions);
        }
        for alternatives in ["anyOf", "oneOf"] {
            if let Some(schemas) = schema[alternatives].as_array() {
                return example(&schemas[0], definitions);
            }
        }
        if schema["format"] == "date-time" {
            return json!(FUTURE);
        }
        if let Some(value) = schema["enum"].as_array().and_then(|values| values.first()) {
            return value.clone();
        }
        if !schema["const"].is_null() {
            return schema["const"].clone();
        }
        let type_ = match &schema["type"] {
            Value::Array(types) => types[0].clone(),
            type_ => type_.clone(),
        };
        match type_.as_str().unwrap() {
            "object" => {
                let properties = schema["properties"].as_object().unwrap();
                let fields = properties
                    .iter()
                    .map(|(name, schema)| (name.clone(), example(schema, definitions)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            "array" => json!([example(&schema["items"], definitions)]),
            "integer" => json!(1),
            "boolean" => json!(true),
            _ => json!("text"),
        }
    }

    /// Adds the paths of all fields that have [`FUTURE`].
    fn find_future(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::String(text) if text == FUTURE => found.push(path.to_owned()),
            Value::Object(fields) => {
                for (name, value) in fields {
                    find_future(value, &format!("{path}.{name}"), found);
                }
            }
            Value::Array(values) => {
                values.iter().for_each(|value| find_future(value, path, found));
            }
            _ => {}
        }
    }

    fn future_fields(status: &Status) -> Vec<String> {
        let mut found = Vec::new();
        find_future(&serde_json::to_value(status).unwrap(), "", &mut found);
        found
    }

    #[test]
    fn clamps_every_time_of_the_schema() {
        let schema = serde_json::to_value(schemars::schema_for!(Status)).unwrap();
        let example = example(&schema, &schema["$defs"]);
        let mut status: Status = serde_json::from_value(example).unwrap();
        let times = future_fields(&status);
        assert!(times.len() >= 15, "{times:?}");
        for field in [".unansweredUntil", ".rotation.confirmedAt", ".rotation.restartAt"] {
            assert!(times.iter().any(|time| time == field), "{field} is not in {times:?}");
        }
        let bounds = TimeBounds {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            event_tolerance: TimeDelta::minutes(5),
            end_tolerance: TimeDelta::seconds(30),
            longest_window: TimeDelta::seconds(30),
            longest_hold_off: TimeDelta::hours(1),
        };
        clamp_future_times(&mut status, bounds);
        // Both are planned again where they are used.
        assert_eq!(future_fields(&status), [".nextRotationTime", ".rotation.retireAt"]);
        let latest = bounds.now + TimeDelta::hours(1);
        assert!(stored_times(&status).iter().all(|(_, time)| *time <= latest));
    }

    #[test]
    fn keeps_times_within_the_tolerance() {
        let now: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let until = Some(now + TimeDelta::seconds(30));
        let before = Status {
            last_rotation_time: Some(now + TimeDelta::minutes(4)),
            unanswered_until: until,
            ..Status::default()
        };
        let mut status = before.clone();
        let bounds = TimeBounds {
            now,
            event_tolerance: TimeDelta::minutes(5),
            end_tolerance: TimeDelta::seconds(30),
            longest_window: TimeDelta::seconds(30),
            longest_hold_off: TimeDelta::hours(1),
        };
        clamp_future_times(&mut status, bounds);
        assert_eq!(status, before);
    }
}
