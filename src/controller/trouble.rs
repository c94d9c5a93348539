//! What can go wrong with the API server, and how long to wait before trying again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rotation::{ErrorClass, Failure, Reason};

use leader_election::WriteFence;

/// Something about the API server failed. Its own text is kept only where it can't carry a value.
pub(super) fn of_kube(what: &str, error: &kube::Error) -> Failure {
    let (class, message) = match error {
        kube::Error::Api(status) => match status.code {
            404 | 409 => (ErrorClass::Conflict, format!("{what}: it changed meanwhile")),
            403 => (
                ErrorClass::Invalid,
                format!("{what}: the operator is not allowed to: {}", bounded(&status.message)),
            ),
            429 | 500.. => {
                (ErrorClass::Retry, format!("{what}: the API server answered {}", status.code))
            }
            _ => (ErrorClass::Invalid, format!("{what}: {}", bounded(&status.message))),
        },
        kube::Error::SerdeError(_) => (
            ErrorClass::Invalid,
            format!("{what}: the object doesn't fit its definition: apply crds/"),
        ),
        _ => (ErrorClass::Retry, format!("{what}: the API server can't be reached")),
    };
    Failure {
        class,
        reason: Reason::KubernetesError,
        message,
        not_applied: false,
        concerns_tenant: false,
    }
}

/// The API server did not answer in time.
pub(super) fn of_timeout(what: &str) -> Failure {
    Failure {
        class: ErrorClass::Retry,
        reason: Reason::KubernetesError,
        message: format!("{what}: the API server did not answer in time"),
        not_applied: false,
        concerns_tenant: false,
    }
}

/// The process has been asked to stop: nothing new is begun.
pub(super) fn stopping() -> Failure {
    Failure {
        class: ErrorClass::Retry,
        reason: Reason::Stopping,
        message: "the operator is stopping; another one goes on".to_owned(),
        not_applied: true,
        concerns_tenant: false,
    }
}

/// Another replica leads, or soon will: nothing is changed any more.
pub(super) fn not_leading() -> Failure {
    Failure {
        class: ErrorClass::Retry,
        reason: Reason::NotLeading,
        message: "this replica doesn't lead any more; another one goes on".to_owned(),
        not_applied: true,
        concerns_tenant: false,
    }
}

/// Just before something outside of this process is changed: whether it may be.
pub(super) fn check(right: WriteFence<'_>) -> Result<(), Failure> {
    if right.holds() { Ok(()) } else { Err(not_leading()) }
}

/// What was read is out of date.
pub(super) fn conflict(what: &str) -> Failure {
    Failure {
        class: ErrorClass::Conflict,
        reason: Reason::Conflict,
        message: what.to_owned(),
        not_applied: true,
        concerns_tenant: false,
    }
}

/// A person has to change something.
pub(super) fn invalid(reason: Reason, message: impl Into<String>) -> Failure {
    Failure {
        class: ErrorClass::Invalid,
        reason,
        message: message.into(),
        not_applied: true,
        concerns_tenant: false,
    }
}

fn bounded(message: &str) -> String {
    message.chars().take(300).collect()
}

/// How long to wait after the `failures`-th failure in a row: doubling, bounded, and shortened by
/// up to a half by `random` (between 0 and 1), so that many objects don't come back together.
pub(super) fn backoff(
    class: ErrorClass,
    failures: u32,
    now: DateTime<Utc>,
    random: f64,
) -> Duration {
    let (first, most) = match class {
        ErrorClass::Conflict => (0.05, 5.0),
        ErrorClass::Retry | ErrorClass::Throttled { .. } => (0.5, 60.0),
        ErrorClass::Invalid | ErrorClass::Fatal => (5.0, 600.0),
    };
    let doubled = f64::min(first * 2f64.powi(failures.saturating_sub(1).min(20) as i32), most);
    let wait = Duration::from_secs_f64(doubled * (1.0 - random.clamp(0.0, 1.0) / 2.0));
    match class {
        // Not before the time that was named, and then not all at once.
        ErrorClass::Throttled { until } => {
            let named = (until - now).to_std().unwrap_or_default();
            named + Duration::from_secs_f64(random.clamp(0.0, 1.0))
        }
        _ => wait,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn backoff_grows_and_is_bounded(failures in 1u32..1000, random in 0f64..=1.0) {
            let now = DateTime::from_timestamp(0, 0).unwrap();
            for (class, most) in [(ErrorClass::Retry, 60), (ErrorClass::Invalid, 600), (ErrorClass::Conflict, 5)] {
                let wait = backoff(class, failures, now, random);
                prop_assert!(wait <= Duration::from_secs(most));
                prop_assert!(wait <= backoff(class, failures + 1, now, random));
                prop_assert!(wait >= Duration::from_millis(25));
            }
        }

        #[test]
        fn a_named_time_is_waited_for(seconds in 0i64..3600, random in 0f64..=1.0) {
            let now = DateTime::from_timestamp(0, 0).unwrap();
            let until = now + TimeDelta::seconds(seconds);
            let wait = backoff(ErrorClass::Throttled { until }, 1, now, random);
            prop_assert!(wait >= Duration::from_secs(seconds as u64));
            prop_assert!(wait <= Duration::from_secs(seconds as u64 + 1));
        }
    }
}
