//! One reconcile of one resource: observe, decide, execute, until there is nothing left to do.

use std::time::{Duration, Instant};

use auth0_client::Priority;
use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt as _;
use leader_election::BootInstant;
use rotation::{
    Clock, Decision, ErrorClass, EventRecord, Observation, Policy, Purpose, Rotation, Status, Step,
    decide, has_unrecorded_cause, must_store_first,
};

use super::{
    RotationController, adoption,
    authorize::{self, Authorization},
    contest, credentials_guard,
    execute::{self, HeldPermit, execute},
    failure::{FailedStep, is_response},
    observe::{self, Readings, TargetState, observe},
    owner_reference, policy,
    resource::{self, ResourceApi},
    scheduling,
    settled::{Then, without_marker},
    state::{FinishedClaim, LastObserved, RotationState},
    view::{self, View},
};
use crate::{
    api::ClientSecretRotation,
    controller::{
        error::Error,
        object_key::ObjectKey,
        queue::{RunPermit, UrgentGuard},
        server_time::{self, now},
        tenant::TenantHandle,
        watch::{next_claimants, record_version, restores},
    },
};

/// How many steps a reconcile takes before others get a turn. The longest sequence, a rotation whose
/// grace period ends at once, takes fourteen.
const MAX_STEPS: usize = 24;

/// How often credentials that are in conflict with a resource are read again.
const CREDENTIALS_RECHECK: TimeDelta = TimeDelta::minutes(5);

/// Longest time after which a reconcile starts another step, in propagation windows: two minutes. An
/// Auth0 that responds slowly keeps a reconcile busy for no longer. A response of `rotate-secret` is
/// published however late it is.
const BUDGET_IN_WINDOWS: u32 = 4;

/// Lower bound of that time. Calls at the slowest pace have to fit in it, however short the window is:
/// otherwise the next reconcile would only make the same calls again.
const MIN_BUDGET: Duration = Duration::from_secs(30);

/// How a reconcile ended.
pub(super) enum Outcome {
    /// There is nothing to do before this time, if any.
    Done(Option<BootInstant>),
    /// The time is used up; the rest is for the next reconcile.
    OutOfTime,
    /// The resource does not exist any more, or belongs to another shard.
    Gone,
}

/// The result of a reconcile.
pub(super) struct Report {
    pub(super) outcome: Result<Outcome, Error>,
    /// The resource, unless it could not be read.
    pub(super) regarding: Option<ObjectReference>,
    pub(super) events: Vec<EventRecord>,
    /// When the resource has to be reconciled at the latest, so that Ready becomes false.
    pub(super) report_at: Option<DateTime<Utc>>,
}

impl Report {
    fn without_resource(outcome: Result<Outcome, Error>) -> Self {
        Self { outcome, regarding: None, events: Vec::new(), report_at: None }
    }
}

/// One reconcile of one resource.
pub(super) struct Reconciliation<'a> {
    pub(super) controller: &'a RotationController,
    pub(super) key: ObjectKey,
    pub(super) uid: String,
    pub(super) api: ResourceApi,
    /// The resource, with the status that the next decision goes by.
    pub(super) resource: ClientSecretRotation,
    /// The status on the API server, where that of `resource` waits to be stored.
    pub(super) stored_status: Option<Status>,
    /// What follows the next status that is stored.
    pub(super) then: Then,
    pub(super) tenant: Result<TenantHandle, Error>,
    pub(super) target: TargetState,
    pub(super) readings: Readings,
    pub(super) authorization: Authorization,
    /// Held while a response of `rotate-secret` is being published.
    pub(super) urgent: Option<UrgentGuard>,
    /// Permit for the next change at Auth0.
    pub(super) change_permit: Option<HeldPermit>,
    /// Returned while the reconcile waits for Auth0.
    pub(super) run_permit: RunPermit,
    /// The priority with which the reconcile was admitted.
    priority: Priority,
    /// When the resource and its target Secret were read.
    pub(super) read_at: Instant,
    pub(super) resource_view: View,
    pub(super) target_view: View,
    started_at: Instant,
    /// How often the storage was restored, before anything was read.
    restores_before: u64,
    policy: Option<CachedPolicy>,
    observed: LastObserved,
    pub(super) events: Vec<EventRecord>,
}

