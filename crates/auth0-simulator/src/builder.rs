//! Settings, their checks, and the start.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admin;
use crate::audit::AuditLog;
use crate::clock::{Clock, RealClock};
use crate::counters::Counters;
use crate::engine::{Engine, State};
use crate::error::StartError;
use crate::faults::queue::FaultQueue;
use crate::propagation::Propagation;
use crate::ratelimit::{Limiter, RateLimit};
use crate::server::Server;
use crate::simulator::Simulator;
use crate::tenant::client::ClientSeed;
use crate::tenant::{Tenant, TenantSettings, WrongSecret};
use crate::tls::Identity;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const LONGEST_TTL: Duration = Duration::from_secs(30 * 24 * 3_600);
const LARGEST_BODY: usize = 64 * 1024 * 1024;

/// How a [`Simulator`] is to be. Made by [`Simulator::builder`].
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
    token_ttl: Duration,
    wrong_secret: WrongSecret,
    rotate_shows_secret: bool,
    tls: Option<Identity>,
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
            token_ttl: Duration::from_secs(86_400),
            wrong_secret: WrongSecret::default(),
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
    /// Where Auth0's paths are served. Default `127.0.0.1:0`, a free port on loopback.
    pub fn addr(mut self, addr: SocketAddr) -> Self {
        self.addr = addr;
        self
    }

    /// Where the admin interface is served, always without TLS. Default `127.0.0.1:0`.
    pub fn admin_addr(mut self, addr: SocketAddr) -> Self {
        self.admin_addr = addr;
        self
    }

    /// The tenant's canonical domain. `{port}` in it becomes the port of Auth0's paths, for
    /// clients that make the address from the domain: `localhost:{port}`. Default
    /// `acme.eu.auth0.com`.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// The Management API's audience. Default `https://{domain}/api/v2/`.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// An API that exists without a grant for it: a client that asks for its audience hears that
    /// it has none, not that the service is unknown.
    pub fn api(mut self, audience: impl Into<String>) -> Self {
        self.apis.insert(audience.into());
        self
    }

    /// Decides what propagation and the probabilities of faults draw, but no value. Default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The window in which authentication learns of a changed secret. Default 0 to 30 s.
    pub fn propagation(mut self, window: RangeInclusive<Duration>) -> Self {
        self.propagation = Propagation::new(window);
        self
    }

    /// The Management API's rate limit. Default: none.
    pub fn rate_limit(mut self, limit: impl Into<Option<RateLimit>>) -> Self {
        self.rate_limit = limit.into();
        self
    }

    /// How long access tokens are good, 1 s to 30 days. Default 24 h.
    pub fn token_ttl(mut self, ttl: Duration) -> Self {
        self.token_ttl = ttl;
        self
    }

    /// How the token endpoint refuses a wrong secret. Default [`WrongSecret::AccessDenied`].
    pub fn wrong_secret(mut self, answer: WrongSecret) -> Self {
        self.wrong_secret = answer;
        self
    }

    /// Whether rotate-secret answers with the secret even when the token has neither
    /// `read:client_keys` nor `read:client_credentials`; Auth0 doesn't document it. Default true.
    pub fn rotate_shows_secret(mut self, shows: bool) -> Self {
        self.rotate_shows_secret = shows;
        self
    }

    /// Serves Auth0's paths over HTTPS with this certificate chain and key, both PEM.
    pub fn tls(mut self, certificates: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls = Some(Identity { certificates: certificates.into(), key: key.into() });
        self
    }

    /// A client that is there from the start.
    pub fn client(mut self, client: ClientSeed) -> Self {
        self.clients.push(client);
        self
    }

    /// The clock. Default [`RealClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The largest request body in bytes, at most 64 MiB. Default 1 MiB.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// How many entries the audit log keeps. Default 100 000.
    pub fn audit_capacity(mut self, entries: usize) -> Self {
        self.audit_capacity = entries;
        self
    }

    /// Listens on both addresses and serves on the present tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`] says which setting, client, address or certificate is at fault.
    pub async fn start(self) -> Result<Simulator, StartError> {
        self.check()?;
        let tls = self.tls.as_ref().map(Identity::acceptor).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (listener, addr) = listen(self.addr).await?;
        let (admin_listener, admin_addr) = listen(self.admin_addr).await?;
        let body_limit = self.body_limit;
        let engine = Arc::new(self.engine(addr.port())?);

        let (stop_sender, stop) = watch::channel(false);
        let server = Server { engine: Arc::clone(&engine), tls, body_limit, stop: stop.clone() };
        let tasks = vec![
            tokio::spawn(server.run(listener)),
            tokio::spawn(admin::run(admin_listener, Arc::clone(&engine), stop)),
        ];
        let urls = (format!("{scheme}://{addr}"), format!("http://{admin_addr}"));
        Ok(Simulator::new(engine, urls, addr, admin_addr, stop_sender, tasks))
    }

    fn check(&self) -> Result<(), StartError> {
        let setting = |text: String| Err(StartError::Setting(text));
        if let Err(error) = &self.propagation {
            return setting(error.clone());
        }
        let domain = &self.domain;
        if domain.is_empty() || domain.contains(|c: char| c == '/' || c.is_whitespace()) {
            return setting(format!(
                "{domain:?} is not a domain: write it without scheme and path, for example \
                 acme.eu.auth0.com"
            ));
        }
        if self.token_ttl < Duration::from_secs(1) || self.token_ttl > LONGEST_TTL {
            return setting(format!(
                "tokens can't be good for {:?}: choose 1s to 30d",
                self.token_ttl
            ));
        }
        if self.body_limit == 0 || self.body_limit > LARGEST_BODY {
            return setting(format!(
                "a body limit of {} bytes is not between 1 and {LARGEST_BODY}",
                self.body_limit
            ));
        }
        Ok(())
    }

    /// The state with its first clients.
    fn engine(self, port: u16) -> Result<Engine, StartError> {
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
            rotate_shows_secret: self.rotate_shows_secret,
        });
        for client in self.clients {
            let client_id = client.client_id.clone();
            let seeded = tenant.seed(client, self.clock.now());
            seeded.map_err(|source| StartError::Seed { client_id, source })?;
        }
        let state = State {
            tenant,
            limiter: Limiter::new(self.rate_limit),
            faults: FaultQueue::new(self.seed),
            audit: AuditLog::new(self.audit_capacity),
            counters: Counters::default(),
        };
        Ok(Engine::new(state, self.clock))
    }
}

async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async {
        let listener = TcpListener::bind(addr).await?;
        let actual = listener.local_addr()?;
        Ok((listener, actual))
    };
    bound.await.map_err(|source| StartError::Listen { addr, source })
}
