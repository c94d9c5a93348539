//! Builder of a simulator: settings, their validation, and the start.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch};

use crate::{
    admin,
    audit::AuditLog,
    client_rate_limit::{ClientRateLimit, ClientRateLimiters},
    clock::{Clock, RealClock},
    counters::Counters,
    error::StartError,
    faults::queue::FaultQueue,
    propagation::Propagation,
    rate_limit::{RateLimit, RateLimiter},
    server::Server,
    shared_state::{SharedState, State},
    simulator::{Endpoints, Simulator},
    tenant::{RevocationAuth, Tenant, TenantSettings, WrongSecret, client::ClientSeed},
    tls::TlsIdentity,
};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const MAX_TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 3_600);
const MAX_BODY_LIMIT: usize = 64 * 1024 * 1024;

/// Settings of a [`Simulator`]. Created by [`Simulator::builder`].
#[must_use]
pub struct SimulatorBuilder {
    addr: SocketAddr,
    admin_addr: SocketAddr,
    domain: String,
    audience: Option<String>,
    apis: BTreeSet<String>,
    seed: u64,
    propagation: Result<Propagation, String>,
    rate_limit: Option<RateLimit>,
    read_rate_limit: Option<RateLimit>,
    client_rate_limits: Vec<(String, ClientRateLimit)>,
    token_ttl: Duration,
    wrong_secret: WrongSecret,
    revocation_auth: RevocationAuth,
    rotate_shows_secret: bool,
    tls: Option<TlsIdentity>,
    clients: Vec<ClientSeed>,
    clock: Arc<dyn Clock>,
    body_limit: usize,
    audit_capacity: usize,
}

impl Default for SimulatorBuilder {
    fn default() -> Self {
        Self {
            addr: LOOPBACK,
            admin_addr: LOOPBACK,
            domain: "acme.eu.auth0.com".into(),
            audience: None,
            apis: BTreeSet::new(),
            seed: 0,
            propagation: Ok(Propagation::AUTH0),
            rate_limit: None,
            read_rate_limit: None,
            client_rate_limits: Vec::new(),
            token_ttl: Duration::from_secs(86_400),
            wrong_secret: WrongSecret::default(),
            revocation_auth: RevocationAuth::default(),
            rotate_shows_secret: true,
            tls: None,
            clients: Vec::new(),
            clock: Arc::new(RealClock::new()),
            body_limit: 1024 * 1024,
            audit_capacity: 100_000,
        }
    }
}

impl SimulatorBuilder {
    /// Sets the address of Auth0's paths. Default `127.0.0.1:0`, a free port on loopback.
    pub fn addr(mut self, addr: SocketAddr) -> Self {
        self.addr = addr;
        self
    }

    /// Sets the address of the admin interface, which never uses TLS. Default `127.0.0.1:0`.
    pub fn admin_addr(mut self, addr: SocketAddr) -> Self {
        self.admin_addr = addr;
        self
    }

    /// Sets the tenant's canonical domain. `{port}` is replaced with the port of Auth0's paths, for
    /// clients that derive the address from the domain: `localhost:{port}`. Default
    /// `acme.eu.auth0.com`.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// Sets the audience of the Management API. Default `https://{domain}/api/v2/`.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Adds an API that no client has a grant for. The error for its audience says that the grant is
    /// missing, not that the service is unknown.
    pub fn api(mut self, audience: impl Into<String>) -> Self {
        self.apis.insert(audience.into());
        self
    }

    /// Seeds the random choices of propagation and of faults with a probability. Secrets and tokens
    /// don't depend on it. Default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the propagation window of a changed secret. Default 0 to 30 s.
    pub fn propagation(mut self, window: RangeInclusive<Duration>) -> Self {
        self.propagation = Propagation::new(window);
        self
    }

    /// Sets the rate limit of the Management API. Default: none.
    pub fn rate_limit(mut self, limit: impl Into<Option<RateLimit>>) -> Self {
        self.rate_limit = limit.into();
        self
    }

    /// Gives the reads of clients a rate limit of their own, as self-service plans do. The limit of
    /// everything else is then not reported in headers. Default: one limit for the whole API.
    pub fn read_rate_limit(mut self, limit: impl Into<Option<RateLimit>>) -> Self {
        self.read_rate_limit = limit.into();
        self
    }

    /// Limits the requests of one client to the Authentication API. Default: none.
    pub fn client_rate_limit(
        mut self,
        client_id: impl Into<String>,
        limit: ClientRateLimit,
    ) -> Self {
        self.client_rate_limits.push((client_id.into(), limit));
        self
    }

    /// Sets the lifetime of access tokens, 1 s to 30 days. Default 24 h.
    pub fn token_ttl(mut self, ttl: Duration) -> Self {
        self.token_ttl = ttl;
        self
    }

    /// Sets the token endpoint's error for a wrong secret. Default [`WrongSecret::AccessDenied`].
    pub fn wrong_secret(mut self, error: WrongSecret) -> Self {
        self.wrong_secret = error;
        self
    }

