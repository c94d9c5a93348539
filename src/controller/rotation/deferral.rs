//! Statuses that wait: a status that only reports progress is stored with the next one that must be, or
//! when a call to Auth0 takes long.

use std::{pin::pin, sync::LazyLock, time::Duration};

use rotation::{Status, Step};

use super::{consumers, execute::execute, reconcile::Reconciliation};
use crate::{
    api::ClientSecretRotation,
    controller::{error::Error, write_budget::kind_of_status},
};

/// How long a call to Auth0 takes before a status that waits is stored meanwhile, so that users see the
/// progress.
const SHOWN_AFTER: Duration = Duration::from_secs(5);

/// The status of a resource that has none.
static NO_STATUS: LazyLock<Status> = LazyLock::new(Status::default);

impl Reconciliation<'_> {
    /// Returns the status that the next decision goes by.
    pub(super) fn status(&self) -> &Status {
        self.resource.status.as_ref().unwrap_or(&NO_STATUS)
    }

    /// Returns the status on the API server.
    pub(super) fn stored_status(&self) -> &Status {
        self.stored_status.as_ref().unwrap_or_else(|| self.status())
    }

    /// Keeps a status that may wait, as the input of the next decision.
    pub(super) fn defer_status(&mut self, status: Status) {
        if *self.status() == status {
            return;
        }
        let restarted_for = consumers::restart_key(self);
        let before = self.resource.status.replace(status).unwrap_or_default();
        let stored = self.stored_status.take().unwrap_or(before);
        self.stored_status = (stored != *self.status()).then_some(stored);
        if consumers::restart_key(self) != restarted_for {
            self.readings.rollouts = None;
        }
    }

    /// Takes the resource after a write of its metadata, which does not change its status. One that
    /// waits still does.
    pub(super) fn set_metadata_of(&mut self, resource: ClientSecretRotation) {
        let waiting = self.stored_status.is_some().then(|| self.status().clone());
        self.set_resource(resource);
        if let Some(status) = waiting {
            self.defer_status(status);
        }
    }

    /// Stores a status that waits.
    pub(super) async fn store_deferred(&mut self) -> Result<(), Error> {
        if self.stored_status.is_none() {
            return Ok(());
        }
        let status = self.status().clone();
        self.store_status(status, None).await
    }

    /// Executes a step. A status that waits is stored meanwhile if Auth0 takes long.
    pub(super) async fn execute_and_show(&mut self, step: Step) -> Result<(), Error> {
        let is_call = matches!(
            step,
            Step::ReadClient
                | Step::CheckClient
                | Step::ProbeRandomValue
                | Step::ProbeSecret
                | Step::ProbeFallback
                | Step::ProbeRevoked
        );
        if !is_call || self.stored_status.is_none() {
            return execute(self, step).await;
        }
        let controller = self.controller;
        let (api, uid) = (self.api.clone(), self.uid.clone());
        let (resource, stored) = (self.resource.clone(), self.stored_status().clone());
        let status = self.status().clone();
        let store = async {
            let kind = kind_of_status(&stored, &status);
            // A budget that is used up is reported when the status has to be stored.
            controller.states.with(&uid, |state| state.writes.take(kind)).ok()?;
            let fence = controller.context.fence();
            Some(api.store_status(&resource, status.clone(), fence).await)
        };
        let (result, shown) = {
            let mut executed = pin!(execute(self, step));
            match tokio::time::timeout(SHOWN_AFTER, &mut executed).await {
                Ok(result) => (result, None),
                Err(_) => tokio::join!(executed, store),
            }
        };
        match shown {
            Some(Ok(resource)) => self.note_stored(&stored, &status, resource),
            Some(Err(error)) => return Err(error),
            None => {}
        }
        result
    }
}
