//! When a pass is made, and when the next one.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use kube::{Resource as _, ResourceExt as _, runtime::controller::Action};
use rotation::{Class, Trouble};

use super::{
    cache::Guarded,
    claims,
    context::Context,
    credentials_watch,
    memory::{Failed, Settled, Wishes},
    pass::{End, Report, pass},
    tenant_kinds::tenant_key,
    trouble::backoff,
};
use crate::api::REQUEST_ANNOTATION;

/// The longest sleep. What is due is due by the clock on the wall, which timers don't follow when
/// it is set or the machine sleeps: looking at it costs nothing.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);

/// Makes a pass over a resource if anything could have to be done. Failures are dealt with here:
/// the runtime is always told when to come again.
pub(super) async fn reconcile(
    resource: Arc<Guarded>,
    context: Arc<Context>,
) -> Result<Action, Infallible> {
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let uid = resource.uid().unwrap_or_default();
    if let Err(invalid) = &resource.0 {
        tracing::warn!(namespace, name, error = %invalid, "the resource can't be parsed");
        return Ok(Action::await_change());
    }
    if context.is_stopping() {
        return Ok(Action::await_change());
    }
    let wishes = wishes(&resource, &context);
    if let Some(action) =
        too_soon(&uid, &wishes, &context).or_else(|| still_settled(&resource, &wishes, &context))
    {
        context.metrics.passed("nothing new");
        return Ok(action);
    }
    let Some(place) = context.place(&uid, &wishes.tenant) else {
        // The tenant has its share of places: others go on, this one comes again.
        return Ok(Action::requeue(Duration::from_secs_f64(0.1 + 0.2 * rand::random::<f64>())));
    };
    let place = place.await;
    if context.is_stopping() {
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    let Report { end, about, told } = pass(&context, &namespace, &name).await;
    drop(place);
    tracing::debug!(namespace, name, elapsed = ?started.elapsed(), "made a pass");
    let action = match end {
        Ok(End::Gone) => {
            context.memory.forget(&uid);
            context.metrics.passed("gone");
            Action::await_change()
        }
        Ok(End::Rest(wake)) => {
            context.metrics.passed("ok");
            sleep_until(wake)
        }
        Err(trouble) => {
            credentials_watch::doubt(&resource, &trouble, &context);
            come_again(&context, &uid, (&namespace, &name), wishes, &trouble)
        }
    };
    if let Some(about) = about {
        context.announcer.tell(&about, &told).await;
    }
    Ok(action)
}

/// What people want of a resource, as far as the watches know.
fn wishes(resource: &Guarded, context: &Context) -> Wished {
    let namespace = resource.namespace().unwrap_or_default();
    let reference = resource.0.as_ref().ok().map(|resource| &resource.spec.tenant_ref);
    let wishes = Wishes {
        generation: resource.meta().generation,
        request: resource.annotations().get(REQUEST_ANNOTATION).cloned(),
        deleting: resource.meta().deletion_timestamp.is_some(),
        tenant_version: reference
            .and_then(|reference| context.watched.tenant_version(&namespace, reference)),
    };
    let tenant = reference.map(|reference| tenant_key(&namespace, reference));
    Wished { wishes, tenant: tenant.unwrap_or_default() }
}

struct Wished {
    wishes: Wishes,
    /// Which tenant it refers to.
    tenant: String,
}

/// The last pass has failed, it isn't time to try again, and nobody has changed their mind.
fn too_soon(uid: &str, wished: &Wished, context: &Context) -> Option<Action> {
    let failed = context.memory.with(uid, |known| known.failed.clone())?;
    let rest = failed.not_before.checked_duration_since(Instant::now())?;
    (failed.wishes == wished.wishes && !rest.is_zero()).then(|| Action::requeue(rest))
}

/// Nothing that a pass would look at has changed since the last one came to rest.
fn still_settled(resource: &Guarded, wished: &Wished, context: &Context) -> Option<Action> {
    let uid = resource.uid()?;
    let settled = context.memory.with(&uid, |known| {
        let news = known.answer.is_some() || known.listed.is_some() || known.poked;
        known.settled.clone().filter(|_| !news)
    })?;
    let spec = &resource.0.as_ref().ok()?.spec;
    let Settled { resource_versions, secret_versions, tenant_version, is_claimed, wake } = &settled;
    let secret = context.watched.secret_version(&resource.namespace()?, &spec.target.name);
    let same = resource_versions.contains(&resource.resource_version()?)
        && secret.map_or(secret_versions.is_empty(), |version| secret_versions.contains(&version))
        && wished.wishes.tenant_version == *tenant_version
        && claims::refusal(resource.0.as_ref().ok()?, &context.watched).is_some() == *is_claimed;
    (same && wake.is_none_or(|wake| wake > Utc::now())).then(|| sleep_until(*wake))
}

fn sleep_until(wake: Option<DateTime<Utc>>) -> Action {
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
    wished: Wished,
    trouble: &Trouble,
) -> Action {
    let random = rand::random();
    let (failures, wait) = context.memory.with(uid, |known| {
        known.settled = None;
        known.failures = known.failures.saturating_add(1);
        let wait = backoff(trouble.class, known.failures, Utc::now(), random);
        let not_before = Instant::now() + wait;
        known.failed = Some(Failed { wishes: wished.wishes, not_before });
        (known.failures, wait)
    });
    context.metrics.passed(class_word(trouble.class));
    let Trouble { reason, message, .. } = trouble;
    if trouble.class == Class::Conflict {
        tracing::debug!(namespace, name, reason, ?wait, "{message}");
    } else {
        tracing::warn!(namespace, name, reason, failures, ?wait, "{message}");
    }
    Action::requeue(wait + Duration::from_millis(1))
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
