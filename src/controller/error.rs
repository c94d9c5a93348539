//! The controller's error type: one variant per intent, each with a class that alone drives requeue,
//! condition, Event and metric label.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rotation::{ErrorClass, Failure, Reason, Rejection, bounded};

use super::denial::{self, Denial};

/// Longest text of the API server that a message quotes, in characters.
const QUOTE_LIMIT: usize = 300;

/// Longest reason of the API server in characters. An admission webhook can return any text.
const REASON_LIMIT: usize = 64;

/// Why a reconcile stopped. Messages are for users: they say what is wrong and, where a user has to
/// act, what to do. They are the same at every retry, so that a retry writes no new status.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A call to Auth0 failed.
    #[error(transparent)]
    Auth0(#[from] auth0_client::Error),
    /// A check before a change at Auth0 failed, so the change was not sent.
    #[error(transparent)]
    NotSent(auth0_client::Error),
    /// A call to the API server failed.
    #[error("{action}: {failure}")]
    Kube {
        /// Purpose of the call, as in "storing the status".
        action: String,
        /// How it failed.
        failure: KubeFailure,
    },
    /// A user has to change something.
    #[error("{}", .0.message)]
    Rejected(Rejection),
    /// RBAC, a quota or admission control denies a write. Nothing shows when that ends.
    #[error("{}", .0.message)]
    Denied(Rejection),
    /// The installed CustomResourceDefinition drops fields that this version stores.
    #[error("the installed CustomResourceDefinition is older than this operator: apply crds/")]
    CrdOutdated,
    /// The tenant does not exist yet or cannot be read; manifests are often applied together.
    #[error("{0}")]
    TenantMissing(String),
    /// The operator of another shard manages the tenant.
    #[error("{0}")]
    TenantInOtherShard(String),
    /// The tenant changed since the watch delivered it; the watch triggers the next reconcile.
    #[error("{0} changed meanwhile")]
    TenantChanged(&'static str),
    /// Another party keeps changing the keys that this resource publishes.
    #[error(
        "another party keeps changing the Secret {0}: find it in the Secret's managedFields, and \
         stop it"
    )]
    TargetContested(String),
    /// The object's budget of writes to the API server is used up.
    #[error(
        "something changes this object, its target Secret or its tenant all the time, and the operator \
         has made as many writes for it as it makes per hour; it continues at a lower rate. Find out \
         from managedFields what that is, and stop it"
    )]
    WriteLimited {
        /// When there is room for the next write.
        until: DateTime<Utc>,
    },
    /// The objects that were read are out of date.
    #[error("{0}")]
    Conflict(&'static str),
    /// The intent is stored, and whether its call was made is not known; it is read back.
    #[error("{0}")]
    OutcomeUnknown(&'static str),
    /// The process is shutting down and starts nothing new.
    #[error("the operator is stopping; the next one continues")]
    Stopping,
    /// Another replica leads or soon will: nothing may be changed any more.
    #[error("this replica is not the leader any more; the leader continues")]
    NotLeading,
}

/// How a call to the API server failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KubeFailure {
    /// The object is gone, or its version is not the one that was read.
    #[error("the object changed meanwhile")]
    Conflict,
    /// RBAC, a quota or admission control denies it.
    #[error("{} denies it: {message}", .denial.subject())]
    Forbidden {
        /// Component that denies it.
        denial: Denial,
        /// The API server's message, shortened.
        message: String,
    },
    /// The API server failed or asks for fewer calls.
    #[error("the API server responded with status {0}")]
    Unavailable(u16),
    /// The API server can't call an admission webhook.
    #[error(
        "the API server can't call the admission webhook{0}, which must admit the write; the operator \
         retries. Restore the webhook's server, or remove its configuration"
    )]
    WebhookUnavailable(denial::Name),
    /// The API server rejects the object.
    #[error("{message}")]
    Rejected {
        /// Component that rejects it.
        denial: Denial,
        /// The HTTP status.
        code: u16,
        /// The machine-readable reason, such as `Invalid`.
        reason: String,
        /// The API server's message, shortened.
        message: String,
    },
    /// The response does not match the definition of the type.
    #[error("the object does not match its definition: apply crds/")]
    Malformed,
    /// No connection, or it broke.
    #[error("the API server can't be reached")]
    Unreachable,
    /// No response before the deadline.
    #[error("the API server did not respond in time")]
    Timeout,
}

impl KubeFailure {
    pub(crate) fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                404 | 409 => Self::Conflict,
                403 => Self::Forbidden {
                    denial: Denial::of(status),
                    message: shorten(&status.message),
                },
                code @ (429 | 500..) => match denial::unavailable_webhook(status) {
                    Some(name) => Self::WebhookUnavailable(name),
                    None => Self::Unavailable(code),
                },
                code => Self::Rejected {
                    denial: Denial::of(status),
                    code,
                    reason: bounded(&status.reason, REASON_LIMIT),
                    message: shorten(&status.message),
                },
            },
            kube::Error::SerdeError(_) => Self::Malformed,
            _ => Self::Unreachable,
        }
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Conflict => ErrorClass::Conflict,
            Self::Unavailable(_)
            | Self::WebhookUnavailable(_)
            | Self::Unreachable
            | Self::Timeout => ErrorClass::Retry,
            Self::Forbidden { .. } | Self::Rejected { .. } => ErrorClass::Denied,
            Self::Malformed => ErrorClass::Invalid,
        }
    }
}

