//! When a resource is reconciled, and when it is reconciled next.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use auth0_client::Priority;
use chrono::{DateTime, Utc};
use kube::{Resource as _, ResourceExt as _, runtime::controller::Action};
use leader_election::BootInstant;
use rotation::{ClockReading, ErrorClass, EventRecord, Request};
use tracing::Instrument as _;

use super::{
    RotationController, client_lists, credentials_guard, ownership,
    reconcile::{self, Outcome, Report},
    settled,
    state::{DesiredInputs, LastFailure, RotationState},
};
use crate::{
    api::{ClientSecretRotation, ParsedRotation, REQUEST_ANNOTATION, TenantId, TenantRef},
    controller::{
        error::{Error, backoff},
        object_key::ObjectKey,
        queue::Permit,
        server_time::{self, now},
        watch::restores,
        write_budget::WriteKind,
    },
    metrics::ReconcileResult,
    telemetry,
};

/// Longest time until a resource is checked again. Due times go by the wall clock, which timers do not
/// follow when it is set or the machine sleeps. The check costs no call.
const MAX_REQUEUE: Duration = Duration::from_secs(300);

/// Longest time until a response of `rotate-secret` is published after a failure: no other process has
/// it, so nothing that denies its publication, and no backoff, delays the retry.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(3);

/// How much each unpublished response adds at least to the interval of all of them, so that an API
/// server that rejects many of them gets a bounded number of retries per second.
const PUBLISH_SPACING: Duration = Duration::from_millis(100);

/// Longest backoff of a resource that is being deleted: its finalizer has a bound of its own.
const DELETION_INTERVAL: Duration = Duration::from_secs(10);

/// Shortest time between two reconciles of a resource whose budget of writes is used up.
const LIMITED_PAUSE: Duration = Duration::from_secs(1);

/// A resource that may be reconciled now.
pub(super) struct Admitted {
    key: ObjectKey,
    uid: String,
    tenant_ref: TenantRef,
    inputs: DesiredInputs,
    priority: Priority,
    /// Held until the reconcile is over; not needed to publish a response.
    permit: Option<Permit>,
}

/// Why a resource is not reconciled now.
enum NotAdmitted {
    /// There is nothing to do until the action.
    NothingToDo(Action),
    /// The resource waits for a permit.
    Waiting,
}

/// Admits a resource if there is anything to do and a permit is free. Otherwise returns when to check
/// again; a resource that waits for a permit is triggered when it is granted one. Makes no call.
pub(super) fn admit(
    resource: &ParsedRotation,
    controller: &RotationController,
) -> Result<Admitted, Action> {
    let key = ObjectKey::of(resource);
    let admitted = try_admit(resource, &key, controller);
    let result = match admitted {
        Ok(admitted) => Ok(admitted),
        Err(NotAdmitted::Waiting) => Err(Action::requeue(MAX_REQUEUE)),
        Err(NotAdmitted::NothingToDo(action)) => {
            controller.work_queue.cancel(&key);
            Err(action)
        }
    };
    controller.context.metrics.set_workqueue_depth(controller.work_queue.depth());
    result
}

fn try_admit(
    parsed: &ParsedRotation,
    key: &ObjectKey,
    controller: &RotationController,
) -> Result<Admitted, NotAdmitted> {
    let uid = parsed.uid().unwrap_or_default();
    let resource = match &parsed.0 {
        Ok(resource) => resource,
        Err(error) => {
            let ObjectKey { namespace, name } = key;
            tracing::warn!(namespace, name, %error, "failed to parse the resource");
            return Err(NotAdmitted::NothingToDo(Action::await_change()));
        }
    };
    if controller.context.is_stopping() {
        return Err(NotAdmitted::NothingToDo(Action::await_change()));
    }
    if !controller.is_selected(resource) && !controller.has_response(&uid) {
        // The operator of the other shard begins without a memory of it, as after a restart.
        controller.states.remove(&uid);
        controller.client_lists.remove(&uid);
        return Err(NotAdmitted::NothingToDo(Action::await_change()));
    }
    settled::recognize(resource, controller);
    let inputs = desired_inputs(resource, controller);
    let wait = backoff_left(&uid, &inputs, controller)
        .or_else(|| {
            if inputs.is_deleting { None } else { throttled(&uid, resource, &inputs, controller) }
        })
        .or_else(|| unchanged(resource, &inputs, controller));
    if let Some(action) = wait {
        controller.context.metrics.count_reconcile(ReconcileResult::Unchanged);
        return Err(NotAdmitted::NothingToDo(action));
    }
    let priority = priority(resource, now());
    let has_response = controller.has_response(&uid);
    if !has_response && let Some(action) = client_lists::wait_for_list(resource, &uid, controller) {
        return Err(NotAdmitted::NothingToDo(action));
    }
    let permit = if has_response {
        controller.work_queue.cancel(key);
        None
    } else {
        let tenant = TenantId::referenced(&key.namespace, &resource.spec.tenant_ref).key();
        let queue = &controller.work_queue;
        let room = controller.tenants.room(&key.namespace, &resource.spec.tenant_ref);
        queue.set_room(&key.namespace, &tenant, room);
        let permit = queue.claim(key).or_else(|| queue.acquire(key, &tenant, priority));
        Some(permit.ok_or(NotAdmitted::Waiting)?)
    };
    let tenant_ref = resource.spec.tenant_ref.clone();
    Ok(Admitted { key: key.clone(), uid, tenant_ref, inputs, priority, permit })
}

