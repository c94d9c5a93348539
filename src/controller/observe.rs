//! What a pass has read, in the terms of the machine: which value is which, never what it is.

use std::time::Duration;

use kube::ResourceExt as _;
use rotation::{
    ClientObservation, Failure, Observation, OwnedTarget, Reason, Rejection, Request, SecretMatch,
    Target,
};

use super::{
    pass::Pass,
    resource,
    target::{Contents, Rendering, Snapshot, Values},
};
use crate::api::{DeletionPolicy, INITIALIZED_ANNOTATION, REQUEST_ANNOTATION};
use auth0_client::{ClientInfo, ClientKind};

/// How long what a list showed is a reason to look.
const LISTED_FOR: Duration = Duration::from_secs(300);

impl Pass<'_> {
    pub(super) fn observe(&self) -> Observation {
        self.forget_published_answer();
        let resource = &self.resource;
        let status = self.status();
        let annotation = |name: &str| resource.annotations().get(name).map(String::as_str);
        let attempt = status.rotation.as_ref().and_then(|rotation| rotation.activating_at);
        let (has_unpublished_response, rejected_at, attempt_finished) =
            self.context.memory.with(&self.uid, |known| {
                let ended = attempt.is_some() && known.ended_attempt == attempt;
                (known.answer.is_some(), known.rejected_at, ended)
            });
        let forbidden = self.forbids_asking();
        let facts = self.client.as_ref().and_then(|client| client.as_ref().ok());
        Observation {
            signs_with_secret: facts.map(|facts| facts.signs_with_secret),
            generation: resource.metadata.generation.unwrap_or_default(),
            request: annotation(REQUEST_ANNOTATION).map(Request::parse),
            initialized: annotation(INITIALIZED_ANNOTATION).is_some(),
            has_finalizer: resource::is_held(resource),
            is_deleting: resource.metadata.deletion_timestamp.is_some(),
            target: self.target(),
            client: match &self.client {
                _ if forbidden.is_some() => {
                    forbidden.map_or(ClientObservation::NotRead, ClientObservation::Rejected)
                }
                None => ClientObservation::NotRead,
                Some(Err(refusal)) => ClientObservation::Rejected(refusal.clone()),
                Some(Ok(facts)) => ClientObservation::Found(self.compare(facts)),
            },
            client_read_at: self.client_read_at,
            accepted: self.accepted,
            rejected_at,
            has_unpublished_response,
            attempt_finished,
            dry_run_passed: self.dry_run_passed,
            drift_suspected: self.authority.denied.is_none() && self.is_drift_suspected(),
            unreached_pods: self.unreached.clone(),
            rollouts: self.rollouts.clone(),
            secret_set: self.secret_set,
            status,
        }
    }

    pub(super) async fn read_secret(&mut self) -> Result<(), Failure> {
        self.secret = None;
        let target = &self.resource.spec.target;
        let secret = self.context.secrets.get(self.namespace(), &target.name).await?;
        self.values =
            secret.as_ref().map_or_else(Values::default, |secret| secret.values(&target.keys));
        self.secret = Some(secret);
        self.note_secret();
        Ok(())
    }

    /// The target Secret, if it was read and is there.
    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        self.secret.as_ref()?.as_ref()
    }

    /// A write whose acknowledgement was lost has happened all the same.
    fn forget_published_answer(&self) {
        self.context.memory.with(&self.uid, |known| {
            known.answer.take_if(|(answer, _)| self.values.current.as_ref() == Some(answer));
        });
    }

    /// Compares what Auth0 has with what the target Secret holds, and tells only which it is.
    fn compare(&self, facts: &ClientInfo) -> SecretMatch {
        match &facts.secret {
            None => SecretMatch::Unreadable,
            Some(secret) if self.values.current.as_ref() == Some(secret) => SecretMatch::Current,
            Some(secret) if self.values.fallback.as_ref() == Some(secret) => SecretMatch::Fallback,
            Some(_) => SecretMatch::Other,
        }
    }

    /// The tenant's list showed something that the target Secret doesn't have.
    fn is_drift_suspected(&self) -> bool {
        self.context.memory.with(&self.uid, |known| match &known.listed {
            Some((_, at)) if at.elapsed() > LISTED_FOR => false,
            Some((Some(listed), _)) => {
                let values = [&self.values.current, &self.values.fallback];
                !values.into_iter().any(|value| value.as_ref() == Some(listed))
            }
            Some((None, _)) => true,
            None => false,
        })
    }

    /// What the target Secret is to the machine.
    pub(super) fn target(&self) -> Target {
        let Some(secret) = &self.secret else { return Target::Unknown };
        let owned = secret
            .as_ref()
            .is_some_and(|secret| secret.owner() == self.resource.metadata.name.as_deref());
        if let Some(refusal) = self.forbids_writing(owned) {
            return Target::Rejected(refusal.clone());
        }
        let Some(secret) = secret else { return Target::Absent };
        if let Some(refusal) = self.refuse_target(secret) {
            return Target::Rejected(refusal);
        }
        let (current, fallback) = secret.numbers();
        let tampered = secret.is_edited(&self.resource.spec.target.keys, &self.values);
        let in_sync = match (&self.tenant, self.present_contents()) {
            (Ok(usable), Some(contents)) if !tampered => {
                self.rendering(&usable.domain).render(&contents, Some(secret)).is_as(secret)
            }
            // Without the tenant its domain isn't known; it is looked at again when it is there.
            _ => true,
        };
        let has_current = self.values.current.is_some();
        Target::Owned(OwnedTarget { current, fallback, has_current, tampered, in_sync })
    }

    fn refuse_target(&self, secret: &Snapshot) -> Option<Rejection> {
        let spec = &self.resource.spec.target;
        let name = &spec.name;
        if secret.immutable {
            return Some(Rejection::new(
                Reason::TargetImmutable,
                format!(
                    "the Secret {name} is immutable: delete it, or choose another spec.target.name"
                ),
            ));
        }
        match secret.owner() {
            Some(owner) if owner == self.resource.name_any() => None,
            Some(owner) if self.exists(owner) => Some(Rejection::new(
                Reason::TargetClaimed,
                format!(
                    "the Secret {name} belongs to the ClientSecretRotation {owner}: choose another \
                     spec.target.name"
                ),
            )),
            _ if spec.adopt => None,
            _ => Some(Rejection::new(
                Reason::TargetNotOwned,
                format!(
                    "the Secret {name} exists and was not created for this resource: set \
                     spec.target.adopt to true to take it over, or choose another spec.target.name"
                ),
            )),
        }
    }

    fn exists(&self, name: &str) -> bool {
        let resources = self.context.watched.resources();
        resources.iter().any(|resource| {
            resource.name_any() == name
                && resource.namespace() == self.resource.namespace()
                && resource.uid().as_deref() != Some(self.uid.as_str())
        })
    }

    /// The numbers and values that stand in the target Secret, to be written as the spec wants.
    pub(super) fn present_contents(&self) -> Option<Contents> {
        let (current, fallback) = self.snapshot()?.numbers();
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
            owner: kube::Resource::owner_ref(&self.resource, &()),
            goes_with_owner: spec.target.deletion_policy == DeletionPolicy::Delete,
        }
    }
}

/// Why a client is not one to rotate, if so.
pub(super) fn refuse_client(facts: &ClientInfo) -> Option<Rejection> {
    match facts.kind {
        ClientKind::Confidential => None,
        ClientKind::Public => Some(Rejection::new(
            Reason::PublicClient,
            "the client is public (its token_endpoint_auth_method is none): it does not authenticate, \
             so there is nothing to rotate; choose an authentication method in Auth0, or delete this \
             resource",
        )),
        ClientKind::KeyBased => Some(Rejection::new(
            Reason::ClientUsesKeys,
            "the client authenticates with keys (client_authentication_methods): it has no secret to \
             rotate; delete this resource, or switch the client back to a client secret",
        )),
    }
}