    /// Sets which clients `POST /oauth/revoke` authenticates. Default [`RevocationAuth::AllClients`].
    pub fn revocation_auth(mut self, auth: RevocationAuth) -> Self {
        self.revocation_auth = auth;
        self
    }

    /// Sets whether the response of rotate-secret contains the secret even if the token has neither
    /// `read:client_keys` nor `read:client_credentials`. Auth0 doesn't document it. Default true.
    pub fn rotate_shows_secret(mut self, shows: bool) -> Self {
        self.rotate_shows_secret = shows;
        self
    }

    /// Serves Auth0's paths over HTTPS with this certificate chain and key, both PEM.
    pub fn tls(mut self, certificates: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls = Some(TlsIdentity { certificates: certificates.into(), key: key.into() });
        self
    }

    /// Adds a client.
    pub fn client(mut self, client: ClientSeed) -> Self {
        self.clients.push(client);
        self
    }

    /// Sets the clock. Default [`RealClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the maximum size of a request body in bytes, at most 64 MiB. Default 1 MiB.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Sets how many entries the audit log keeps. Default 100,000.
    pub fn audit_capacity(mut self, entries: usize) -> Self {
        self.audit_capacity = entries;
        self
    }

    /// Listens on both addresses and serves requests on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`] names the invalid setting, client, address or certificate.
    pub async fn start(self) -> Result<Simulator, StartError> {
        self.validate()?;
        let tls = self.tls.as_ref().map(TlsIdentity::acceptor).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (listener, addr) = listen(self.addr).await?;
        let (admin_listener, admin_addr) = listen(self.admin_addr).await?;
        let body_limit = self.body_limit;
        let shared = Arc::new(self.into_shared_state(addr.port())?);

        let (stop_sender, stop) = watch::channel(false);
        let server = Server { shared: Arc::clone(&shared), tls, body_limit, stop: stop.clone() };
        let tasks = vec![
            tokio::spawn(server.run(listener)),
            tokio::spawn(admin::run(admin_listener, Arc::clone(&shared), stop)),
        ];
        let endpoints = Endpoints {
            url: format!("{scheme}://{addr}"),
            admin_url: format!("http://{admin_addr}"),
            addr,
            admin_addr,
        };
        Ok(Simulator::new(shared, endpoints, stop_sender, tasks))
    }

    fn validate(&self) -> Result<(), StartError> {
        if let Err(error) = &self.propagation {
            return Err(StartError::Setting(error.clone()));
        }
        let domain = &self.domain;
        if domain.is_empty() || domain.contains(|c: char| c == '/' || c.is_whitespace()) {
            return Err(StartError::Setting(format!(
                "invalid domain {domain:?}: write it without scheme and path, for example \
                 acme.eu.auth0.com"
            )));
        }
        if self.token_ttl < Duration::from_secs(1) || self.token_ttl > MAX_TOKEN_TTL {
            return Err(StartError::Setting(format!(
                "invalid token lifetime {:?}: use 1s to 30d, for example 24h",
                self.token_ttl
            )));
        }
        if self.body_limit == 0 || self.body_limit > MAX_BODY_LIMIT {
            return Err(StartError::Setting(format!(
                "invalid body limit {}: use 1 to {MAX_BODY_LIMIT} bytes, for example 1048576",
                self.body_limit
            )));
        }
        Ok(())
    }

    /// Creates the initial state with the seeded clients.
    fn into_shared_state(self, port: u16) -> Result<SharedState, StartError> {
        let domain = self.domain.replace("{port}", &port.to_string());
        let audience = self.audience.unwrap_or_else(|| format!("https://{domain}/api/v2/"));
        let mut tenant = Tenant::new(TenantSettings {
            domain,
            audience,
            apis: self.apis,
            seed: self.seed,
            propagation: self.propagation.unwrap_or_default(),
            token_ttl: self.token_ttl,
            wrong_secret: self.wrong_secret,
            revocation_auth: self.revocation_auth,
            rotate_shows_secret: self.rotate_shows_secret,
        });
        for client in self.clients {
            let client_id = client.client_id.clone();
            tenant
                .seed(client, self.clock.now())
                .map_err(|source| StartError::Seed { client_id, source })?;
        }
        let mut client_rate_limiters = ClientRateLimiters::default();
        for (client_id, limit) in self.client_rate_limits {
            client_rate_limiters.set(&client_id, Some(limit)).map_err(StartError::Setting)?;
        }
        let state = State {
            tenant,
            rate_limiter: RateLimiter::new(self.rate_limit),
            read_rate_limiter: self.read_rate_limit.map(|limit| RateLimiter::new(Some(limit))),
            client_rate_limiters,
            faults: FaultQueue::new(self.seed),
            audit: AuditLog::new(self.audit_capacity),
            counters: Counters::default(),
        };
        Ok(SharedState::new(state, self.clock))
    }
}

/// Binds the address and returns the listener with its actual address.
async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listen_error = |source| StartError::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(listen_error)?;
    let local_addr = listener.local_addr().map_err(listen_error)?;
    Ok((listener, local_addr))
}
