//! State that all tasks of the test share.

use std::sync::atomic::{AtomicU64, Ordering};

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::Simulator;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use local_cluster::ControlPlane;
use testkit::{api_proxy::ApiProxy, login_tally::LoginTallies};

use crate::{
    checker::Checker,
    clients::{NAMESPACE, TestClient},
    history::History,
    operators::Operators,
};

/// State that all tasks share. The fields are dropped from top to bottom: first the operators, last the
/// control plane.
pub(crate) struct Context {
    pub(crate) operators: Operators,
    /// The operators reach the API server through it.
    pub(crate) api_proxy: ApiProxy,
    pub(crate) simulator: Simulator,
    pub(crate) client: Client,
    pub(crate) history: History,
    /// Logins by client.
    pub(crate) logins: LoginTallies,
    pub(crate) checker: Checker,
    pub(crate) counts: Counts,
    pub(crate) control_plane: ControlPlane,
}

impl Context {
    pub(crate) fn clients(&self) -> &[TestClient] {
        self.history.clients()
    }

    pub(crate) fn rotations(&self) -> Api<ClientSecretRotation> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

/// How often something was done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) kills: Counter,
    pub(crate) pauses: Counter,
    pub(crate) api_server_restarts: Counter,
    pub(crate) requests: Counter,
    pub(crate) revocations: Counter,
    pub(crate) dashboard_rotations: Counter,
    pub(crate) deletions: Counter,
    pub(crate) edits: Counter,
    pub(crate) wipes: Counter,
    pub(crate) fights: Counter,
    pub(crate) clock_jumps: Counter,
    /// Lost responses that were followed by a rejected retry, if it came to that.
    pub(crate) lost_then_rejected: Counter,
    /// Changes at Auth0 by a process that was paused just before it sent the request.
    pub(crate) stale_changes: Counter,
    /// Changes at Auth0 whose record may be lost, because the API server was killed before it wrote
    /// its audit log.
    pub(crate) unproven_changes: Counter,
    /// Failed logins with a list that the test itself provided too late.
    pub(crate) late_logins: Counter,
}

/// Number that only increases.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
