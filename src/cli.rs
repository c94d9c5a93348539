//! The command line: arguments as they are given, and what they are checked into.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};
use rotation::K8sDuration;
use tracing::level_filters::LevelFilter;
use url::Url;

use crate::{controller::Settings, telemetry::LogFormat};
use leader_election;

/// Rotates Auth0 client secrets and keeps Kubernetes Secrets in step.
#[derive(Debug, Parser)]
#[command(name = "auth0-rotator", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator, on the cluster of KUBECONFIG or on the one that it runs in.
    Run(Box<RunArgs>),
    /// Print the custom resource definitions.
    Crds,
    /// Ask an operator whether it is ready, until it is.
    Check(CheckArgs),
}

/// The flags of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// What to ask, such as http://auth0-rotator.auth0-rotator:8081/readyz.
    #[arg(value_name = "URL")]
    pub url: Url,

    /// How long to ask.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = span)]
    pub timeout: K8sDuration,
}

/// The flags of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// A namespace to work in; can be repeated. All namespaces when absent.
    #[arg(
        long = "namespace",
        env = "AUTH0_ROTATOR_NAMESPACE",
        value_delimiter = ',',
        value_name = "NAME",
        value_parser = namespace
    )]
    pub namespaces: Vec<String>,

    /// Where to serve /metrics.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_METRICS_ADDR",
        default_value = "0.0.0.0:8080",
        value_name = "ADDR:PORT"
    )]
    pub metrics_addr: SocketAddr,

    /// Where to serve /livez and /readyz.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_HEALTH_ADDR",
        default_value = "0.0.0.0:8081",
        value_name = "ADDR:PORT"
    )]
    pub health_addr: SocketAddr,

    /// How long Auth0 may take to accept a new secret and to refuse the old one. Shorter than
    /// Auth0's 30s only for a simulator.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_PROPAGATION_WINDOW",
        default_value = "30s",
        value_name = "DURATION",
        value_parser = propagation_window
    )]
    pub propagation_window: K8sDuration,

    /// Let tenants have endpoints with plain HTTP, for a simulator.
    #[arg(long, env = "AUTH0_ROTATOR_ALLOW_HTTP_ENDPOINTS")]
    pub allow_http_endpoints: bool,

    /// The operator's own namespace, where the credentials of ClusterAuth0Tenants are. That of its
    /// service account, or of the context of KUBECONFIG, when absent.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_OPERATOR_NAMESPACE",
        value_name = "NAME",
        value_parser = namespace
    )]
    pub operator_namespace: Option<String>,

    /// Whether ClusterAuth0Tenants may be used. By default when no --namespace is given: it takes
    /// permissions on the whole cluster.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_CLUSTER_TENANTS",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub cluster_tenants: Option<bool>,

    /// Which of several replicas acts.
    #[command(flatten)]
    pub leader: LeaderArgs,

    /// How log lines are written.
    #[arg(long, env = "AUTH0_ROTATOR_LOG_FORMAT", default_value = "json", value_enum)]
    pub log_format: LogFormat,

    /// The finest log lines to write: error, warn, info, debug or trace.
    #[arg(long, env = "AUTH0_ROTATOR_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: LevelFilter,

    /// Where to send traces: the base URL of a collector that takes OTLP over HTTP, such as
    /// http://otel-collector:4318. None are made when absent.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_OTLP_ENDPOINT",
        value_name = "URL",
        value_parser = collector
    )]
    pub otlp_endpoint: Option<Url>,

    /// How many resources to work on at a time.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_CONCURRENCY",
        default_value = "8",
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    pub concurrency: u16,
}

/// The flags of `run` that are about leader election. Their names are those of Kubernetes' own
/// controllers.
#[derive(Args, Clone, Debug)]
pub struct LeaderArgs {
    /// Whether to act only while holding a Lease, so that several replicas can run. By default in a
    /// pod, and not with a KUBECONFIG.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_LEADER_ELECT",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub leader_elect: Option<bool>,

    /// The name of the Lease, in the operator's own namespace. Operators that share it share the
    /// work: those with different settings each need one of their own.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_LEADER_ELECT_RESOURCE_NAME",
        default_value = "auth0-rotator",
        value_name = "NAME",
        value_parser = lease_name
    )]
    pub leader_elect_resource_name: String,

    /// How long the Lease of a leader that isn't heard of any more stays its own. Whole seconds.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_LEADER_ELECT_LEASE_DURATION",
        default_value = "12s",
        value_name = "DURATION",
        value_parser = span
    )]
    pub leader_elect_lease_duration: K8sDuration,

    /// How long after it last renewed the Lease a leader may act. At most three quarters of the
    /// lease duration: the rest is the margin in which nobody acts.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_LEADER_ELECT_RENEW_DEADLINE",
        default_value = "8s",
        value_name = "DURATION",
        value_parser = span
    )]
    pub leader_elect_renew_deadline: K8sDuration,

    /// How often a replica that isn't the leader looks at the Lease, and how soon a leader tries
    /// again that could not renew it. At most a quarter of the renew deadline.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_LEADER_ELECT_RETRY_PERIOD",
        default_value = "1s",
        value_name = "DURATION",
        value_parser = span
    )]
    pub leader_elect_retry_period: K8sDuration,
}

