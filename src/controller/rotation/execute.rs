//! Executes steps: each is one call to Auth0 or one write, with the updates of the state that it requires.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use auth0_client::{ChangePermit, ClientInfo, ClientSecret, Probe, ProbeAnswer};
use chrono::{DateTime, Utc};
use leader_election::BootInstant;
use rotation::{ControlResult, Phase, ProbeControl, ProbeMethod, Rejection, Step};
use tracing::Instrument as _;

use super::{
    authorize,
    client_kind::reject_client,
    client_lists::ListedAnswer,
    consumers, contest,
    observe::{ClientReading, Readings},
    publish,
    reconcile::Reconciliation,
    state::UnpublishedResponse,
    view,
};
use crate::{
    controller::{
        error::Error, kube_call::check_fence, server_time::now, target_secret::ValueOrigin,
        tenant::TenantHandle, write_budget::kind_of_step,
    },
    failpoint::failpoint,
    metrics::ProbeResult,
};

/// How long after its intent was stored a change may still be sent to Auth0. After a longer pause the
/// process reads again, because another replica may have continued.
const INTENT_TTL: Duration = Duration::from_secs(5);

/// Lower bound of that time. The API server has to answer in it.
const MIN_INTENT_TTL: Duration = Duration::from_millis(100);

/// How long after a client was read it may be changed. The wait for the rate limiter lies in between.
const READING_TTL: Duration = Duration::from_secs(10);

/// Executes one step.
pub(super) async fn execute(
    reconciliation: &mut Reconciliation<'_>,
    step: Step,
) -> Result<(), Error> {
    if let Some(kind) = kind_of_step(&step) {
        reconciliation.with_state(|state| state.writes.take(kind))?;
    }
    match step {
        Step::Wait | Step::StoreStatus => Ok(()),
        Step::ReadClient => {
            reconciliation.readings.client = read_client(reconciliation, true).await?;
            Ok(())
        }
        Step::CheckClient => {
            reconciliation.readings.checked_client = read_client(reconciliation, false).await?;
            Ok(())
        }
        Step::ProbeRandomValue => probe_random_value(reconciliation).await,
        Step::ProbeSecret => probe_current(reconciliation).await,
        Step::ProbeFallback => probe_fallback(reconciliation).await,
        Step::ProbeRevoked => probe_revoked(reconciliation).await,
        Step::DryRun => publish::dry_run(reconciliation).await,
        Step::FindUnreachedPods => consumers::find_unreached_pods(reconciliation).await,
        Step::ReadRollouts => consumers::read_rollouts(reconciliation).await,
        Step::RestartWorkloads => consumers::restart_workloads(reconciliation).await,
        Step::AddFinalizer => {
            contest::record_finalizer(reconciliation);
            failpoint!("before-add-finalizer");
            let fence = reconciliation.controller.context.fence();
            let resource =
                reconciliation.api.add_finalizer(&reconciliation.resource, fence).await?;
            failpoint!("after-add-finalizer");
            reconciliation.set_metadata_of(resource);
            Ok(())
        }
        Step::RemoveFinalizer => {
            failpoint!("before-remove-finalizer");
            let fence = reconciliation.controller.context.fence();
            let resource =
                reconciliation.api.remove_finalizer(&reconciliation.resource, fence).await?;
            failpoint!("after-remove-finalizer");
            reconciliation.set_metadata_of(resource);
            Ok(())
        }
        Step::RotateSecret => rotate_secret(reconciliation).await,
        Step::SetSecret(number) => set_secret(reconciliation, number).await,
        Step::Publish(publication) => publish::publish(reconciliation, &publication).await,
    }
}