/// Rotations in progress go first, then requests, due times and deletions, then the rest: imports,
/// repairs and suspected drift.
fn priority(resource: &ClientSecretRotation, now: DateTime<Utc>) -> Priority {
    if resource.status.as_ref().is_some_and(|status| status.rotation.is_some()) {
        return Priority::InProgress;
    }
    if has_work(resource, now) || resource.metadata.deletion_timestamp.is_some() {
        Priority::New
    } else {
        Priority::Background
    }
}

/// Returns whether a rotation is in progress, requested or due.
pub(super) fn has_work(resource: &ClientSecretRotation, now: DateTime<Utc>) -> bool {
    let status = resource.status.clone().unwrap_or_default();
    let request = resource.annotations().get(REQUEST_ANNOTATION).map(|text| Request::parse(text));
    let is_requested = request.is_some_and(|request| {
        request.verb.is_ok() && Some(&request.text) != status.last_handled_request.as_ref()
    });
    let is_due = status.next_rotation_time.is_some_and(|due| due <= now);
    status.rotation.is_some() || is_requested || is_due
}

/// Reconciles an admitted resource. Errors are handled here: the runtime always gets an action.
pub(super) async fn reconcile(
    admitted: Admitted,
    controller: Arc<RotationController>,
) -> Result<Action, Infallible> {
    let Admitted { key, uid, tenant_ref, inputs, priority, permit } = admitted;
    let ObjectKey { namespace, name } = &key;
    let metrics = &controller.context.metrics;
    let started = Instant::now();
    let span = telemetry::reconcile_span(namespace, name);
    let run_permit = match &permit {
        Some(_) => controller.run_limit.acquire(namespace).await,
        None => controller.run_limit.exempt(namespace),
    };
    let reconcile = reconcile::reconcile(&controller, &key, run_permit, priority);
    let Report { outcome, regarding, events, report_at } = reconcile.instrument(span.clone()).await;
    telemetry::record_result(&span, outcome.as_ref().err().map(|error| error.reason().as_str()));
    controller.client_lists.remove(&uid);
    drop(permit);
    metrics.set_workqueue_depth(controller.work_queue.depth());
    metrics.observe_reconcile_duration(started.elapsed());
    tracing::debug!(namespace, name, elapsed = ?started.elapsed(), "reconciled");
    let action = match outcome {
        Ok(Outcome::Gone) => {
            controller.states.remove(&uid);
            metrics.count_reconcile(ReconcileResult::Gone);
            Action::await_change()
        }
        Ok(Outcome::Done(wake)) => {
            metrics.count_reconcile(ReconcileResult::Ok);
            hold_off_status(&controller, &uid, inputs);
            match publish_interval(&controller, &uid) {
                Some(interval) => Action::requeue(interval),
                None => requeue_at(wake),
            }
        }
        Ok(Outcome::OutOfTime) => {
            metrics.count_reconcile(ReconcileResult::Ok);
            controller.states.with(&uid, |state| state.last_observed = None);
            tracing::info!(namespace, name, elapsed = ?started.elapsed(), "requeued: others wait");
            requeue_at(Some(BootInstant::now()))
        }
        Err(error) => {
            controller.tenants.report_failure(namespace, &tenant_ref, &error);
            let failed = Failed { key: &key, uid: &uid, inputs, priority, report_at };
            error_policy(&controller, failed, &error)
        }
    };
    if let Some(regarding) = regarding {
        let events = within_budget(&controller, &uid, events);
        controller.context.events.publish(&regarding, &events).await;
    }
    Ok(action)
}