/// The policy of one generation of the spec.
struct CachedPolicy {
    generation: Option<i64>,
    policy: Policy,
}

/// Reconciles a resource.
pub(super) async fn reconcile(
    controller: &RotationController,
    key: &ObjectKey,
    run_permit: RunPermit,
    priority: Priority,
) -> Report {
    let started_at = Instant::now();
    let restores_before = restores();
    let api = ResourceApi::new(controller.context.client.clone(), key);
    controller.priority_gate.wait_ordinary().await;
    let read_at = Instant::now();
    let (resource, resource_view) = match view::stored_resource(controller, key) {
        Some(resource) => (resource, View::Stored),
        None => match api.get().await {
            Ok(Some(resource)) => (resource, View::Live),
            Ok(None) => return Report::without_resource(Ok(Outcome::Gone)),
            Err(error) => return Report::without_resource(Err(error)),
        },
    };
    let mut reconciliation = Reconciliation {
        controller,
        key: key.clone(),
        uid: resource.uid().unwrap_or_default(),
        api,
        tenant: controller.tenants.find(&resource),
        resource: without_marker(resource),
        then: Then::Continue,
        stored_status: None,
        target: TargetState::default(),
        readings: Readings::default(),
        authorization: Authorization::default(),
        urgent: None,
        change_permit: None,
        run_permit,
        priority,
        started_at,
        restores_before,
        read_at,
        resource_view,
        target_view: View::Live,
        policy: None,
        observed: LastObserved::default(),
        events: Vec::new(),
    };
    let outcome = reconciliation.run().await;
    if let Ok(tenant) = &reconciliation.tenant {
        let reference = &reconciliation.resource.spec.tenant_ref;
        controller.tenants.report_rate_limit(&key.namespace, reference, tenant);
        if let Some(error) = tenant.client.unusable_credentials() {
            controller.tenants.report_failure(&key.namespace, reference, &error.into());
        }
    }
    let regarding = Some(resource::object_reference(&reconciliation.resource));
    let report_at = reconciliation.report_at();
    Report { outcome, regarding, events: reconciliation.events, report_at }
}

