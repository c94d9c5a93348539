//! When a pass is made, and when the next one.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use kube::{Resource as _, ResourceExt as _, runtime::controller::Action};
use rotation::{ErrorClass, Failure, Request};
use tracing::Instrument as _;

use super::{
    cache::Guarded,
    claims,
    clock::now,
    context::Context,
    memory::{Failed, Settled, Wishes},
    pass::{End, Report, pass},
    places::{Key, Place},
    tenants::{credentials_watch, tenant_key},
    trouble::backoff,
};
use crate::{
    api::{ClientSecretRotation, REQUEST_ANNOTATION, TenantRef},
    metrics::class_word,
    telemetry,
};
use auth0_client::Priority;

/// The longest sleep. What is due is due by the clock on the wall, which timers don't follow when
/// it is set or the machine sleeps: looking at it costs nothing.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);

/// A resource whose turn it is.
pub(super) struct Turn {
    key: Key,
    uid: String,
    reference: TenantRef,
    wished: Wished,
    urgency: Priority,
    /// OwnedTarget until the pass is over. Who has an answer in hand needs none.
    place: Option<Place>,
}

/// Looks whether anything could have to be done for a resource, and whether it is its turn. If not,
/// says when to come again: whoever waits for its turn is called. Nothing here takes time.
pub(super) fn begin(resource: &Guarded, context: &Context) -> Result<Turn, Action> {
    let namespace = resource.namespace().unwrap_or_default();
    let key = Key { namespace, name: resource.name_any() };
    let begun = begin_with(resource, &key, context);
    if begun.as_ref().is_err_and(|rest| !rest.waits) {
        context.places.leave(&key);
    }
    context.metrics.waiting(context.places.waiting());
    begun.map_err(|rest| rest.action)
}

/// Why no pass is made now.
struct NotNow {
    action: Action,
    /// For its turn.
    waits: bool,
}

impl From<Action> for NotNow {
    fn from(action: Action) -> NotNow {
        NotNow { action, waits: false }
    }
}

fn begin_with(resource: &Guarded, key: &Key, context: &Context) -> Result<Turn, NotNow> {
    let uid = resource.uid().unwrap_or_default();
    let Key { namespace, name } = key;
    let spoken = match &resource.0 {
        Ok(resource) => resource,
        Err(invalid) => {
            tracing::warn!(namespace, name, error = %invalid, "the resource can't be parsed");
            return Err(Action::await_change().into());
        }
    };
    if context.is_stopping() {
        return Err(Action::await_change().into());
    }
    let wished = wishes(resource, context);
    let rest = too_soon(&uid, &wished, context)
        .or_else(|| still_closed(&uid, spoken, &wished, context))
        .or_else(|| still_settled(resource, &wished, context));
    if let Some(action) = rest {
        context.metrics.passed("unchanged");
        return Err(action.into());
    }
    let urgency = urgency(spoken, now());
    let place = if context.memory.with(&uid, |known| known.answer.is_some()) {
        context.places.leave(key);
        None
    } else {
        let called = context.places.called(key);
        let place = called.or_else(|| context.places.take(key, &wished.tenant, urgency));
        // It is called when its turn comes; looking again now and then costs nothing.
        let waits = || NotNow { action: Action::requeue(LONGEST_SLEEP), waits: true };
        Some(place.ok_or_else(waits)?)
    };
    let reference = spoken.spec.tenant_ref.clone();
    Ok(Turn { key: key.clone(), uid, reference, wished, urgency, place })
}

/// Rotations in progress go first, then what somebody asked for or what is due, then the rest:
/// imports, repairs, suspicions.
fn urgency(resource: &ClientSecretRotation, now: DateTime<Utc>) -> Priority {
    let status = resource.status.clone().unwrap_or_default();
    if status.rotation.is_some() {
        return Priority::InProgress;
    }
    let request = resource.annotations().get(REQUEST_ANNOTATION);
    let requested = request.map(|text| Request::parse(text).text);
    let is_new = requested.is_some() && requested != status.last_handled_request;
    let is_due = status.next_rotation_time.is_some_and(|due| due <= now);
    if is_new || is_due || resource.metadata.deletion_timestamp.is_some() {
        Priority::New
    } else {
        Priority::Background
    }
}

/// Makes a pass over a resource. Failures are dealt with here: the runtime is always told when to
/// come again.
pub(super) async fn reconcile(turn: Turn, context: Arc<Context>) -> Result<Action, Infallible> {
    let Turn { key: Key { namespace, name }, uid, reference, wished, urgency, place } = turn;
    let started = Instant::now();
    let span = telemetry::pass(&namespace, &name);
    let Report { end, about, told } =
        pass(&context, &namespace, &name).instrument(span.clone()).await;
    telemetry::put_down(&span, end.as_ref().err().map(|trouble| trouble.reason.as_str()));
    drop(place);
    context.metrics.waiting(context.places.waiting());
    context.metrics.pass_took(started.elapsed());
    tracing::debug!(namespace, name, elapsed = ?started.elapsed(), "made a pass");
    let action = match end {
        Ok(End::Gone) => {
            context.memory.forget(&uid);
            context.metrics.passed("gone");
            Action::await_change()
        }
        Ok(End::Wait(wake)) => {
            context.metrics.passed("ok");
            sleep_until(wake)
        }
        Err(trouble) => {
            credentials_watch::doubt(&namespace, &reference, &trouble, &context);
            come_again(&context, &uid, (&namespace, &name), wished, (urgency, &trouble))
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

/// The last pass has failed because the tenant was closed, and it is closed again: all who wait for
/// it would only fail one after the other. Whoever comes when it is open, or may be tried, goes on.
fn still_closed(
    uid: &str,
    resource: &ClientSecretRotation,
    wished: &Wished,
    context: &Context,
) -> Option<Action> {
    let (failed, in_hand) =
        context.memory.with(uid, |known| (known.failed.clone(), known.answer.is_some()));
    failed.filter(|failed| failed.closed && failed.wishes == wished.wishes && !in_hand)?;
    let found = context.tenants.find(resource, &context.watched);
    let class = found.ok()?.tenant.blocked_by()?.class();
    Some(Action::requeue(backoff(class, 1, Utc::now(), rand::random())))
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
    (same && wake.is_none_or(|wake| wake > now())).then(|| sleep_until(*wake))
}

fn sleep_until(wake: Option<DateTime<Utc>>) -> Action {
    let sleep = wake.map(|wake| (wake - now()).to_std().unwrap_or_default());
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
    (urgency, trouble): (Priority, &Failure),
) -> Action {
    let closed = matches!(trouble.class, ErrorClass::Throttled { .. });
    // Of those who come back when a tenant opens, rotations in progress come first.
    let sooner = if closed && urgency == Priority::InProgress { 0.2 } else { 1.0 };
    let random = sooner * rand::random::<f64>();
    let (failures, wait) = context.memory.with(uid, |known| {
        known.settled = None;
        known.failures = known.failures.saturating_add(1);
        let wait = backoff(trouble.class, known.failures, Utc::now(), random);
        let not_before = Instant::now() + wait;
        known.failed = Some(Failed { wishes: wished.wishes, not_before, closed });
        (known.failures, wait)
    });
    context.metrics.passed(class_word(trouble.class));
    let Failure { reason, message, .. } = trouble;
    if trouble.class == ErrorClass::Conflict {
        tracing::debug!(namespace, name, %reason, ?wait, "{message}");
    } else {
        tracing::warn!(namespace, name, %reason, failures, ?wait, "{message}");
    }
    Action::requeue(wait + Duration::from_millis(1))
}