impl Error {
    /// Returns an error that a user has to resolve.
    pub(crate) fn rejected(reason: Reason, message: impl Into<String>) -> Self {
        Self::Rejected(Rejection::new(reason, message))
    }

    /// Returns what the error means for what happens next.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Auth0(error) | Self::NotSent(error) => error.class(),
            Self::Kube { failure, .. } => failure.class(),
            Self::Rejected(_) => ErrorClass::Invalid,
            Self::Denied(_) => ErrorClass::Denied,
            Self::CrdOutdated => ErrorClass::Fatal,
            Self::WriteLimited { until } => ErrorClass::Throttled { until: *until },
            Self::TenantMissing(_)
            | Self::TenantInOtherShard(_)
            | Self::TenantChanged(_)
            | Self::TargetContested(_)
            | Self::Stopping
            | Self::NotLeading => ErrorClass::Retry,
            Self::Conflict(_) | Self::OutcomeUnknown(_) => ErrorClass::Conflict,
        }
    }

    /// Returns the reason for conditions, Events, logs and metric labels.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Auth0(error) | Self::NotSent(error) => error.reason(),
            Self::Kube { .. } => Reason::KubernetesError,
            Self::Rejected(rejection) | Self::Denied(rejection) => rejection.reason,
            Self::CrdOutdated => Reason::CrdOutdated,
            Self::TenantMissing(_) => Reason::TenantMissing,
            Self::TenantInOtherShard(_) => Reason::TenantInOtherShard,
            Self::TargetContested(_) => Reason::TargetContested,
            Self::WriteLimited { .. } => Reason::WriteLimited,
            Self::TenantChanged(_) | Self::Conflict(_) | Self::OutcomeUnknown(_) => {
                Reason::Conflict
            }
            Self::Stopping => Reason::Stopping,
            Self::NotLeading => Reason::NotLeading,
        }
    }

    /// Whether the step that failed certainly changed nothing at Auth0.
    fn is_not_applied(&self) -> bool {
        match self {
            Self::Auth0(error) => error.had_no_effect(),
            Self::Kube { .. } | Self::OutcomeUnknown(_) => false,
            _ => true,
        }
    }

    /// Whether the tenant fails, and not this resource.
    fn concerns_tenant(&self) -> bool {
        match self {
            Self::Auth0(error) | Self::NotSent(error) => error.concerns_tenant(),
            Self::TenantMissing(_) | Self::TenantInOtherShard(_) => true,
            _ => false,
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            class: error.class(),
            reason: error.reason(),
            message: error.to_string(),
            not_applied: error.is_not_applied(),
            concerns_tenant: error.concerns_tenant(),
        }
    }
}

fn shorten(message: &str) -> String {
    bounded(message, QUOTE_LIMIT)
}

/// Returns how long to wait after the `failures`-th failure in a row. The wait doubles up to a
/// bound, and `random` (0 to 1) shortens it by up to a half, so that many objects do not come back
/// together. A throttled call waits for the time that the other side named, plus up to a second.
pub(crate) fn backoff(
    class: ErrorClass,
    failures: u32,
    now: DateTime<Utc>,
    random: f64,
) -> Duration {
    let random = random.clamp(0.0, 1.0);
    let (first, most) = match class {
        ErrorClass::Conflict => (0.05, 5.0),
        ErrorClass::Retry => (0.5, 45.0),
        ErrorClass::Denied => (5.0, 30.0),
        ErrorClass::Invalid | ErrorClass::Fatal => (5.0, 600.0),
        ErrorClass::Throttled { until } => {
            let named = (until - now).to_std().unwrap_or_default();
            return named + Duration::from_secs_f64(random);
        }
    };
    let doublings = failures.saturating_sub(1).min(20) as i32;
    let doubled = f64::min(first * 2f64.powi(doublings), most);
    Duration::from_secs_f64(doubled * (1.0 - random / 2.0))
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
            for (class, most) in [
                (ErrorClass::Retry, 45),
                (ErrorClass::Denied, 30),
                (ErrorClass::Invalid, 600),
                (ErrorClass::Conflict, 5),
            ] {
                let wait = backoff(class, failures, now, random);
                prop_assert!(wait <= Duration::from_secs(most));
                prop_assert!(wait <= backoff(class, failures + 1, now, random));
                prop_assert!(wait >= Duration::from_millis(25));
            }
        }

        #[test]
        fn throttled_call_waits_for_the_named_time(seconds in 0i64..3600, random in 0f64..=1.0) {
            let now = DateTime::from_timestamp(0, 0).unwrap();
            let until = now + TimeDelta::seconds(seconds);
            let wait = backoff(ErrorClass::Throttled { until }, 1, now, random);
            prop_assert!(wait >= Duration::from_secs(seconds as u64));
            prop_assert!(wait <= Duration::from_secs(seconds as u64 + 1));
        }
    }
}
