//! Handle of a running simulator.

use std::{net::SocketAddr, sync::Arc};

use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    audit::AuditEntry,
    builder::SimulatorBuilder,
    client_rate_limit::ClientRateLimit,
    counters::Counters,
    error::SeedError,
    faults::{Fault, InjectedFault},
    operation::Operation,
    rate_limit::{RateLimit, RateLimiter},
    shared_state::SharedState,
    tenant::{client::ClientSeed, value_history::ValueHistory},
};

/// A running simulator. Dropping it stops both listeners.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::time::Duration;
/// use auth0_simulator::{ClientSeed, Simulator};
///
/// let simulator = Simulator::builder()
///     .domain("acme.eu.auth0.com")
///     .seed(1)
///     .propagation(Duration::ZERO..=Duration::from_secs(30))
///     .start()
///     .await?;
/// simulator.add_client(ClientSeed::new("shop").secret("old"))?;
/// assert!(simulator.accepts("shop", "old"));
/// assert!(simulator.url().starts_with("http://127.0.0.1:"));
/// simulator.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Simulator {
    shared: Arc<SharedState>,
    endpoints: Endpoints,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Addresses and URLs of a running simulator.
pub(crate) struct Endpoints {
    pub(crate) url: String,
    pub(crate) admin_url: String,
    pub(crate) addr: SocketAddr,
    pub(crate) admin_addr: SocketAddr,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator")
            .field("url", &self.endpoints.url)
            .field("admin_url", &self.endpoints.admin_url)
            .finish_non_exhaustive()
    }
}

impl Simulator {
    /// Returns the default settings: HTTP on loopback, propagation within 0 to 30 s, no rate limit.
    pub fn builder() -> SimulatorBuilder {
        SimulatorBuilder::default()
    }

    pub(crate) fn new(
        shared: Arc<SharedState>,
        endpoints: Endpoints,
        stop: watch::Sender<bool>,
        tasks: Vec<JoinHandle<()>>,
    ) -> Self {
        Self { shared, endpoints, stop, tasks }
    }

    /// Returns the base URL of Auth0's paths without a trailing slash: `http://127.0.0.1:41234`, or
    /// `https://…` with TLS.
    pub fn url(&self) -> &str {
        &self.endpoints.url
    }

    /// Returns the base URL of the admin interface: `http://127.0.0.1:41235`.
    pub fn admin_url(&self) -> &str {
        &self.endpoints.admin_url
    }

    /// Returns the address of Auth0's paths.
    pub fn addr(&self) -> SocketAddr {
        self.endpoints.addr
    }

    /// Returns the address of the admin interface.
    pub fn admin_addr(&self) -> SocketAddr {
        self.endpoints.admin_addr
    }

    /// Returns the tenant's domain.
    pub fn domain(&self) -> String {
        self.shared.lock().tenant.settings.domain.clone()
    }

    /// Returns the audience of the Management API.
    pub fn audience(&self) -> String {
        self.shared.lock().tenant.settings.audience.clone()
    }

    /// Adds a client and returns its id. Replaces an existing client with the same id.
    ///
    /// # Errors
    ///
    /// [`SeedError`] if the id, the secret, a key or a field is invalid.
    pub fn add_client(&self, client: ClientSeed) -> Result<String, SeedError> {
        let now = self.shared.now();
        self.shared.lock().tenant.seed(client, now)
    }

    /// Removes a client and returns whether it existed.
    pub fn remove_client(&self, client_id: &str) -> bool {
        self.shared.lock().tenant.remove(client_id)
    }