/// Returns the Events that the resource may still cause. The log has them all.
fn within_budget(
    controller: &RotationController,
    uid: &str,
    mut events: Vec<EventRecord>,
) -> Vec<EventRecord> {
    if events.is_empty() {
        return events;
    }
    controller.states.with(uid, |state| {
        events.retain(|_| state.writes.take(WriteKind::Event).is_ok());
    });
    events
}

fn desired_inputs(
    resource: &ClientSecretRotation,
    controller: &RotationController,
) -> DesiredInputs {
    let namespace = resource.namespace().unwrap_or_default();
    let tenant_ref = &resource.spec.tenant_ref;
    DesiredInputs {
        generation: resource.meta().generation,
        request: resource.annotations().get(REQUEST_ANNOTATION).cloned(),
        is_deleting: resource.meta().deletion_timestamp.is_some(),
        tenant_version: controller.context.stores.tenant_version(&namespace, tenant_ref),
    }
}

/// Returns the rest of the backoff after a failure. If the inputs changed since, that is short.
fn backoff_left(
    uid: &str,
    inputs: &DesiredInputs,
    controller: &RotationController,
) -> Option<Action> {
    let failure = controller.states.with(uid, |state| state.last_failure.clone())?;
    let is_unchanged = failure.inputs == *inputs;
    let until = if is_unchanged { failure.not_before } else { failure.after_change };
    let left = until.checked_duration_since(Instant::now())?;
    (!left.is_zero()).then(|| Action::requeue(left))
}

/// Returns when to check again a resource that failed because its tenant was throttled, and whose
/// tenant still is: all that wait for it would only fail one after the other.
fn throttled(
    uid: &str,
    resource: &ClientSecretRotation,
    inputs: &DesiredInputs,
    controller: &RotationController,
) -> Option<Action> {
    let failure = controller.states.with(uid, |state| {
        let has_response = state.unpublished_response.is_some();
        state.last_failure.clone().filter(|_| !has_response)
    })?;
    if !failure.is_throttled || failure.inputs != *inputs {
        return None;
    }
    let tenant = controller.tenants.find(resource).ok()?;
    let class = tenant.client.blocked_by()?.class();
    Some(Action::requeue(backoff(class, 1, Utc::now(), rand::random())))
}

/// Returns when to check again a resource of which nothing changed since the last reconcile that had
/// nothing left to do.
fn unchanged(
    resource: &ClientSecretRotation,
    inputs: &DesiredInputs,
    controller: &RotationController,
) -> Option<Action> {
    let uid = resource.uid()?;
    let (observed, is_contested) = controller.states.with(&uid, |state| {
        if state.unpublished_response.is_some() || state.listed.is_some() || state.is_triggered {
            return None;
        }
        let is_contested =
            state.contests.as_ref().is_some_and(|contests| contests.is_held_off(Instant::now()));
        Some((state.last_observed.clone()?, is_contested))
    })?;
    let stores = &controller.context.stores;
    let secret = ObjectKey::new(resource.namespace()?, &resource.spec.target.name);
    let secret_is_known = stores.is_known_secret(&secret, &observed.secret_versions);
    let pause = if is_contested { observed.pause_left() } else { Duration::ZERO };
    let is_unchanged = observed.restores == restores()
        && observed.resource_versions.contains(&resource.resource_version()?)
        && (secret_is_known || !pause.is_zero())
        && inputs.tenant_version == observed.tenant_version
        && credentials_guard::version(resource, controller) == observed.credentials_version
        && ownership::conflicting(resource, controller).is_some() == observed.is_claimed;
    let is_early = observed.wake.is_none_or(|wake| wake > BootInstant::now());
    if is_unchanged && is_early && !(observed.wake.is_some() && is_due(resource)) {
        // No event announces to each rejected resource that the other one gives up its claim.
        if !secret_is_known {
            return Some(Action::requeue(pause));
        }
        let is_rechecked = observed.is_claimed && observed.wake.is_none();
        Some(if is_rechecked { Action::requeue(MAX_REQUEUE) } else { requeue_at(observed.wake) })
    } else {
        None
    }
}