impl LeaderArgs {
    /// The times of the election.
    ///
    /// # Errors
    /// When they don't fit together; the flag is named.
    pub fn terms(&self) -> Result<leader_election::LeaderElectionConfig, String> {
        let (duration, deadline, retry) = (
            self.leader_elect_lease_duration.to_std(),
            self.leader_elect_renew_deadline.to_std(),
            self.leader_elect_retry_period.to_std(),
        );
        leader_election::LeaderElectionConfig::new(duration, deadline, retry)
    }
}

impl RunArgs {
    /// How the controller is to work.
    pub fn settings(&self) -> Settings {
        Settings {
            namespaces: self.namespaces.clone(),
            propagation_window: self.propagation_window,
            allow_http: self.allow_http_endpoints,
            concurrency: self.concurrency,
            operator_namespace: self.operator_namespace.clone(),
            cluster_tenants: self.cluster_tenants,
        }
    }
}

/// A namespace is a DNS label (RFC 1123).
fn namespace(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let well_formed = (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if well_formed {
        Ok(text.to_owned())
    } else {
        Err("a namespace has 1 to 63 lower-case letters, digits and '-', as in team-shop".into())
    }
}

/// Credentials in a URL would be seen wherever the command line is.
fn collector(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
        Ok(url)
    } else {
        Err("it must begin with http:// or https:// and have no credentials and no query; headers \
             are given in OTEL_EXPORTER_OTLP_HEADERS"
            .to_owned())
    }
}

fn span(text: &str) -> Result<K8sDuration, String> {
    text.parse().map_err(|error: rotation::K8sDurationError| error.to_string())
}

/// The name of a Lease is a DNS subdomain (RFC 1123).
fn lease_name(text: &str) -> Result<String, String> {
    let label = |label: &str| namespace(label).is_ok();
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err("a name has lower-case letters, digits, '-' and '.', as in auth0-rotator".into())
    }
}

fn propagation_window(text: &str) -> Result<K8sDuration, String> {
    let span = span(text)?;
    let (least, most) = (K8sDuration::from_millis(100), K8sDuration::from_secs(600));
    if (least..=most).contains(&span) {
        Ok(span)
    } else {
        Err(format!("it must be between {least} and {most}; Auth0's is 30s"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<RunArgs, clap::Error> {
        let all = ["auth0-rotator", "run"].iter().chain(arguments);
        Cli::try_parse_from(all).map(|cli| match cli.command {
            Command::Run(arguments) => *arguments,
            Command::Crds | Command::Check(_) => unreachable!("run was given"),
        })
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        for flag in run.get_arguments().filter(|flag| flag.get_id() != "help") {
            assert!(flag.get_env().is_some(), "{}", flag.get_id());
        }
    }

    #[test]
    fn namespaces_can_be_repeated_and_are_checked() {
        let arguments = parse(&["--namespace", "a", "--namespace", "b"]).unwrap();
        assert_eq!(arguments.namespaces, ["a", "b"]);
        for wrong in ["", "A", "-a", "a-", "a.b", &"x".repeat(64)] {
            let error = parse(&["--namespace", wrong]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn a_collector_is_a_plain_url() {
        let arguments = parse(&["--otlp-endpoint", "http://collector:4318"]).unwrap();
        assert_eq!(arguments.otlp_endpoint.unwrap().as_str(), "http://collector:4318/");
        assert!(parse(&[]).unwrap().otlp_endpoint.is_none());
        for wrong in
            ["", "collector:4318", "grpc://c:1", "http://u:p@c:1", "https://c/?a=b", "http://"]
        {
            assert!(parse(&["--otlp-endpoint", wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_times_of_the_election_have_to_fit_together() {
        let terms = |arguments: &[&str]| parse(arguments).unwrap().leader.terms();
        assert!(terms(&[]).is_ok());
        for (wrong, flag) in [
            ("--leader-elect-lease-duration=1s", "--leader-elect-lease-duration"),
            ("--leader-elect-lease-duration=12500ms", "--leader-elect-lease-duration"),
            ("--leader-elect-lease-duration=11m", "--leader-elect-lease-duration"),
            ("--leader-elect-renew-deadline=9001ms", "--leader-elect-renew-deadline"),
            ("--leader-elect-retry-period=2001ms", "--leader-elect-retry-period"),
            ("--leader-elect-retry-period=0s", "--leader-elect-retry-period"),
        ] {
            assert!(terms(&[wrong]).unwrap_err().starts_with(flag), "{wrong}");
        }
        for wrong in ["", "A", "a..b", "-a", &"a.".repeat(127)] {
            let wrong = format!("--leader-elect-resource-name={wrong}");
            assert!(parse(&[&wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_propagation_window_is_bounded() {
        assert_eq!(parse(&[]).unwrap().propagation_window, K8sDuration::from_secs(30));
        for wrong in ["0s", "", "-1s", "11m", "soon"] {
            assert!(parse(&[&format!("--propagation-window={wrong}")]).is_err(), "{wrong:?}");
        }
    }
}