    /// Replaces the scopes granted for the Management API. An empty list removes the grant. Existing
    /// tokens keep their scopes.
    ///
    /// # Errors
    ///
    /// [`SeedError::UnknownClient`].
    pub fn set_scopes<S: Into<String>>(
        &self,
        client_id: &str,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<(), SeedError> {
        let scopes = scopes.into_iter().map(Into::into).collect();
        self.shared.lock().tenant.set_scopes(client_id, scopes)
    }

    /// Changes fields of a client as a user of the dashboard would; its secret stays. `null` removes a
    /// field. Read-only fields such as `external_metadata_type` are accepted too.
    ///
    /// # Errors
    ///
    /// [`SeedError::UnknownClient`], [`SeedError::BadField`].
    pub fn set_client_fields(
        &self,
        client_id: &str,
        fields: Map<String, Value>,
    ) -> Result<(), SeedError> {
        self.shared.lock().tenant.set_fields(client_id, fields)
    }

    /// Returns the secret that the Management API shows now. Authentication might not accept it yet.
    pub fn client_secret(&self, client_id: &str) -> Option<SecretString> {
        let state = self.shared.lock();
        state.tenant.clients().get(client_id).map(|client| client.secret.current().clone())
    }

    /// Rotates a secret as a user of the dashboard would, and returns the new one.
    ///
    /// # Errors
    ///
    /// [`SeedError::UnknownClient`].
    pub fn dashboard_rotate(&self, client_id: &str) -> Result<SecretString, SeedError> {
        self.shared.dashboard_change(client_id, None)
    }

    /// Sets a secret to a value as a user of the dashboard would. It propagates like any other
    /// change.
    ///
    /// # Errors
    ///
    /// [`SeedError::UnknownClient`], [`SeedError::EmptySecret`].
    pub fn set_client_secret(
        &self,
        client_id: &str,
        value: impl Into<SecretString>,
    ) -> Result<(), SeedError> {
        self.shared.dashboard_change(client_id, Some(value.into())).map(drop)
    }

    /// Replaces the rate limit of the Management API. The new bucket starts full.
    pub fn set_rate_limit(&self, limit: impl Into<Option<RateLimit>>) {
        self.shared.lock().rate_limiter = RateLimiter::new(limit.into());
    }

    /// Replaces the rate limit of the reads of clients, see [`SimulatorBuilder::read_rate_limit`].
    pub fn set_read_rate_limit(&self, limit: impl Into<Option<RateLimit>>) {
        self.shared.lock().read_rate_limiter =
            limit.into().map(|limit| RateLimiter::new(Some(limit)));
    }

    /// Sets or removes the limit of one client's requests to the Authentication API. A new limit
    /// starts a new window.
    ///
    /// # Errors
    ///
    /// A message that says which value of the limit is invalid.
    pub fn set_client_rate_limit(
        &self,
        client_id: &str,
        limit: impl Into<Option<ClientRateLimit>>,
    ) -> Result<(), String> {
        self.shared.lock().client_rate_limiters.set(client_id, limit.into())
    }

    /// Returns whether authentication accepts the value now. The check is neither counted nor
    /// logged.
    pub fn accepts(&self, client_id: &str, value: &str) -> bool {
        let now = self.shared.now();
        self.shared.lock().tenant.accepts(client_id, value, now)
    }

    /// Returns the queue of injected faults.
    pub fn faults(&self) -> Faults<'_> {
        Faults { shared: &self.shared }
    }

    /// Returns the counters since the start.
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters.clone()
    }

    /// Returns the number of requests of one operation since the start, with any status.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.shared.lock().counters.requests(operation)
    }

    /// Returns the audit log's entries after number `since`, oldest first; 0 returns all entries
    /// that are still kept.
    pub fn audit_log(&self, since: u64) -> Vec<AuditEntry> {
        self.shared.lock().audit.since(since).cloned().collect()
    }

    /// Returns every client secret and token that ever existed, for leak searches.
    pub fn value_history(&self) -> ValueHistory {
        self.shared.lock().tenant.values().snapshot()
    }

    /// Returns every secret that a client has had, oldest first. The first one is its initial secret,
    /// and each change of the secret in the audit log adds the next one.
    pub fn client_secret_history(&self, client_id: &str) -> Vec<SecretString> {
        self.shared.lock().tenant.values().secrets_of(client_id)
    }

    /// Stops both listeners. Responses in progress have two seconds to complete; delayed ones are
    /// cut.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            // A task that panicked has also stopped.
            let _ = task.await;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Queue of the faults injected into a [`Simulator`].
#[derive(Clone, Copy)]
pub struct Faults<'a> {
    shared: &'a SharedState,
}

impl Faults<'_> {
    /// Appends a fault to the queue and returns its number.
    ///
    /// # Errors
    ///
    /// A message that says which value of the fault is invalid, or that the queue is full.
    pub fn inject(&self, fault: Fault) -> Result<u64, String> {
        self.shared.lock().faults.inject(fault)
    }

    /// Returns the remaining faults in injection order.
    pub fn list(&self) -> Vec<InjectedFault> {
        self.shared.lock().faults.list().to_vec()
    }

    /// Removes a fault and returns whether it was in the queue.
    pub fn remove(&self, id: u64) -> bool {
        self.shared.lock().faults.remove(id)
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.shared.lock().faults.clear();
    }
}
