//! One pass over one resource: observe, decide, act, until there is nothing to do.

use std::time::Instant;

use chrono::{DateTime, SubsecRound as _, Utc};
use kube::ResourceExt as _;
use rotation::{
    Class, Decision, Notice, Observation, Policy, Publication, Reading, Request, Status, Step,
    Target, Trouble, decide, fail, notices,
};

use super::{
    claims,
    context::Context,
    memory::Settled,
    precedence::Urgent,
    resource::{self, Handle},
    target::{Contents, Rendering, Snapshot, Values},
    tenants::Usable,
    terms, trouble,
};
use crate::{
    api::{ClientSecretRotation, DeletionPolicy, INITIALIZED_ANNOTATION, REQUEST_ANNOTATION},
    auth0::ClientFacts,
};

/// The most steps that a pass takes before it lets others have a turn. The longest way, a rotation
/// whose grace period is over at once, takes twelve.
const MOST_STEPS: usize = 24;

/// How a pass ended.
pub(super) enum End {
    /// There is nothing to do before that time, if any.
    Rest(Option<DateTime<Utc>>),
    /// The resource is gone.
    Gone,
}

/// One pass over one resource.
pub(super) struct Pass<'a> {
    pub(super) context: &'a Context,
    pub(super) handle: Handle,
    pub(super) uid: String,
    pub(super) resource: ClientSecretRotation,
    /// The target Secret as it was read or written last.
    pub(super) secret: Option<Snapshot>,
    pub(super) values: Values,
    pub(super) tenant: Result<Usable, Trouble>,
    /// What Auth0 said of the client in this pass.
    pub(super) client: Option<Result<ClientFacts, rotation::Refusal>>,
    pub(super) accepted: Option<bool>,
    pub(super) secret_set: bool,
    /// When the intent to change something at Auth0 was stored.
    pub(super) recorded: Option<Instant>,
    /// What was last written into the target Secret in this pass.
    pub(super) written: Option<Publication>,
    /// There from the answer of `rotate-secret` until it is published.
    pub(super) urgent: Option<Urgent>,
    seen: Settled,
    told: Vec<Notice>,
}

/// Makes a pass over a resource.
pub(super) async fn pass(context: &Context, namespace: &str, name: &str) -> Result<End, Trouble> {
    let handle = Handle::new(context.client.clone(), namespace, name);
    context.precedence.ordinary().await;
    let Some(resource) = handle.get().await? else { return Ok(End::Gone) };
    let uid = resource.uid().unwrap_or_default();
    let mut pass = Pass {
        tenant: context.tenants.find(namespace, &resource.spec.tenant_ref, &context.watched),
        context,
        handle,
        uid,
        resource,
        secret: None,
        values: Values::default(),
        client: None,
        accepted: None,
        secret_set: false,
        recorded: None,
        written: None,
        urgent: None,
        seen: Settled::default(),
        told: Vec::new(),
    };
    let end = pass.run().await;
    let about = resource::reference(&pass.resource);
    let told = std::mem::take(&mut pass.told);
    pass.urgent = None;
    if !told.is_empty() {
        context.precedence.ordinary().await;
    }
    context.announcer.tell(&about, &told).await;
    end
}