impl Reconciliation<'_> {
    async fn run(&mut self) -> Result<Outcome, Error> {
        if !self.controller.is_selected(&self.resource) {
            return self.leave_shard().await;
        }
        self.note_resource_version();
        self.with_state(|state| state.is_triggered = false);
        contest::note_status(self);
        if let Err(error) = observe::read_target(self).await {
            return self.fail_read(error).await;
        }
        if let Err(error) = authorize::authorize(self).await {
            return self.fail_read(error).await;
        }
        // The operator's own credentials are known only now.
        observe::select_values(self);
        self.enter_urgent_if_unpublished();
        for _ in 0..MAX_STEPS {
            if self.urgent.is_none() {
                if self.is_out_of_time() {
                    self.store_deferred().await?;
                    return Ok(Outcome::OutOfTime);
                }
                self.controller.priority_gate.wait_ordinary().await;
            }
            let clock = self.clock();
            let policy = self.policy(clock.now());
            let observation = observe(self);
            let decision = decide(&observation, clock, &policy);
            let step = decision.step.clone();
            match self.apply(&observation, decision).await {
                Ok(None) => {}
                Ok(Some(outcome)) => return Ok(outcome),
                Err(error)
                    if error.class() == ErrorClass::Conflict
                        && !self.is_status_held_off()
                        && self.refresh().await? => {}
                Err(error) if self.may_go_on_without(&step, &error) => {
                    let name = &self.key.name;
                    tracing::warn!(name, reason = %error.reason(), "failed to restore: {error}");
                    contest::record_rejected_restore(self, &error.to_string());
                }
                Err(error) => {
                    return self.fail(Some(FailedStep { observation, step }), error).await;
                }
            }
        }
        self.store_deferred().await?;
        Err(Error::Conflict("more steps are due than one reconcile takes"))
    }

    /// Returns whether a rotation, a request or a due time proceeds although the target Secret could not
    /// be restored.
    fn may_go_on_without(&self, step: &Step, error: &Error) -> bool {
        let Step::Publish(publication) = step else { return false };
        let is_limited = matches!(error, Error::WriteLimited { .. });
        let may_wait = match publication.purpose {
            Purpose::Render => matches!(error, Error::Rejected(_) | Error::Denied(_)) || is_limited,
            Purpose::Repair => is_limited,
            _ => false,
        };
        may_wait && scheduling::has_work(&self.resource, now())
    }

    /// Returns whether the rest is for the next reconcile. A change that has its permit is not given up.
    fn is_out_of_time(&self) -> bool {
        let window = self.controller.context.settings.propagation_window.to_std();
        let budget = (window * BUDGET_IN_WINDOWS).max(MIN_BUDGET);
        self.change_permit.is_none() && self.started_at.elapsed() > budget
    }

    /// Reads everything again after a conflict. Returns false if the resource is gone, or belongs to
    /// another shard by now.
    async fn refresh(&mut self) -> Result<bool, Error> {
        self.read_at = Instant::now();
        let Some(resource) = self.api.get().await? else { return Ok(false) };
        if !self.controller.is_selected(&resource) {
            return Ok(false);
        }
        self.set_resource(resource);
        contest::note_status(self);
        self.tenant = self.controller.tenants.find(&self.resource);
        self.readings = Readings::default();
        observe::read_target_live(self).await?;
        authorize::authorize(self).await?;
        Ok(true)
    }

    /// Executes the step of a decision, once its status is stored or may wait.
    async fn apply(
        &mut self,
        observation: &Observation,
        decision: Decision,
    ) -> Result<Option<Outcome>, Error> {
        let Decision { status, step, wake } = decision;
        view::require_live(self, &step, &status).await?;
        if matches!(step, Step::RotateSecret | Step::SetSecret(_)) {
            // A change that is known to fail is not recorded as an attempt.
            execute::prepare_change(self).await?;
            let number = status.rotation.as_ref().map(|rotation| rotation.number);
            self.with_state(|state| state.attempted_number = number);
        }
        let status = self.complete_status(status);
        if is_response(&step) || step == Step::RemoveFinalizer && observation.is_deleting {
            // Neither waits for a status that can't be stored. The intent of a response was stored
            // before the call; after the leadership was lost, only the response is published.
            execute(self, step).await?;
            return Ok(None);
        }
        if has_unrecorded_cause(self.stored_status(), self.status(), &status) {
            self.store_deferred().await?;
            return Ok(None);
        }
        if must_store_first(self.stored_status(), &status, &step) {
            self.then = match step {
                Step::Wait => Then::Wait { until: wake },
                _ => Then::Continue,
            };
            self.store_status(status, None).await?;
        } else {
            self.defer_status(status);
        }
        if step == Step::Wait {
            let wake = self.finish(wake);
            return Ok(Some(Outcome::Done(wake)));
        }
        self.execute_and_show(step).await?;
        Ok(None)
    }

    /// Returns the time for a decision about the status as it is now.
    pub(super) fn clock(&self) -> Clock {
        self.with_state(|state| state.sightings.clock(self.status(), server_time::read()))
    }

    /// Returns the policy, which is computed once per generation of the spec.
    pub(super) fn policy(&mut self, now: DateTime<Utc>) -> Policy {
        let generation = self.resource.metadata.generation;
        let policy = match &self.policy {
            Some(cached) if cached.generation == generation => cached.policy.clone(),
            _ => {
                let settings = &self.controller.context.settings;
                let is_own_credentials = self.authorization.is_own_credentials;
                let policy = policy::policy(&self.resource, settings, is_own_credentials, now);
                self.policy = Some(CachedPolicy { generation, policy: policy.clone() });
                policy
            }
        };
        let Authorization { denied, conflict, .. } = &self.authorization;
        policy
            .with_rejection(conflict.clone())
            .with_spec_rejection(adoption::forbids_rotation(self))
            .with_forbidden(denied.clone())
    }

    /// Returns the priority of calls to Auth0. It rises when a rotation starts.
    pub(super) fn priority(&self) -> Priority {
        if self.rotation().is_some() { Priority::InProgress } else { self.priority }
    }

    /// Lets this reconcile go before others while a response is unpublished.
    pub(super) fn enter_urgent_if_unpublished(&mut self) {
        let is_unpublished = self.with_state(|state| state.unpublished_response.is_some());
        self.urgent = is_unpublished.then(|| self.controller.priority_gate.enter_urgent());
    }

    /// Reads or changes the in-memory state of this resource.
    pub(super) fn with_state<T>(&self, access: impl FnOnce(&mut RotationState) -> T) -> T {
        self.controller.states.with(&self.uid, access)
    }

    /// Returns the rotation in progress.
    pub(super) fn rotation(&self) -> Option<&Rotation> {
        self.resource.status.as_ref()?.rotation.as_ref()
    }

    pub(super) fn set_resource(&mut self, resource: ClientSecretRotation) {
        self.resource = without_marker(resource);
        self.stored_status = None;
        self.resource_view = View::Live;
        self.note_resource_version();
    }

    fn note_resource_version(&mut self) {
        let Some(version) = self.resource.resource_version() else { return };
        if self.resource_view == View::Live {
            record_version(&version);
            let number = version.parse().unwrap_or_default();
            self.with_state(|state| state.last_version = number);
        }
        self.observed.resource_versions.push(version);
    }

    pub(super) fn note_target_version(&mut self) {
        if let Some(snapshot) = self.target.snapshot() {
            self.observed.secret_versions.push(snapshot.resource_version().to_owned());
        }
    }

    /// Remembers that nothing has to be done before `wake`, unless something changes. Returns when to
    /// check again.
    fn finish(&mut self, wake: Option<DateTime<Utc>>) -> Option<BootInstant> {
        let mut observed = std::mem::take(&mut self.observed);
        observed.tenant_version = match &self.tenant {
            Ok(tenant) => tenant.version.clone(),
            Err(_) => None,
        };
        observed.restores = self.restores_before;
        observed.is_claimed = self.authorization.is_claimed;
        observed.credentials_version = credentials_guard::version(&self.resource, self.controller);
        let recheck =
            self.authorization.has_credentials_conflict.then(|| now() + CREDENTIALS_RECHECK);
        let owner_recheck = owner_reference::recheck_at(self);
        let wake =
            [wake, recheck, owner_recheck].into_iter().flatten().min().map(server_time::instant);
        observed.wake = wake;
        observed.finished_at = Some(Instant::now());
        self.trigger_claimants(&observed);
        let is_claimed = observed.is_claimed;
        let has_rollouts = self.readings.rollouts.is_some();
        self.with_state(|state| {
            state.last_observed = Some(observed);
            state.listed = None;
            if !has_rollouts {
                state.rollout_watch = None;
            }
            state.last_failure = None;
            state.failures = 0;
        });
        // Whether the other resource still takes precedence is checked without a call.
        let recheck = || server_time::instant(now() + CREDENTIALS_RECHECK);
        if is_claimed { Some(wake.unwrap_or_else(recheck)) } else { wake }
    }

    /// Triggers the next claimants of the client and the target when this resource lost them, or when
    /// its tenant changed: it may be another Auth0 tenant by now.
    fn trigger_claimants(&self, observed: &LastObserved) {
        let claim = FinishedClaim {
            tenant_version: observed.tenant_version.clone(),
            is_owner: !observed.is_claimed,
        };
        let before = self.with_state(|state| state.finished_claim.replace(claim.clone()));
        let Some(before) = before else { return };
        if before == claim || !before.is_owner {
            return;
        }
        let context = &self.controller.context;
        for claimant in next_claimants(&context.stores, &self.resource) {
            let namespace = claimant.namespace.unwrap_or_default();
            context.trigger.rotation(&ObjectKey::new(namespace, claimant.name));
        }
    }
}