/// Returns whether a rotation is due that was not yet when the resource was last reconciled, because
/// the wall clocks have been set since.
fn is_due(resource: &ClientSecretRotation) -> bool {
    let Some(status) = &resource.status else { return false };
    let ClockReading { earliest, agrees, .. } = server_time::read();
    let has_come = status.next_rotation_time.is_some_and(|due| due <= earliest);
    has_come && agrees && status.rotation.is_none()
}

fn requeue_at(wake: Option<BootInstant>) -> Action {
    let Some(wake) = wake else { return Action::await_change() };
    let wait = wake.saturating_duration_since(BootInstant::now());
    // One millisecond more, so that the due time is not still a fraction in the future.
    Action::requeue((wait + Duration::from_millis(1)).min(MAX_REQUEUE))
}

/// Returns until when at the latest a resource with an unpublished response is reconciled again; `None`
/// if it has none.
fn publish_interval(controller: &RotationController, uid: &str) -> Option<Duration> {
    if !controller.has_response(uid) {
        return None;
    }
    let unpublished = controller.states.uids_where(|state| state.unpublished_response.is_some());
    let count = u32::try_from(unpublished.len()).unwrap_or(u32::MAX);
    Some(PUBLISH_INTERVAL.max(PUBLISH_SPACING.saturating_mul(count)))
}

/// Leaves a resource alone whose status another party keeps overwriting. A change of its inputs ends
/// that.
fn hold_off_status(controller: &RotationController, uid: &str, inputs: DesiredInputs) {
    controller.states.with(uid, |state| {
        let held = status_hold_off(state);
        if !held.is_zero() && !inputs.is_deleting {
            let (not_before, after_change) =
                (Instant::now() + held, Instant::now() + LIMITED_PAUSE);
            let is_throttled = false;
            let failure = LastFailure { inputs, not_before, after_change, is_throttled };
            state.last_failure = Some(Box::new(failure));
        }
    });
}

fn status_hold_off(state: &RotationState) -> Duration {
    // A response is published regardless.
    let contests = state.contests.as_ref().filter(|_| state.unpublished_response.is_none());
    contests.map_or(Duration::ZERO, |contests| contests.status_hold_off(Instant::now()))
}

/// A reconcile that failed.
struct Failed<'r> {
    key: &'r ObjectKey,
    uid: &'r str,
    inputs: DesiredInputs,
    priority: Priority,
    report_at: Option<DateTime<Utc>>,
}

/// Returns when to retry after an error.
fn error_policy(controller: &RotationController, failed: Failed<'_>, error: &Error) -> Action {
    let Failed { key, uid, inputs, priority, report_at } = failed;
    let class = error.class();
    let is_throttled = matches!(class, ErrorClass::Throttled { .. });
    // When a tenant's rate limit has room again, rotations in progress come back first.
    let spread = if is_throttled && priority == Priority::InProgress { 0.2 } else { 1.0 };
    let random = spread * rand::random::<f64>();
    let deletion = inputs.is_deleting.then_some(DELETION_INTERVAL);
    // An unknown outcome is reported in time, even while no call is possible.
    let report_in = report_at.and_then(|at| (at - now()).to_std().ok());
    let longest =
        publish_interval(controller, uid).into_iter().chain(deletion).chain(report_in).min();
    let (failures, wait) = controller.states.with(uid, |state| {
        state.last_observed = None;
        state.failures = state.failures.saturating_add(1);
        let wait = backoff(class, state.failures, Utc::now(), random);
        let wait = longest.map_or(wait, |longest| wait.min(longest));
        let now = Instant::now();
        // A resource whose edits used up the budget of writes may continue.
        let is_limited = matches!(error, Error::WriteLimited { .. });
        let pause = if is_limited { LIMITED_PAUSE } else { Duration::ZERO };
        let is_urgent = inputs.is_deleting || longest.is_some();
        let held = if is_urgent { Duration::ZERO } else { status_hold_off(state) };
        let (not_before, after_change) = (now + wait.max(held), now + pause);
        let is_throttled = is_throttled && report_in.is_none();
        let failure = LastFailure { inputs, not_before, after_change, is_throttled };
        state.last_failure = Some(Box::new(failure));
        (state.failures, wait)
    });
    controller.context.metrics.count_reconcile(ReconcileResult::Error(class));
    let (ObjectKey { namespace, name }, reason) = (key, error.reason());
    if class == ErrorClass::Conflict {
        tracing::debug!(namespace, name, %reason, ?wait, "{error}");
    } else {
        tracing::warn!(namespace, name, %reason, failures, ?wait, "{error}");
    }
    Action::requeue(wait + Duration::from_millis(1))
}
