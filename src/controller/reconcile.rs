//! When a pass is made, and when the next one.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use kube::{ResourceExt as _, runtime::controller::Action};
use rotation::{Class, Trouble};

use super::{
    claims::Guarded,
    context::Context,
    memory::Settled,
    pass::{End, pass},
    trouble::backoff,
};

/// The longest sleep. What is due is due by the clock on the wall, which timers don't follow when
/// it is set or the machine sleeps: looking at it costs nothing.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);

/// Makes a pass over a resource if anything could have to be done. Failures are dealt with here:
/// the runtime is always told when to come again.
pub(super) async fn reconcile(
    resource: Arc<Guarded>,
    context: Arc<Context>,
) -> Result<Action, std::convert::Infallible> {
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let uid = resource.uid().unwrap_or_default();
    if let Err(invalid) = &resource.0 {
        tracing::warn!(namespace, name, error = %invalid, "the resource can't be parsed");
        return Ok(Action::await_change());
    }
    if let Some(action) = still_settled(&resource, &context) {
        context.metrics.passed("nothing new");
        return Ok(action);
    }
    // The semaphore is never closed.
    let _place = context.places.acquire().await;
    let started = std::time::Instant::now();
    let ended = pass(&context, &namespace, &name).await;
    tracing::debug!(namespace, name, elapsed = ?started.elapsed(), "made a pass");
    Ok(match ended {
        Ok(End::Gone) => {
            context.memory.forget(&uid);
            context.metrics.passed("gone");
            Action::await_change()
        }
        Ok(End::Rest(wake)) => {
            context.metrics.passed("ok");
            sleep_until(wake)
        }
        Err(trouble) => come_again(&context, &uid, (&namespace, &name), &trouble),
    })
}

/// Nothing that a pass would look at has changed since the last one came to rest.
fn still_settled(resource: &Guarded, context: &Context) -> Option<Action> {
    let uid = resource.uid()?;
    let settled = context
        .memory
        .with(&uid, |known| known.settled.clone().filter(|_| known.answer.is_none()))?;
    let spec = &resource.0.as_ref().ok()?.spec;
    let namespace = resource.namespace()?;
    let Settled { resource_versions, secret_versions, tenant_version, wake } = &settled;
    let secret = context.watched.secret_version(&namespace, &spec.target.name);
    let tenant = context.watched.tenant_version(&namespace, &spec.tenant_ref.name);
    let same = resource_versions.contains(&resource.resource_version()?)
        && secret.map_or(secret_versions.is_empty(), |version| secret_versions.contains(&version))
        && tenant == *tenant_version;
    (same && wake.is_none_or(|wake| wake > Utc::now())).then(|| sleep_until(*wake))
}

fn sleep_until(wake: Option<chrono::DateTime<Utc>>) -> Action {
    let sleep = wake.map(|wake| (wake - Utc::now()).to_std().unwrap_or_default());
    // A millisecond more: what is due is then due, and not almost.
    sleep.map_or_else(Action::await_change, |sleep| {
        Action::requeue((sleep + Duration::from_millis(1)).min(LONGEST_SLEEP))
    })
}

fn come_again(
    context: &Context,
    uid: &str,
    (namespace, name): (&str, &str),
    trouble: &Trouble,
) -> Action {
    let failures = context.memory.with(uid, |known| {
        known.settled = None;
        known.failures = known.failures.saturating_add(1);
        known.failures
    });
    let wait = backoff(trouble.class, failures, Utc::now(), rand::random());
    context.metrics.passed(class_word(trouble.class));
    let Trouble { reason, message, .. } = trouble;
    if trouble.class == Class::Conflict {
        tracing::debug!(namespace, name, reason, ?wait, "{message}");
    } else {
        tracing::warn!(namespace, name, reason, failures, ?wait, "{message}");
    }
    Action::requeue(wait)
}

/// A class as a metric label.
fn class_word(class: Class) -> &'static str {
    match class {
        Class::Retry => "retry",
        Class::Throttled { .. } => "throttled",
        Class::Invalid => "invalid",
        Class::Conflict => "conflict",
        Class::Fatal => "fatal",
    }
}
