//! Command-line arguments.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use auth0_simulator::{
    Propagation, RateLimit, Simulator, SimulatorBuilder, WrongSecret, parse_duration,
};
use clap::{Parser, ValueEnum};

use crate::{BoxError, clients_file, read_file};

/// A stateful Auth0 simulator over HTTP for tests, demos and trials.
///
/// Serves POST /oauth/token (client credentials), POST /oauth/revoke and /api/v2/clients with
/// rotate-secret. A changed secret propagates to authentication within a window, as with Auth0.
///
/// An admin interface on a separate address controls clients and faults and shows counters and the
/// audit log: GET /healthz /clients /clients/{id} /faults /counters /audit /values, POST /clients
/// /clients/{id}/rotate /clients/{id}/accepts /faults, PUT /clients/{id} /clients/{id}/scopes,
/// DELETE /clients/{id} /faults /faults/{id}.
#[derive(Debug, Parser)]
#[command(name = "auth0-simulator", version)]
pub(crate) struct Cli {
    /// Address of Auth0's paths. Port 0 selects a free port.
    #[arg(long, env = "AUTH0_SIMULATOR_ADDR", default_value = "127.0.0.1:4010")]
    addr: SocketAddr,

    /// Address of the admin interface. It shows every secret: keep it on loopback.
    #[arg(long, env = "AUTH0_SIMULATOR_ADMIN_ADDR", default_value = "127.0.0.1:4011")]
    admin_addr: SocketAddr,

    /// Canonical domain of the tenant. {port} is replaced with the port of --addr.
    #[arg(long, env = "AUTH0_SIMULATOR_DOMAIN", default_value = "acme.eu.auth0.com")]
    domain: String,

    /// Audience of the Management API [default: https://{domain}/api/v2/].
    #[arg(long, env = "AUTH0_SIMULATOR_AUDIENCE")]
    audience: Option<String>,

    /// Audiences of other APIs that exist, separated by commas. Audiences of grants always exist.
    #[arg(long, env = "AUTH0_SIMULATOR_API", value_delimiter = ',')]
    api: Vec<String>,

    /// Seed for the random choices of propagation and of faults with a probability. Secrets and
    /// tokens don't depend on it.
    #[arg(long, env = "AUTH0_SIMULATOR_SEED", default_value_t = 0)]
    seed: u64,

    /// Window within which a changed secret reaches authentication, for example 0s..30s.
    #[arg(long, env = "AUTH0_SIMULATOR_PROPAGATION", default_value = "0s..30s")]
    propagation: Propagation,

    /// Rate limit of the Management API: requests per second and burst, for example 16/50, or off.
    #[arg(long, env = "AUTH0_SIMULATOR_RATE_LIMIT", default_value = "off", value_parser = parse_rate_limit)]
    rate_limit: RateLimitArg,

    /// Lifetime of access tokens, 1s to 30d.
    #[arg(long, env = "AUTH0_SIMULATOR_TOKEN_TTL", default_value = "24h", value_parser = parse_duration)]
    token_ttl: Duration,

    /// Error of /oauth/token for a wrong secret (status 401).
    #[arg(long, env = "AUTH0_SIMULATOR_WRONG_SECRET", value_enum, default_value = "access_denied")]
    wrong_secret: WrongSecretArg,

    /// Omit the secret from the response of rotate-secret for tokens without read:client_keys or
    /// read:client_credentials.
    #[arg(long, env = "AUTH0_SIMULATOR_ROTATE_HIDES_SECRET")]
    rotate_hides_secret: bool,

    /// PEM file with the certificate chain. Serves Auth0's paths over HTTPS.
    #[arg(long, env = "AUTH0_SIMULATOR_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// PEM file with the private key of the certificate.
    #[arg(long, env = "AUTH0_SIMULATOR_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// YAML or JSON file with a list of clients: {client_id, client_secret, name, scopes: […],
    /// grants: {audience: […]}, public_keys: [{pem, algorithm, kid}], fields: {…}}. All members are
    /// optional.
    #[arg(long, env = "AUTH0_SIMULATOR_CLIENTS")]
    clients: Option<PathBuf>,

