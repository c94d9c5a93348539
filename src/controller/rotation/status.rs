//! The status of a resource: the conditions that the state machine does not know, and its write.

use std::time::Instant;

use rotation::{
    Condition, EventRecord, Reason, Status, condition_types, event_records, find_condition,
    set_condition,
};

use super::{consumers, contest, observe, owner_reference, reconcile::Reconciliation, settled};
use crate::{
    api::{ClientSecretRotation, TenantKind, TenantRef, describe_tenant, with_kept_domain},
    controller::{
        error::Error,
        object_key::ObjectKey,
        server_time::now,
        tenant::TenantHandle,
        write_budget::{WriteKind, kind_of_status, starts_rotation},
    },
    failpoint::failpoint,
};

impl Reconciliation<'_> {
    /// Stores a status if it differs from the stored one, and records the transition. `kind`: what the
    /// write is for, unless the status shows it.
    pub(super) async fn store_status(
        &mut self,
        status: Status,
        kind: Option<WriteKind>,
    ) -> Result<(), Error> {
        let stored = self.stored_status().clone();
        if stored == status {
            self.defer_status(status);
            return Ok(());
        }
        let kind = kind.unwrap_or_else(|| kind_of_status(&stored, &status));
        let has_cause = starts_rotation(&stored, &status);
        let then = std::mem::take(&mut self.then);
        let status = settled::with_marker(self, status, then);
        self.with_state(|state| {
            if has_cause {
                state.writes.grant_rotation();
            }
            state.writes.take(kind)
        })?;
        let context = &self.controller.context;
        failpoint!("before-store-status");
        let resource =
            self.api.store_status(&self.resource, status.clone(), context.fence()).await?;
        failpoint!("after-store-status");
        self.readings.intent_stored_at = Some(Instant::now());
        self.note_stored(&stored, &status, resource);
        Ok(())
    }

    /// Records that a status was stored.
    pub(super) fn note_stored(
        &mut self,
        before: &Status,
        status: &Status,
        resource: ClientSecretRotation,
    ) {
        let metrics = &self.controller.context.metrics;
        metrics.count_status_write();
        metrics.observe_status_change(before, status, resource.spec.strategy, now());
        let restarted_for = consumers::restart_key(self);
        self.set_resource(resource);
        contest::note_stored_status(self);
        if consumers::restart_key(self) != restarted_for {
            self.readings.rollouts = None;
        }
        let events = event_records(before, status);
        for event in &events {
            self.log(event);
        }
        self.events.extend(events.into_iter().filter(|event| !event.is_routine));
    }

    /// Returns whether another party keeps overwriting the status. A response is published regardless.
    pub(super) fn is_status_held_off(&self) -> bool {
        self.with_state(|state| {
            let contests = state.contests.as_ref();
            state.unpublished_response.is_none()
                && contests.is_some_and(|found| !found.status_hold_off(Instant::now()).is_zero())
        })
    }

    /// Adds what the state machine does not know.
    pub(super) fn complete_status(&self, status: Status) -> Status {
        self.with_origin(self.with_owner_condition(self.with_tenant_condition(status)))
    }

    /// Reports that the cluster denies a change of the target Secret's owner, and when that ended.
    fn with_owner_condition(&self, mut status: Status) -> Status {
        let type_ = condition_types::OWNER_REFERENCE_SET;
        let is_denied = owner_reference::is_denied(self);
        if !is_denied && find_condition(&status.conditions, type_).is_none() {
            return status;
        }
        let (reason, message) = match is_denied {
            true => (Reason::OwnerReferenceForbidden, owner_reference::denial(&self.resource)),
            false => (Reason::Progressing, String::new()),
        };
        let generation = status.observed_generation;
        let condition = Condition::new(type_, !is_denied, reason, &message, generation, now());
        set_condition(&mut status.conditions, condition);
        status
    }

    fn with_tenant_condition(&self, mut status: Status) -> Status {
        let (is_ready, reason, message) = match &self.tenant {
            Err(error) => {
                let error = for_users(error, &self.resource.spec.tenant_ref);
                (false, error.reason(), error.to_string())
            }
            Ok(TenantHandle { not_ready: Some((reason, message)), kept_domain, .. }) => {
                let hidden = hidden_credentials(*reason, &self.resource.spec.tenant_ref);
                let hidden =
                    hidden.map(|message| with_kept_domain(message, kept_domain.as_deref()));
                (false, *reason, hidden.unwrap_or_else(|| message.clone()))
            }
            Ok(_) => (true, Reason::Usable, String::new()),
        };
        let generation = status.observed_generation;
        let type_ = condition_types::TENANT_READY;
        let condition = Condition::new(type_, is_ready, reason, &message, generation, now());
        set_condition(&mut status.conditions, condition);
        status
    }

    /// Records where a rotation changes the secret, until it may have changed it.
    fn with_origin(&self, mut status: Status) -> Status {
        let stored = self.rotation();
        if let (Some(rotation), Ok(tenant)) = (&mut status.rotation, &self.tenant)
            && stored.is_none_or(|stored| {
                stored.number != rotation.number || observe::is_untouched(stored)
            })
        {
            rotation.origin = Some(tenant.value_origin.origin.clone());
        }
        status
    }

    fn log(&self, event: &EventRecord) {
        let ObjectKey { namespace, name } = &self.key;
        let EventRecord { reason, message, is_warning, .. } = event;
        if *is_warning {
            tracing::warn!(namespace, name, %reason, "{message}");
        } else {
            tracing::info!(namespace, name, %reason, "{message}");
        }
    }
}

/// Returns an error for the status of a resource, which names no Secret of another namespace.
pub(super) fn for_users(error: &Error, tenant: &TenantRef) -> Error {
    let Some(hidden) = hidden_credentials(error.reason(), tenant) else { return error.clone() };
    let hidden = auth0_client::Error::CredentialsUnreadable(hidden);
    match error {
        Error::NotSent(_) => Error::NotSent(hidden),
        _ => Error::Auth0(hidden),
    }
}

/// Returns the message for users of a ClusterAuth0Tenant about its credentials, which are in the
/// operator's namespace.
fn hidden_credentials(reason: Reason, tenant: &TenantRef) -> Option<String> {
    let is_hidden =
        reason == Reason::CredentialsUnreadable && tenant.kind == TenantKind::ClusterAuth0Tenant;
    is_hidden.then(|| {
        format!(
            "the credentials of the {} can't be used. Ask its administrator: its status names the \
             cause",
            describe_tenant(tenant)
        )
    })
}
