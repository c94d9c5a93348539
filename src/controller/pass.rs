//! One pass over one resource: observe, decide, act, until there is nothing to do.

use std::{collections::BTreeMap, time::Instant};

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt as _;
use rotation::{
    Condition, Decision, ErrorClass, EventRecord, Failure, Observation, Policy, Publication,
    Purpose, Reason, Rejection, Rollout, Status, Step, UnreachedPods, decide, event_records,
    record_failure, set_condition,
};

use super::{
    authority::Authority,
    clock::now,
    context::Context,
    memory::Settled,
    precedence::Urgent,
    resource::{self, Handle},
    target::{Snapshot, Values},
    tenants::{Usable, status},
    terms, trouble,
};
use crate::{api::ClientSecretRotation, failpoint::failpoint};
use auth0_client::ClientInfo;

/// The most steps that a pass takes before it lets others have a turn. The longest way, a rotation
/// whose grace period is over at once, takes thirteen.
const MOST_STEPS: usize = 24;

/// How a pass ended.
pub(super) enum End {
    /// There is nothing to do before that time, if any.
    Wait(Option<DateTime<Utc>>),
    /// The resource is gone.
    Gone,
}

/// A pass that is over.
pub(super) struct Report {
    pub(super) end: Result<End, Failure>,
    /// The resource, unless it could not be read.
    pub(super) about: Option<ObjectReference>,
    /// What happened to it.
    pub(super) told: Vec<EventRecord>,
}

/// One pass over one resource.
pub(super) struct Pass<'a> {
    pub(super) context: &'a Context,
    pub(super) handle: Handle,
    pub(super) uid: String,
    pub(super) resource: ClientSecretRotation,
    /// The target Secret as it was read or written last; `None` when it hasn't been.
    pub(super) secret: Option<Option<Snapshot>>,
    pub(super) values: Values,
    pub(super) tenant: Result<Usable, Failure>,
    /// What Auth0 said of the client in this pass.
    pub(super) client: Option<Result<ClientInfo, Rejection>>,
    /// When it was asked.
    pub(super) client_read_at: Option<DateTime<Utc>>,
    pub(super) accepted: Option<bool>,
    pub(super) secret_set: bool,
    pub(super) dry_run_passed: bool,
    /// The pods that will never see what is published.
    pub(super) unreached: UnreachedPods,
    pub(super) rollouts: Option<Vec<Rollout>>,
    /// Consumers that could not be restarted in this pass, and why.
    pub(super) not_restarted: BTreeMap<String, String>,
    /// When the resource and its target Secret were read.
    pub(super) read_at: Instant,
    /// When the intent to change something at Auth0 was stored.
    pub(super) recorded: Option<Instant>,
    /// What was last written into the target Secret in this pass.
    pub(super) written: Option<Publication>,
    /// There while an answer of `rotate-secret` is in hand and being published.
    pub(super) urgent: Option<Urgent>,
    /// What speaks against touching the client.
    pub(super) authority: Authority,
    policy: Option<(Option<i64>, Policy)>,
    seen: Settled,
    told: Vec<EventRecord>,
}

/// Makes a pass over a resource.
pub(super) async fn pass(context: &Context, namespace: &str, name: &str) -> Report {
    let handle = Handle::new(context.client.clone(), namespace, name);
    context.precedence.ordinary().await;
    let read_at = Instant::now();
    let resource = match handle.get().await {
        Ok(Some(resource)) => resource,
        Ok(None) => return Report { end: Ok(End::Gone), about: None, told: Vec::new() },
        Err(trouble) => return Report { end: Err(trouble), about: None, told: Vec::new() },
    };
    let mut pass = Pass {
        tenant: context.tenants.find(&resource, &context.watched),
        context,
        handle,
        uid: resource.uid().unwrap_or_default(),
        resource,
        secret: None,
        values: Values::default(),
        client: None,
        client_read_at: None,
        accepted: None,
        secret_set: false,
        dry_run_passed: false,
        unreached: UnreachedPods::NotChecked,
        rollouts: None,
        not_restarted: BTreeMap::new(),
        read_at,
        recorded: None,
        written: None,
        urgent: None,
        authority: Authority::default(),
        policy: None,
        seen: Settled::default(),
        told: Vec::new(),
    };
    let end = pass.run().await;
    if let Ok(usable) = &pass.tenant {
        let tenant = &pass.resource.spec.tenant_ref;
        status::tell_budget((namespace, tenant), usable, context);
    }
    let about = Some(resource::reference(&pass.resource));
    Report { end, about, told: pass.told }
}

