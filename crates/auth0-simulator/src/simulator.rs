//! The handle on a running simulator.

use std::net::SocketAddr;
use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::audit::AuditEntry;
use crate::builder::SimulatorBuilder;
use crate::counters::Counters;
use crate::engine::Engine;
use crate::error::SeedError;
use crate::faults::Fault;
use crate::faults::queue::OrderedFault;
use crate::tenant::client::ClientSeed;
use crate::tenant::values::ValuesEver;

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
    engine: Arc<Engine>,
    url: String,
    admin_url: String,
    addr: SocketAddr,
    admin_addr: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator")
            .field("url", &self.url)
            .field("admin_url", &self.admin_url)
            .finish_non_exhaustive()
    }
}

impl Simulator {
    /// Settings to start from: HTTP on loopback, propagation within 0 to 30 s, no rate limit.
    pub fn builder() -> SimulatorBuilder {
        SimulatorBuilder::default()
    }

    pub(crate) fn new(
        engine: Arc<Engine>,
        (url, admin_url): (String, String),
        addr: SocketAddr,
        admin_addr: SocketAddr,
        stop: watch::Sender<bool>,
        tasks: Vec<JoinHandle<()>>,
    ) -> Self {
        Self { engine, url, admin_url, addr, admin_addr, stop, tasks }
    }

    /// Where Auth0's paths are, without a slash at the end: `http://127.0.0.1:41234`, or
    /// `https://…` with TLS.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the admin interface is: `http://127.0.0.1:41235`.
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// The address of Auth0's paths.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of the admin interface.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// The tenant's domain.
    pub fn domain(&self) -> String {
        self.engine.state().tenant.settings.domain.clone()
    }

    /// The Management API's audience.
    pub fn audience(&self) -> String {
        self.engine.state().tenant.settings.audience.clone()
    }

    /// Puts a client into the tenant, in the place of one with the same id, and returns its id.
    ///
    /// # Errors
    ///
    /// [`SeedError`] when the id, the secret or a field can't be taken.
    pub fn add_client(&self, client: ClientSeed) -> Result<String, SeedError> {
        let now = self.engine.now();
        self.engine.state().tenant.seed(client, now)
    }

    /// Takes a client away; whether there was one.
    pub fn remove_client(&self, client_id: &str) -> bool {
        self.engine.state().tenant.remove(client_id)
    }

    /// Replaces the scopes granted for the Management API; none takes the grant away. Tokens
    /// minted before keep theirs.
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
        self.engine.state().tenant.set_scopes(client_id, scopes)
    }

    /// The secret that the Management API shows now, whether or not authentication accepts it
    /// yet.
    pub fn client_secret(&self, client_id: &str) -> Option<SecretString> {
        let state = self.engine.state();
        state.tenant.clients().get(client_id).map(|client| client.credential.current().clone())
    }

    /// Rotates a secret as somebody at the dashboard would, and returns the new one.
    ///
    /// # Errors
    ///
    /// [`SeedError::UnknownClient`].
    pub fn dashboard_rotate(&self, client_id: &str) -> Result<SecretString, SeedError> {
        self.engine.dashboard_change(client_id, None)
    }

    /// Changes a secret at the dashboard to a value. It propagates like any other change.
    ///
    /// # Errors
    ///
    /// [`SeedError::UnknownClient`], [`SeedError::EmptySecret`].
    pub fn set_client_secret(
        &self,
        client_id: &str,
        value: impl Into<SecretString>,
    ) -> Result<(), SeedError> {
        self.engine.dashboard_change(client_id, Some(value.into())).map(drop)
    }

    /// Whether authentication accepts the value at this moment. Nothing is counted or logged.
    pub fn accepts(&self, client_id: &str, value: &str) -> bool {
        let now = self.engine.now();
        self.engine.state().tenant.accepts(client_id, value, now)
    }

    /// The queue of faults.
    pub fn faults(&self) -> Faults<'_> {
        Faults { engine: &self.engine }
    }

    /// The numbers since the start.
    pub fn counters(&self) -> Counters {
        self.engine.state().counters.clone()
    }

    /// The audit log's entries after number `since` (0: all that are still kept), oldest first.
    pub fn audit_log(&self, since: u64) -> Vec<AuditEntry> {
        self.engine.state().audit.since(since).cloned().collect()
    }

    /// Every client secret and token that ever existed, to search outputs for.
    pub fn values_ever(&self) -> ValuesEver {
        self.engine.state().tenant.values().all()
    }

    /// Every secret that a client has had, oldest first, beginning with the one it was added with:
    /// the first `n` changes that the audit log tells of made the first `n` after that.
    pub fn client_secrets_ever(&self, client_id: &str) -> Vec<SecretString> {
        self.engine.state().tenant.values().of_client(client_id)
    }

    /// Stops both listeners. Answers under way have two seconds; delayed ones are cut.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            // A task that panicked has stopped as well.
            let _ = task.await;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// The queue of faults of a [`Simulator`].
#[derive(Clone, Copy)]
pub struct Faults<'a> {
    engine: &'a Engine,
}

impl Faults<'_> {
    /// Adds a fault to the end of the queue and returns its number.
    ///
    /// # Errors
    ///
    /// A text that says what about the fault can't work.
    pub fn order(&self, fault: Fault) -> Result<u64, String> {
        self.engine.state().faults.order(fault)
    }

    /// The faults that are left, in order.
    pub fn list(&self) -> Vec<OrderedFault> {
        self.engine.state().faults.list().to_vec()
    }

    /// Takes one back; whether it was there.
    pub fn remove(&self, id: u64) -> bool {
        self.engine.state().faults.remove(id)
    }

    /// Takes all back.
    pub fn clear(&self) {
        self.engine.state().faults.clear();
    }
}