async fn read_client(
    reconciliation: &mut Reconciliation<'_>,
    with_secret: bool,
) -> Result<ClientReading, Error> {
    reconciliation.urgent = None;
    let tenant = reconciliation.tenant.clone()?;
    let client_id = reconciliation.resource.spec.client_id.clone();
    let priority = reconciliation.priority();
    let listed = if with_secret { take_listed(reconciliation, &tenant) } else { None };
    let is_listed = listed.is_some();
    let (read, asked_at, answered_at) = match listed {
        Some(ListedAnswer { client, asked_at, received_at }) => (Ok(client), asked_at, received_at),
        None => {
            let asked_at = BootInstant::now();
            let read = tenant.client.read_client(&client_id, with_secret, priority);
            let read = reconciliation.run_permit.suspended(read).await;
            tenant.meter.count_operation("read-client", &read);
            (read, asked_at, Instant::now())
        }
    };
    if with_secret {
        reconciliation.readings.client_read_at = Some(asked_at);
        reconciliation.readings.client_is_listed = is_listed;
    }
    reconciliation.readings.client_answered_at = Some(answered_at);
    reconciliation.with_state(|state| state.client_checked_at = Some(now()));
    if let Ok(client) = &read {
        authorize::update_metadata(reconciliation, client, answered_at);
    }
    match read {
        Ok(client) => Ok(match reject_client(&client) {
            Some(rejection) => ClientReading::Rejected(rejection),
            None => ClientReading::Read(client),
        }),
        // A client that may not be read can be rotated all the same.
        Err(auth0_client::Error::MissingScope(_)) => {
            Ok(ClientReading::Read(ClientInfo::assume_confidential(&client_id)))
        }
        Err(error @ auth0_client::Error::ClientNotFound) => {
            Ok(ClientReading::Rejected(Rejection::new(error.reason(), error.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes the client from a list, if it is read for an import and nothing else: there is no value that a
/// comparison with an outdated one could replace or remove.
fn take_listed(reconciliation: &Reconciliation<'_>, tenant: &TenantHandle) -> Option<ListedAnswer> {
    let status = reconciliation.resource.status.as_ref();
    let is_import = status
        .is_none_or(|status| status.current.is_none() && status.rotation.is_none())
        && reconciliation.target.numbers().current.is_none();
    if !is_import {
        return None;
    }
    reconciliation.controller.client_lists.take(&reconciliation.uid, tenant)
}

async fn probe_current(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    reconciliation.urgent = None;
    let current = reconciliation.target.values.current.clone();
    let is_accepted = probe(reconciliation, current).await?;
    reconciliation.readings.probe_accepted = is_accepted;
    let rejected_at = (is_accepted == Some(false)).then(BootInstant::now);
    reconciliation.with_state(|state| state.rejected_at = rejected_at);
    Ok(())
}

async fn probe_fallback(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    reconciliation.urgent = None;
    let fallback = reconciliation.target.values.fallback.clone();
    reconciliation.readings.fallback_accepted = probe(reconciliation, fallback).await?;
    Ok(())
}

/// Asks Auth0 whether it accepts a value of the target Secret. Returns `None` if Auth0 does not say.
async fn probe(
    reconciliation: &mut Reconciliation<'_>,
    value: Option<ClientSecret>,
) -> Result<Option<bool>, Error> {
    let Some(value) = value else {
        return Err(Error::Conflict("the target Secret has no value to probe"));
    };
    let probed = send_probe(reconciliation, &value).await;
    reconciliation.controller.context.metrics.count_probe(match probed {
        Ok(ProbeAnswer::Accepted) => ProbeResult::Accepted,
        Ok(ProbeAnswer::Rejected) => ProbeResult::Rejected,
        Ok(ProbeAnswer::Forbidden) | Err(_) => ProbeResult::Unknown,
    });
    match probed? {
        ProbeAnswer::Accepted => Ok(Some(true)),
        ProbeAnswer::Rejected => Ok(Some(false)),
        ProbeAnswer::Forbidden => {
            note_control(reconciliation, ControlResult::Forbidden);
            Ok(None)
        }
    }
}

/// The negative control: asks Auth0 whether it accepts a value that no one has. The value looks like a
/// secret, and is forgotten.
async fn probe_random_value(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    reconciliation.urgent = None;
    let value = publish::generate()?;
    let result = match send_probe(reconciliation, &value).await? {
        ProbeAnswer::Accepted => ControlResult::Accepted,
        ProbeAnswer::Rejected => ControlResult::Rejected,
        ProbeAnswer::Forbidden => ControlResult::Forbidden,
    };
    note_control(reconciliation, result);
    Ok(())
}

/// Asks Auth0 about the secret that the last `revoke` removed. No answer is an answer too, because
/// nothing waits for it.
async fn probe_revoked(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    reconciliation.urgent = None;
    let revoked = reconciliation.with_state(|state| {
        let revoked = state.revoked.as_ref()?;
        Some((revoked.secret.clone()?, revoked.origin.clone()))
    });
    let is_its_tenant = |origin: &ValueOrigin| match &reconciliation.tenant {
        Ok(tenant) => tenant.value_origin.origin == origin.origin,
        Err(_) => false,
    };
    let answer = match &revoked {
        Some((secret, origin))
            if is_its_tenant(origin) && authorize::forbids_asking(reconciliation).is_none() =>
        {
            send_probe(reconciliation, secret).await.ok()
        }
        _ => None,
    };
    check_fence(reconciliation.controller.context.fence())?;
    reconciliation.with_state(|state| {
        let Some(revoked) = &mut state.revoked else { return };
        revoked.observed.probes += 1;
        revoked.observed.probed_at = Some(now());
        revoked.observed.is_accepted = match answer {
            Some(ProbeAnswer::Accepted) => Some(true),
            Some(ProbeAnswer::Rejected) => Some(false),
            Some(ProbeAnswer::Forbidden) | None => None,
        };
        if answer == Some(ProbeAnswer::Rejected) {
            revoked.secret = None;
        }
    });
    Ok(())
}

async fn send_probe(
    reconciliation: &mut Reconciliation<'_>,
    value: &ClientSecret,
) -> Result<ProbeAnswer, Error> {
    let tenant = reconciliation.tenant.clone()?;
    check_fence(reconciliation.controller.context.fence())?;
    let client_id = &reconciliation.resource.spec.client_id;
    let spec = &reconciliation.resource.spec.probe;
    let (operation, probe) = match spec.method {
        ProbeMethod::Revocation => ("revoke", Probe::Revocation),
        ProbeMethod::ClientCredentials => {
            ("login", Probe::ClientCredentials { audience: spec.audience.as_deref() })
        }
    };
    let probed = tenant.client.probe_secret(client_id, value, probe);
    let probed = reconciliation.run_permit.suspended(probed).await;
    tenant.meter.count_operation(operation, &probed);
    match probed {
        Err(auth0_client::Error::ClientThrottled { until })
            if is_past_window(reconciliation, until) =>
        {
            Ok(ProbeAnswer::Forbidden)
        }
        probed => Ok(probed?),
    }
}

/// Returns whether Auth0 limits a client that has a new secret for longer than the propagation window.
/// Other evidence is there sooner than a probe, and a `revoke` must not wait for one.
fn is_past_window(reconciliation: &Reconciliation<'_>, until: DateTime<Utc>) -> bool {
    let has_changed = reconciliation
        .rotation()
        .is_some_and(|rotation| matches!(rotation.phase, Phase::Confirming | Phase::Grace));
    let window = reconciliation.controller.context.settings.propagation_window.to_delta();
    has_changed && until - now() > window
}

fn note_control(reconciliation: &Reconciliation<'_>, result: ControlResult) {
    let method = reconciliation.resource.spec.probe.method;
    let control = ProbeControl { result, probed_at: now(), method };
    reconciliation.with_state(|state| state.probe_control = Some(control));
}

/// Checks everything that can fail before a change at Auth0, before its intent is recorded: the
/// tenant is as it was read, a token is available, its scopes allow the change, and the client is still
/// this resource's. Then it is the change's turn at the rate limit: the wait for it is over before the
/// intent is recorded, so that it takes nothing of the time in which the change may be sent.
pub(super) async fn prepare_change(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    let context = &reconciliation.controller.context;
    if context.is_stopping() {
        return Err(Error::Stopping);
    }
    check_fence(context.fence())?;
    let tenant = reconciliation.tenant.clone()?;
    if let Some(rejection) = authorize::forbids_asking(reconciliation) {
        return Err(Error::Rejected(rejection));
    }
    let reference = &reconciliation.resource.spec.tenant_ref;
    let namespace = &reconciliation.key.namespace;
    // As old as the reads of the resource and its target Secret may be.
    let max_age = intent_ttl(reconciliation) / 2;
    let tenants = &reconciliation.controller.tenants;
    tenants.check_unchanged(namespace, reference, &tenant, max_age).await?;
    let is_prepared = match &reconciliation.change_permit {
        Some(held) => held.tenant_version == tenant.version,
        None => false,
    };
    if !is_prepared {
        reconciliation.change_permit = None;
        let prepared = reconciliation.run_permit.suspended(tenant.client.prepare_change()).await;
        let permit = prepared.map_err(Error::NotSent)?;
        let held = HeldPermit { permit, tenant_version: tenant.version.clone() };
        reconciliation.change_permit = Some(held);
    }
    authorize::recheck(reconciliation).await?;
    check_readings(reconciliation).await
}

/// A permit for the next change of this reconcile. It survives a conflict: the reads are then repeated
/// while the permit waits, and not the other way around.
pub(super) struct HeldPermit {
    permit: ChangePermit,
    /// Version of the tenant whose permit it is.
    tenant_version: Option<String>,
}

/// Checks that the data read before the wait for the permit is recent or has not changed.
async fn check_readings(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    if reconciliation.readings.client_is_listed {
        return Err(Error::Conflict(
            "the client was read from a list, which is no ground for a change",
        ));
    }
    let is_old = |read_at: Instant| read_at.elapsed() > READING_TTL;
    if reconciliation.readings.client_answered_at.is_some_and(is_old) {
        return Err(Error::Conflict("the client was read too long ago to change it"));
    }
    if reconciliation.read_at.elapsed() <= intent_ttl(reconciliation) / 2 {
        return Ok(());
    }
    view::read_unchanged(reconciliation).await
}

fn take_permit(reconciliation: &mut Reconciliation<'_>) -> Result<ChangePermit, Error> {
    let held = reconciliation.change_permit.take();
    held.map(|held| held.permit).ok_or(Error::Conflict("the change was not prepared"))
}

/// Makes the one call that cannot be repeated. It continues in a task of its own if this reconcile is
/// dropped, and its response is in the state before anything else can happen.
async fn rotate_secret(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    let tenant = reconciliation.tenant.clone()?;
    let not_after = send_deadline(reconciliation, reconciliation.readings.intent_stored_at)?;
    let permit = take_permit(reconciliation)?;
    discard_client_readings(reconciliation);
    let client_id = reconciliation.resource.spec.client_id.clone();
    let attempt = reconciliation.rotation().and_then(|rotation| rotation.activating_at);
    let (uid, meter) = (reconciliation.uid.clone(), tenant.meter.clone());
    let states = Arc::clone(&reconciliation.controller.states);
    failpoint!("before-rotate-secret");
    let call = async move {
        let response = tenant.client.rotate_secret(&client_id, permit, not_after).await;
        states.with(&uid, |state| {
            // A call without a response may still be on its way.
            state.finished_attempt = if response.is_ok() { attempt } else { None };
            state.rejected_at = None;
            response.map(|secret| {
                state.unpublished_response = secret.map(|secret| {
                    let (origin, received_at) = (tenant.value_origin, Instant::now());
                    Box::new(UnpublishedResponse { secret, origin, received_at })
                });
            })
        })
    };
    // The permit is not waited for afterwards: the response has to be published first.
    reconciliation.run_permit.suspend();
    let ended = tokio::spawn(call.in_current_span()).await;
    failpoint!("after-rotate-secret");
    reconciliation.enter_urgent_if_unpublished();
    let response = ended.map_err(|_| Error::OutcomeUnknown("the call ended without a response"))?;
    meter.count_operation("rotate-secret", &response);
    response.map_err(Error::from)
}

async fn set_secret(reconciliation: &mut Reconciliation<'_>, number: u64) -> Result<(), Error> {
    reconciliation.urgent = None;
    let tenant = reconciliation.tenant.clone()?;
    // The call is safe to repeat, but not to send long after its value was read: another replica may
    // have continued.
    let based_on = Some(reconciliation.read_at).max(reconciliation.readings.intent_stored_at);
    let not_after = send_deadline(reconciliation, based_on)?;
    let permit = take_permit(reconciliation)?;
    let target = &reconciliation.target;
    let numbers = target.numbers();
    let value = if numbers.fallback == Some(number) {
        &target.values.fallback
    } else if numbers.current == Some(number) {
        &target.values.current
    } else {
        &None
    };
    let Some(value) = value else {
        return Err(Error::Conflict("the target Secret has no value of that number"));
    };
    let client_id = &reconciliation.resource.spec.client_id;
    let Readings { client, checked_client, .. } = &reconciliation.readings;
    let is_strict = [client, checked_client].into_iter().any(ClientReading::is_strict_third_party);
    failpoint!("before-set-secret");
    let set = tenant.client.set_secret(client_id, value, permit, not_after);
    let set = reconciliation.run_permit.suspended(set).await;
    failpoint!("after-set-secret");
    tenant.meter.count_operation("set-secret", &set);
    discard_client_readings(reconciliation);
    match set {
        // Auth0 does not document how it rejects the secret of such a client.
        Err(auth0_client::Error::Rejected(400 | 403 | 409)) if is_strict => {
            return Err(auth0_client::Error::ChangeRejected.into());
        }
        set => set?,
    }
    reconciliation.readings.secret_set = true;
    Ok(())
}

/// Discards what was read about the client before a change at Auth0.
fn discard_client_readings(reconciliation: &mut Reconciliation<'_>) {
    reconciliation.readings.client = ClientReading::NotRead;
    reconciliation.readings.client_is_listed = false;
    reconciliation.readings.checked_client = ClientReading::NotRead;
    reconciliation.readings.probe_accepted = None;
    reconciliation.readings.fallback_accepted = None;
}

/// Returns the time before which a change must be sent whose ground was read or stored at `since`:
/// soon after it, and while this process leads. The client checks it right before it sends.
fn send_deadline(
    reconciliation: &Reconciliation<'_>,
    since: Option<Instant>,
) -> Result<Instant, Error> {
    // The record stays, and its outcome is read back.
    let too_late =
        Error::OutcomeUnknown("too much time passed since the intent was read or stored");
    let context = &reconciliation.controller.context;
    let ttl = intent_ttl(reconciliation);
    let Some(since) = since else { return Err(too_late) };
    match context.leadership.latest_start(since + ttl) {
        Some(deadline) if Instant::now() < deadline => Ok(deadline),
        _ => Err(too_late),
    }
}

/// Returns how long after its intent a change may be sent.
fn intent_ttl(reconciliation: &Reconciliation<'_>) -> Duration {
    let window = reconciliation.controller.context.settings.propagation_window.to_std();
    (window / 6).clamp(MIN_INTENT_TTL, INTENT_TTL)
}