impl Pass<'_> {
    async fn run(&mut self) -> Result<End, Failure> {
        self.note_resource();
        self.remember_domain();
        self.context.memory.with(&self.uid, |known| known.poked = false);
        if let Err(trouble) = self.read_secret().await {
            return self.failed(None, trouble).await;
        }
        if let Err(trouble) = self.find_authority().await {
            return self.failed(None, trouble).await;
        }
        self.hurry_if_in_hand();
        for _ in 0..MOST_STEPS {
            if self.urgent.is_none() {
                self.context.precedence.ordinary().await;
            }
            let now = now();
            let policy = self.policy(now);
            let seen = self.observe();
            let decision = decide(&seen, now, &policy);
            let step = decision.step.clone();
            match self.act(&seen, decision).await {
                Ok(None) => {}
                Ok(Some(end)) => return Ok(end),
                Err(trouble) if trouble.class == ErrorClass::Conflict && self.refresh().await? => {}
                Err(trouble) => return self.failed(Some((seen, step)), trouble).await,
            }
        }
        Err(trouble::conflict("there was more to do than one pass takes"))
    }

    /// Something changed under our hands: reads it again, and asks Auth0 anew. False when the
    /// resource is gone.
    async fn refresh(&mut self) -> Result<bool, Failure> {
        self.read_at = Instant::now();
        let Some(resource) = self.handle.get().await? else { return Ok(false) };
        self.resource = resource;
        self.note_resource();
        self.tenant = self.context.tenants.find(&self.resource, &self.context.watched);
        self.remember_domain();
        (self.client, self.accepted) = (None, None);
        (self.secret_set, self.dry_run_passed, self.recorded) = (false, false, None);
        self.rollouts = None;
        self.find_authority().await?;
        self.read_secret().await?;
        Ok(true)
    }

    /// Stores the status of a decision, then takes its step.
    async fn act(
        &mut self,
        seen: &Observation,
        decision: Decision,
    ) -> Result<Option<End>, Failure> {
        let Decision { status, step, wake } = decision;
        if matches!(step, Step::RotateSecret | Step::SetSecret(_)) {
            // What can be known to fail beforehand isn't recorded as an attempt.
            self.prepare_change().await?;
            let number = status.rotation.as_ref().map(|rotation| rotation.number);
            self.context.memory.with(&self.uid, |known| known.attempted = number);
        }
        let status = self.with_tenant_condition(status);
        let answers = |publication: &Publication| publication.purpose == Purpose::Response;
        if !self.context.right().holds() && matches!(&step, Step::Publish(it) if answers(it)) {
            // Nothing but the answer is left to be done, and its intent was stored before the call.
            return self.take(step).await.map(|()| None);
        }
        self.store(&seen.status, status).await?;
        if step == Step::Wait {
            self.settle(wake);
            return Ok(Some(End::Wait(wake)));
        }
        self.take(step).await.map(|()| None)
    }

    /// Stores a status if it differs from the stored one, and remembers what there is to tell.
    async fn store(&mut self, stored: &Status, status: Status) -> Result<(), Failure> {
        if *stored == status {
            return Ok(());
        }
        failpoint!("before-store-status");
        self.resource =
            self.handle.store_status(&self.resource, status.clone(), self.context.right()).await?;
        failpoint!("after-store-status");
        self.recorded = Some(Instant::now());
        self.note_resource();
        self.context.metrics.status_written();
        let told = event_records(stored, &status);
        for notice in &told {
            self.log(notice);
        }
        let strategy = self.resource.spec.strategy;
        self.context.metrics.went_on((stored, &status), strategy, now());
        self.told.extend(told);
        Ok(())
    }

    /// Puts down what went wrong. The trouble stays the answer, also when that fails.
    async fn failed(
        &mut self,
        during: Option<(Observation, Step)>,
        trouble: Failure,
    ) -> Result<End, Failure> {
        let now = now();
        let policy = self.policy(now);
        let (seen, step) = match during {
            Some((seen, step)) => (seen, Some(step)),
            None => (self.observe(), None),
        };
        // The status may have been stored since: what failed is the step after it.
        let seen = Observation { status: self.status(), ..seen };
        let status = record_failure(&seen, step.as_ref(), &trouble, now, &policy);
        let status = self.with_tenant_condition(status);
        if let Err(second) = self.store(&seen.status, status).await {
            tracing::debug!(name = self.resource.name_any(), %second, "a failure was not put down");
        }
        Err(trouble)
    }

    /// What the spec asks for, worked out once per version of it.
    fn policy(&mut self, now: DateTime<Utc>) -> Policy {
        let generation = self.resource.metadata.generation;
        let known = self.policy.as_ref().filter(|(known, _)| *known == generation);
        let policy = match known {
            Some((_, policy)) => policy.clone(),
            None => {
                let window = self.context.settings.propagation_window;
                let policy = terms::policy(&self.resource, window, self.authority.is_own, now);
                self.policy = Some((generation, policy.clone()));
                policy
            }
        };
        let Authority { denied, blocked, .. } = &self.authority;
        policy.with_rejection(blocked.clone()).with_forbidden(denied.clone())
    }

    fn remember_domain(&self) {
        if let Ok(usable) = &self.tenant {
            let domain = Some(usable.domain.clone());
            self.context.memory.with(&self.uid, |known| known.domain = domain);
        }
    }

    /// Calls of other passes wait while an answer is in hand.
    pub(super) fn hurry_if_in_hand(&mut self) {
        let in_hand = self.context.memory.with(&self.uid, |known| known.answer.is_some());
        self.urgent = in_hand.then(|| self.context.precedence.urgent());
    }

    pub(super) fn status(&self) -> Status {
        self.resource.status.clone().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.resource.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn with_tenant_condition(&self, mut status: Status) -> Status {
        let generation = status.observed_generation;
        let (ready, reason, message) = match &self.tenant {
            Err(trouble) => (false, trouble.reason, trouble.message.clone()),
            Ok(usable) => match usable.not_ready.clone() {
                Some((reason, message)) => (false, reason, message),
                None => (true, Reason::Usable, String::new()),
            },
        };
        let kind = rotation::condition_types::TENANT_READY;
        let condition = Condition::new(kind, ready, reason, &message, generation, now());
        set_condition(&mut status.conditions, condition);
        status
    }

    pub(super) fn note_resource(&mut self) {
        self.seen.resource_versions.extend(self.resource.resource_version());
    }

    pub(super) fn note_secret(&mut self) {
        let version = self.snapshot().map(|secret| secret.version().to_owned());
        self.seen.secret_versions.extend(version);
    }

    /// Nothing will have to be looked at before `wake`, unless something changes.
    fn settle(&mut self, wake: Option<DateTime<Utc>>) {
        let mut settled = std::mem::take(&mut self.seen);
        let tenant = self.tenant.as_ref().ok();
        settled.tenant_version = tenant.and_then(|tenant| tenant.version.clone());
        settled.is_claimed = self.authority.claimed;
        settled.wake = wake;
        self.context.memory.with(&self.uid, |known| {
            known.settled = Some(settled);
            known.listed = None;
            if self.rollouts.is_none() {
                known.rollout_watch = None;
            }
            known.failed = None;
            known.failures = 0;
        });
    }

    fn log(&self, notice: &EventRecord) {
        let name = self.resource.name_any();
        let namespace = self.namespace();
        let EventRecord { reason, message, is_warning } = notice;
        if *is_warning {
            tracing::warn!(namespace, name, %reason, "{message}");
        } else {
            tracing::info!(namespace, name, %reason, "{message}");
        }
    }
}