    /// File to write when both addresses are ready: JSON with url, admin_url, addr, admin_addr,
    /// domain, audience and pid.
    #[arg(long, env = "AUTH0_SIMULATOR_READY_FILE")]
    pub(crate) ready_file: Option<PathBuf>,

    /// Exit when stdin closes, so that the simulator doesn't outlive its parent process.
    #[arg(long, env = "AUTH0_SIMULATOR_EXIT_ON_STDIN_EOF")]
    pub(crate) exit_on_stdin_eof: bool,

    /// Maximum size of a request body in bytes.
    #[arg(long, env = "AUTH0_SIMULATOR_BODY_LIMIT", default_value_t = 1024 * 1024)]
    body_limit: usize,

    /// Maximum number of entries in the audit log.
    #[arg(long, env = "AUTH0_SIMULATOR_AUDIT_CAPACITY", default_value_t = 100_000)]
    audit_capacity: usize,

    /// Log filter: a level or a tracing filter, for example debug or auth0_simulator=trace.
    #[arg(long, env = "AUTH0_SIMULATOR_LOG", default_value = "info")]
    pub(crate) log: String,

    /// Log format.
    #[arg(long, env = "AUTH0_SIMULATOR_LOG_FORMAT", value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum WrongSecretArg {
    AccessDenied,
    InvalidClient,
}

/// A rate limit or `off`. A newtype, because clap treats an `Option` as an optional argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RateLimitArg(Option<RateLimit>);

fn parse_rate_limit(text: &str) -> Result<RateLimitArg, String> {
    match text {
        "off" => Ok(RateLimitArg(None)),
        _ => Ok(RateLimitArg(Some(text.parse()?))),
    }
}

impl Cli {
    /// Converts the arguments to settings of the library. Reads the TLS and clients files.
    pub(crate) fn into_builder(self) -> Result<SimulatorBuilder, BoxError> {
        let mut builder = Simulator::builder()
            .addr(self.addr)
            .admin_addr(self.admin_addr)
            .domain(self.domain)
            .seed(self.seed)
            .propagation(self.propagation.into())
            .rate_limit(self.rate_limit.0)
            .token_ttl(self.token_ttl)
            .wrong_secret(match self.wrong_secret {
                WrongSecretArg::AccessDenied => WrongSecret::AccessDenied,
                WrongSecretArg::InvalidClient => WrongSecret::InvalidClient,
            })
            .rotate_shows_secret(!self.rotate_hides_secret)
            .body_limit(self.body_limit)
            .audit_capacity(self.audit_capacity);
        if let Some(audience) = self.audience {
            builder = builder.audience(audience);
        }
        for api in self.api {
            builder = builder.api(api);
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            builder = builder.tls(read_file(cert)?, read_file(key)?);
        }
        if let Some(path) = &self.clients {
            for client in clients_file::read(path)? {
                builder = builder.client(client);
            }
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_matching_environment_variable() {
        for argument in Cli::command().get_arguments() {
            let Some(flag) = argument.get_long() else { continue };
            let expected = format!("AUTH0_SIMULATOR_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(expected.as_str()));
            assert!(argument.get_help().is_some(), "{flag} has no help text");
        }
    }

    #[test]
    fn parses_flags() {
        let arguments = "auth0-simulator --rate-limit 16/50 --propagation 0s..30s --token-ttl 1h";
        let cli = Cli::try_parse_from(arguments.split(' ')).unwrap();
        assert_eq!(cli.rate_limit, RateLimitArg(Some(RateLimit::new(16, 50).unwrap())));
        assert_eq!(cli.token_ttl, Duration::from_secs(3_600));
        for (bad, hint) in [
            ("--rate-limit fast", "16/50"),
            ("--propagation 30s", "0s..30s"),
            ("--token-ttl soon", "24h"),
            ("--tls-cert a.pem", "--tls-key"),
        ] {
            let arguments = ["auth0-simulator"].into_iter().chain(bad.split(' '));
            let error = Cli::try_parse_from(arguments).unwrap_err().to_string();
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }
}