impl Pass<'_> {
    async fn run(&mut self) -> Result<End, Trouble> {
        self.note_resource();
        if let Err(trouble) = self.read_secret().await {
            return self.failed(None, trouble).await;
        }
        for _ in 0..MOST_STEPS {
            let now = now();
            let policy =
                terms::policy(&self.resource, self.context.settings.propagation_window, now);
            let seen = self.observe();
            let decision = decide(&seen, now, &policy);
            let step = decision.step.clone();
            if self.urgent.is_none() {
                self.context.precedence.ordinary().await;
            }
            match self.act(&seen, decision).await {
                Ok(None) => {}
                Ok(Some(end)) => return Ok(end),
                Err(trouble) if trouble.class == Class::Conflict && self.refresh().await? => {}
                Err(trouble) => return self.failed(Some((seen, policy, step)), trouble).await,
            }
        }
        Err(trouble::conflict("there was more to do than one pass takes"))
    }

    /// Something changed under our hands: reads it again. False when the resource is gone.
    async fn refresh(&mut self) -> Result<bool, Trouble> {
        let Some(resource) = self.handle.get().await? else { return Ok(false) };
        self.resource = resource;
        self.note_resource();
        self.accepted = None;
        self.read_secret().await?;
        Ok(true)
    }

    /// Stores the status of a decision, then takes its step.
    async fn act(
        &mut self,
        seen: &Observation,
        decision: Decision,
    ) -> Result<Option<End>, Trouble> {
        let Decision { status, step, wake } = decision;
        let status = self.with_tenant_condition(status);
        self.store(&seen.status, status).await?;
        if step == Step::Rest {
            self.settle(wake);
            return Ok(Some(End::Rest(wake)));
        }
        self.take(step).await.map(|()| None)
    }

    /// Stores a status if it differs from the stored one, and remembers what there is to tell.
    async fn store(&mut self, stored: &Status, status: Status) -> Result<(), Trouble> {
        if *stored == status {
            return Ok(());
        }
        self.resource = self.handle.store_status(&self.resource, status.clone()).await?;
        self.recorded = Some(Instant::now());
        self.note_resource();
        self.context.metrics.status_written();
        let told = notices(stored, &status);
        for notice in &told {
            self.log(notice);
        }
        self.context.metrics.rotations_ended(stored, &status);
        self.told.extend(told);
        Ok(())
    }

    /// Puts down what went wrong. The trouble stays the answer, also when that fails.
    async fn failed(
        &mut self,
        during: Option<(Observation, Policy, Step)>,
        trouble: Trouble,
    ) -> Result<End, Trouble> {
        let now = now();
        let (seen, policy, step) = match during {
            Some((seen, policy, step)) => (seen, policy, Some(step)),
            None => {
                let window = self.context.settings.propagation_window;
                (self.observe(), terms::policy(&self.resource, window, now), None)
            }
        };
        // The status may have been stored since: what failed is the step after it.
        let seen = Observation { status: self.status(), ..seen };
        let status = self.with_tenant_condition(fail(&seen, step.as_ref(), &trouble, now, &policy));
        if let Err(second) = self.store(&seen.status, status).await {
            tracing::debug!(name = self.resource.name_any(), %second, "a failure was not put down");
        }
        Err(trouble)
    }

    fn observe(&self) -> Observation {
        self.forget_published_answer();
        let resource = &self.resource;
        let annotation = |name: &str| resource.annotations().get(name).map(String::as_str);
        let (answer_in_hand, refused_at) =
            self.context.memory.with(&self.uid, |known| (known.answer.is_some(), known.refused_at));
        Observation {
            generation: resource.metadata.generation.unwrap_or_default(),
            status: self.status(),
            request: annotation(REQUEST_ANNOTATION).map(Request::read),
            initialized: annotation(INITIALIZED_ANNOTATION).is_some(),
            held: resource::is_held(resource),
            deleting: resource.metadata.deletion_timestamp.is_some(),
            target: self.target(),
            client: match &self.client {
                None => Reading::NotAsked,
                Some(Err(refusal)) => Reading::Refused(refusal.clone()),
                Some(Ok(facts)) => Reading::Found(self.compare(facts)),
            },
            accepted: self.accepted,
            refused_at,
            answer_in_hand,
            secret_set: self.secret_set,
        }
    }

    /// A write whose acknowledgement was lost has happened all the same.
    fn forget_published_answer(&self) {
        self.context.memory.with(&self.uid, |known| {
            known.answer.take_if(|(answer, _)| self.values.current.as_ref() == Some(answer));
        });
    }

    fn target(&self) -> Target {
        let claimed = claims::refusal(&self.resource, &self.context.watched.resources());
        if let Some(refusal) = claimed {
            return Target::Refused(refusal);
        }
        self.inspect_target()
    }

    fn status(&self) -> Status {
        self.resource.status.clone().unwrap_or_default()
    }

    /// The numbers and values that stand in the target Secret, to be written as the spec wants.
    pub(super) fn present_contents(&self) -> Option<Contents> {
        let (current, fallback) = self.secret.as_ref()?.numbers();
        let current = (current?, self.values.current.clone()?);
        let fallback = match (fallback, &self.values.fallback) {
            (Some(number), Some(value)) => Some((number, value.clone())),
            _ => None,
        };
        Some(Contents { current, fallback })
    }

    pub(super) fn rendering<'s>(&'s self, domain: &'s str) -> Rendering<'s> {
        let spec = &self.resource.spec;
        Rendering {
            spec: &spec.target,
            resource: self.resource.metadata.name.as_deref().unwrap_or_default(),
            namespace: self.namespace(),
            client_id: &spec.client_id,
            domain,
            owner: (spec.target.deletion_policy == DeletionPolicy::Delete)
                .then(|| kube::Resource::owner_ref(&self.resource, &()))
                .flatten(),
        }
    }

    pub(super) fn namespace(&self) -> &str {
        self.resource.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn with_tenant_condition(&self, mut status: Status) -> Status {
        let generation = status.observed_generation;
        let (ready, reason, message) = match &self.tenant {
            Err(trouble) => (false, trouble.reason.to_owned(), trouble.message.clone()),
            Ok(usable) => match usable.not_ready.clone() {
                Some((reason, message)) => (false, reason, message),
                None => (true, "Usable".to_owned(), String::new()),
            },
        };
        let kind = rotation::kind::TENANT_READY;
        rotation::set(&mut status.conditions, kind, ready, &reason, &message, generation, now());
        status
    }

    pub(super) fn note_resource(&mut self) {
        self.seen.resource_versions.extend(self.resource.resource_version());
    }

    pub(super) fn note_secret(&mut self) {
        self.seen
            .secret_versions
            .extend(self.secret.as_ref().map(|secret| secret.version().to_owned()));
    }

    /// Nothing will have to be looked at before `wake`, unless something changes.
    fn settle(&mut self, wake: Option<DateTime<Utc>>) {
        let mut settled = std::mem::take(&mut self.seen);
        settled.tenant_version =
            self.tenant.as_ref().ok().and_then(|tenant| tenant.version.clone());
        settled.wake = wake;
        self.context.memory.with(&self.uid, |known| {
            known.settled = Some(settled);
            known.failures = 0;
        });
    }

    fn log(&self, notice: &Notice) {
        let name = self.resource.name_any();
        let namespace = self.namespace();
        let Notice { reason, message, warning } = notice;
        if *warning {
            tracing::warn!(namespace, name, reason, "{message}");
        } else {
            tracing::info!(namespace, name, reason, "{message}");
        }
    }
}

/// The time, in whole milliseconds: what is stored reads back the same.
pub(super) fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}
