//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use auth0_simulator::{
    Propagation, RateLimit, Simulator, SimulatorBuilder, WrongSecret, parse_duration,
};
use clap::{Parser, ValueEnum};

use crate::{Failure, files};

/// A stateful Auth0 over HTTP for tests, demos and trials.
///
/// Serves POST /oauth/token (client credentials), POST /oauth/revoke and /api/v2/clients with
/// rotate-secret. A changed secret reaches authentication within a window, as with Auth0. Clients,
/// faults, counters and the audit log are behind the admin interface on an address of its own:
/// GET /healthz /clients /faults /counters /audit /values, POST /clients /faults
/// /clients/{id}/rotate /clients/{id}/accepts, PUT /clients/{id} /clients/{id}/scopes,
/// DELETE /clients/{id} /faults /faults/{id}.
#[derive(Debug, Parser)]
#[command(name = "auth0-simulator", version)]
pub(crate) struct Cli {
    /// Where Auth0's paths are served; port 0 chooses a free one.
    #[arg(long, env = "AUTH0_SIMULATOR_ADDR", default_value = "127.0.0.1:4010")]
    addr: SocketAddr,

    /// Where the admin interface is served. It shows every secret: keep it on loopback.
    #[arg(long, env = "AUTH0_SIMULATOR_ADMIN_ADDR", default_value = "127.0.0.1:4011")]
    admin_addr: SocketAddr,

    /// The tenant's canonical domain; {port} in it becomes the port of --addr.
    #[arg(long, env = "AUTH0_SIMULATOR_DOMAIN", default_value = "acme.eu.auth0.com")]
    domain: String,

    /// The Management API's audience [default: https://{domain}/api/v2/].
    #[arg(long, env = "AUTH0_SIMULATOR_AUDIENCE")]
    audience: Option<String>,

    /// Audiences of APIs that exist beside it, separated by commas. Those of grants exist anyway.
    #[arg(long, env = "AUTH0_SIMULATOR_API", value_delimiter = ',')]
    api: Vec<String>,

    /// Decides the drawn moments of propagation and the faults that have a probability. No secret
    /// depends on it.
    #[arg(long, env = "AUTH0_SIMULATOR_SEED", default_value_t = 0)]
    seed: u64,

    /// The window in which authentication learns of a changed secret.
    #[arg(long, env = "AUTH0_SIMULATOR_PROPAGATION", default_value = "0s..30s")]
    propagation: Propagation,

    /// The Management API's requests per second and burst, as 16/50, or off.
    #[arg(long, env = "AUTH0_SIMULATOR_RATE_LIMIT", default_value = "off", value_parser = limit)]
    rate_limit: Limit,

    /// How long access tokens are good, 1s to 30d.
    #[arg(long, env = "AUTH0_SIMULATOR_TOKEN_TTL", default_value = "24h", value_parser = parse_duration)]
    token_ttl: Duration,

    /// How /oauth/token refuses a wrong secret: 401 with this error.
    #[arg(long, env = "AUTH0_SIMULATOR_WRONG_SECRET", value_enum, default_value = "access_denied")]
    wrong_secret: WrongSecretAnswer,

    /// Leaves the secret out of rotate-secret's answer for tokens without read:client_keys or
    /// read:client_credentials.
    #[arg(long, env = "AUTH0_SIMULATOR_ROTATE_HIDES_SECRET")]
    rotate_hides_secret: bool,

    /// A PEM file with the certificate chain; Auth0's paths are then served over HTTPS.
    #[arg(long, env = "AUTH0_SIMULATOR_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// A PEM file with the certificate's private key.
    #[arg(long, env = "AUTH0_SIMULATOR_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// A JSON or YAML file with a list of clients: {client_id, client_secret, name, scopes: […],
    /// grants: {audience: […]}, public_keys: [{pem, algorithm, kid}], fields: {…}}, all of it
    /// optional.
    #[arg(long, env = "AUTH0_SIMULATOR_CLIENTS")]
    clients: Option<PathBuf>,

    /// A file to write when both addresses are served: JSON with url, admin_url, addr,
    /// admin_addr, domain, audience and pid.
    #[arg(long, env = "AUTH0_SIMULATOR_READY_FILE")]
    pub(crate) ready_file: Option<PathBuf>,

    /// Ends when stdin closes, for a parent process that may die.
    #[arg(long, env = "AUTH0_SIMULATOR_EXIT_ON_STDIN_EOF")]
    pub(crate) exit_on_stdin_eof: bool,

    /// The largest request body in bytes.
    #[arg(long, env = "AUTH0_SIMULATOR_BODY_LIMIT", default_value_t = 1024 * 1024)]
    body_limit: usize,

    /// How many entries the audit log keeps.
    #[arg(long, env = "AUTH0_SIMULATOR_AUDIT_CAPACITY", default_value_t = 100_000)]
    audit_capacity: usize,

    /// What is logged to stderr: a level or a tracing filter.
    #[arg(long, env = "AUTH0_SIMULATOR_LOG", default_value = "info")]
    pub(crate) log: String,

    /// How it is logged.
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
enum WrongSecretAnswer {
    AccessDenied,
    InvalidClient,
}

/// A type of its own, for clap would take an `Option` as a flag that may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit(Option<RateLimit>);

fn limit(text: &str) -> Result<Limit, String> {
    if text == "off" { Ok(Limit(None)) } else { text.parse().map(|limit| Limit(Some(limit))) }
}

impl Cli {
    /// The settings for the library, with the files read.
    pub(crate) fn into_builder(self) -> Result<SimulatorBuilder, Failure> {
        let mut builder = Simulator::builder()
            .addr(self.addr)
            .admin_addr(self.admin_addr)
            .domain(self.domain)
            .seed(self.seed)
            .propagation(self.propagation.into())
            .rate_limit(self.rate_limit.0)
            .token_ttl(self.token_ttl)
            .wrong_secret(match self.wrong_secret {
                WrongSecretAnswer::AccessDenied => WrongSecret::AccessDenied,
                WrongSecretAnswer::InvalidClient => WrongSecret::InvalidClient,
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
            builder = builder.tls(files::read(cert)?, files::read(key)?);
        }
        if let Some(path) = &self.clients {
            builder = files::clients(path)?.into_iter().fold(builder, SimulatorBuilder::client);
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_named_after_it() {
        for argument in Cli::command().get_arguments() {
            let Some(flag) = argument.get_long() else { continue };
            let expected = format!("AUTH0_SIMULATOR_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(expected.as_str()));
            assert!(argument.get_help().is_some(), "{flag} has a help text");
        }
    }

    #[test]
    fn flags_are_read() {
        let arguments = "auth0-simulator --rate-limit 16/50 --propagation 0s..30s --token-ttl 1h";
        let cli = Cli::try_parse_from(arguments.split(' ')).unwrap();
        assert_eq!(cli.rate_limit, Limit(Some(RateLimit::new(16, 50).unwrap())));
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
