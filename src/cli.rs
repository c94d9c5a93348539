//! Arguments of the command line. [`config`](crate::config) validates those that depend on each
//! other.

use std::{net::SocketAddr, path::PathBuf};

use auth0_client::{EndpointPattern, InvalidPattern};
use clap::{Args, Parser, Subcommand};
use rotation::{K8sDuration, K8sDurationError};
use tracing::level_filters::LevelFilter;
use url::Url;

use crate::{
    api::GROUP,
    controller::{InvalidSelector, WatchSelector},
    telemetry::LogFormat,
};

/// Rotates Auth0 client secrets and keeps Kubernetes Secrets in sync.
#[derive(Debug, Parser)]
#[command(name = "auth0-rotator", version, arg_required_else_help = true)]
pub struct Cli {
    /// Subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator on the cluster of KUBECONFIG, or on the cluster of its Pod.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Wait until an operator is ready.
    WaitReady(WaitReadyArgs),
}

/// Arguments of `wait-ready`.
#[derive(Args, Clone, Debug)]
pub struct WaitReadyArgs {
    /// Readiness endpoint of the operator, for example
    /// http://auth0-rotator.auth0-rotator:8081/readyz.
    #[arg(value_name = "URL")]
    pub url: Url,

    /// How long to wait, for example 30s or 2m.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub timeout: K8sDuration,
}

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Namespace to watch, for example team-shop; repeat the flag for several. Default: all
    /// namespaces.
    #[arg(
        long = "namespace",
        env = "AUTH0_ROTATOR_NAMESPACE",
        value_delimiter = ',',
        value_name = "NAME",
        value_parser = namespace
    )]
    pub namespaces: Vec<String>,

    /// Namespace in which the operator may use Secrets, while it watches the resources of all
    /// namespaces; repeat the flag for several. Default: every watched namespace.
    #[arg(
        long = "secret-namespace",
        env = "AUTH0_ROTATOR_SECRET_NAMESPACE",
        value_delimiter = ',',
        value_name = "NAME",
        value_parser = namespace,
        conflicts_with = "namespaces"
    )]
    pub secret_namespaces: Vec<String>,

    /// Label selector of the resources and tenants that this operator manages, for example
    /// auth0-rotator.dev/shard=a: one of several operators, each with a shard of them. A resource is
    /// in the shard of its tenant. Default: all.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_WATCH_LABEL_SELECTOR",
        value_name = "SELECTOR",
        value_parser = watch_selector
    )]
    pub watch_label_selector: Option<WatchSelector>,

    /// Restart the workloads in spec.consumers.restart, which requires permissions on workloads.
    /// With false, a resource that asks for restarts is not rotated.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_RESTARTS",
        default_value = "true",
        value_name = "BOOL",
        action = clap::ArgAction::Set
    )]
    pub restarts: bool,

    /// Report Pods that never see an updated Secret, which requires permission to list Pods.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_POD_DETECTION",
        default_value = "true",
        value_name = "BOOL",
        action = clap::ArgAction::Set
    )]
    pub pod_detection: bool,

    /// Address on which to serve /metrics.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_METRICS_ADDR",
        default_value = "[::]:8080",
        value_name = "ADDR:PORT"
    )]
    pub metrics_addr: SocketAddr,

    /// Serve /metrics over HTTPS, and only to users that may `get` the path /metrics: the API server
    /// checks their bearer tokens. Requires permission to create TokenReviews and
    /// SubjectAccessReviews.
    #[arg(long, env = "AUTH0_ROTATOR_METRICS_AUTH")]
    pub metrics_auth: bool,

    /// Certificate with which to serve /metrics over HTTPS, a file in PEM. Default: a self-signed
    /// certificate with --metrics-auth, otherwise plain HTTP.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_METRICS_TLS_CERT",
        value_name = "FILE",
        requires = "metrics_tls_key"
    )]
    pub metrics_tls_cert: Option<PathBuf>,

    /// Private key of --metrics-tls-cert, a file in PEM.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_METRICS_TLS_KEY",
        value_name = "FILE",
        requires = "metrics_tls_cert"
    )]
    pub metrics_tls_key: Option<PathBuf>,

    /// Address on which to serve /livez and /readyz.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_HEALTH_ADDR",
        default_value = "[::]:8081",
        value_name = "ADDR:PORT"
    )]
    pub health_addr: SocketAddr,

    /// Time within which Auth0 accepts a new secret and rejects the old one everywhere. Auth0 needs
    /// 30s; a shorter window is for a simulator.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_PROPAGATION_WINDOW",
        default_value = "30s",
        value_name = "DURATION",
        value_parser = propagation_window
    )]
    pub propagation_window: K8sDuration,

    /// Endpoints of tenants that the operator may call, for example *.auth0.com, login.acme.com or
    /// 10.0.0.7:8443; repeat the flag for several. A host that is named may have a private address.
    /// Default: all hosts with a public address, on port 443.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_ALLOWED_ENDPOINTS",
        value_delimiter = ',',
        value_name = "HOST[:PORT]",
        value_parser = endpoint_pattern
    )]
    pub allowed_endpoints: Vec<EndpointPattern>,

    /// Accept tenants whose endpoint is plain HTTP or on the loopback interface, for a simulator.
    #[arg(long, env = "AUTH0_ROTATOR_ALLOW_HTTP_ENDPOINTS")]
    pub allow_http_endpoints: bool,

    /// Label or annotation that resources may set on their target Secrets, for example team or,
    /// for all with a prefix, example.com/; repeat the flag for several. Other controllers act on
    /// labels and annotations. Default: none.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_ALLOWED_METADATA",
        value_delimiter = ',',
        value_name = "KEY",
        value_parser = metadata_key
    )]
    pub allowed_metadata: Vec<String>,

    /// Namespace of the operator, which holds the credentials of ClusterAuth0Tenants and the Lease.
    /// Default: the namespace of the service account, or of the context of KUBECONFIG.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_OPERATOR_NAMESPACE",
        value_name = "NAME",
        value_parser = namespace
    )]
    pub operator_namespace: Option<String>,

    /// Serve ClusterAuth0Tenants, which requires cluster-wide permissions. Default: true unless
    /// --namespace is set.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_CLUSTER_TENANTS",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub cluster_tenants: Option<bool>,

    /// Leader election.
    #[command(flatten)]
    pub leader: LeaderArgs,

    /// Format of log lines.
    #[arg(long, env = "AUTH0_ROTATOR_LOG_FORMAT", default_value = "json", value_enum)]
    pub log_format: LogFormat,

    /// Most verbose level of log lines: error, warn, info, debug or trace.
    #[arg(long, env = "AUTH0_ROTATOR_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: LevelFilter,

    /// Base URL of an OTLP collector to which to export traces over HTTP, for example
    /// http://otel-collector:4318. Default: no traces.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_OTLP_ENDPOINT",
        value_name = "URL",
        value_parser = otlp_endpoint
    )]
    pub otlp_endpoint: Option<Url>,

    /// Maximum number of resources to reconcile concurrently, from 1 to 1024. The operator reconciles fewer
    /// while the API server responds slowly. A resource that waits for Auth0 doesn't count.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_CONCURRENCY",
        default_value = "64",
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    pub concurrency: u16,
}

/// Flags of leader election, named as in the controllers of Kubernetes.
#[derive(Args, Clone, Debug)]
pub struct LeaderArgs {
    /// Act only while holding a Lease, so that several replicas can run. Default: true in a Pod,
    /// false with KUBECONFIG.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_LEADER_ELECT",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub leader_elect: Option<bool>,

    /// Name of the Lease in the operator's namespace. Operators that watch different namespaces
    /// need different Leases. Default: auth0-rotator, followed by a hash of --watch-label-selector if
    /// that is set.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_LEADER_ELECT_RESOURCE_NAME",
        value_name = "NAME",
        value_parser = lease_name
    )]
    pub leader_elect_resource_name: Option<String>,

    /// How long a standby waits after the last observed renewal before it takes the Lease. Whole
    /// seconds from 2s to 10m.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_LEADER_ELECT_LEASE_DURATION",
        default_value = "12s",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub leader_elect_lease_duration: K8sDuration,

    /// How long the leader acts after its last successful renewal. At most three quarters of the
    /// lease duration; in the rest of it, no replica acts.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_LEADER_ELECT_RENEW_DEADLINE",
        default_value = "8s",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub leader_elect_renew_deadline: K8sDuration,

    /// How often a standby reads the Lease, and how long the leader waits before it retries a
    /// failed renewal. From 10ms to a quarter of the renew deadline.
    #[arg(
        long,
        env = "AUTH0_ROTATOR_LEADER_ELECT_RETRY_PERIOD",
        default_value = "1s",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub leader_elect_retry_period: K8sDuration,
}

fn namespace(text: &str) -> Result<String, String> {
    if is_dns_label(text) {
        Ok(text.to_owned())
    } else {
        Err("a namespace is 1 to 63 lower-case letters, digits and '-', for example team-shop"
            .into())
    }
}

/// The name of a Lease is a DNS subdomain (RFC 1123).
fn lease_name(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(is_dns_label) {
        Ok(text.to_owned())
    } else {
        Err("the name of a Lease is lower-case letters, digits, '-' and '.', for example \
             auth0-rotator"
            .into())
    }
}

/// The key of a label or an annotation, or a prefix with its slash.
fn metadata_key(text: &str) -> Result<String, String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = name.len() <= 63 && name.chars().all(is_allowed);
    let is_prefix = prefix.is_none_or(|prefix| {
        prefix != GROUP && prefix.len() <= 253 && prefix.split('.').all(is_dns_label)
    });
    if is_name && is_prefix && (prefix.is_some() || !name.is_empty()) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a key is a name, such as team, with or without a prefix, such as \
             app.kubernetes.io/part-of; or only a prefix, such as example.com/; the prefix {GROUP}/ \
             is reserved for the operator"
        ))
    }
}

/// Whether the text is a DNS label (RFC 1123).
fn is_dns_label(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Rejects credentials in the URL: everyone who can see the command line could read them.
fn otlp_endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    if !is_http || has_credentials || url.query().is_some() || url.fragment().is_some() {
        return Err("the endpoint is an http:// or https:// URL without credentials, query and \
                    fragment, for example http://otel-collector:4318; set headers in \
                    OTEL_EXPORTER_OTLP_HEADERS"
            .to_owned());
    }
    Ok(url)
}

fn watch_selector(text: &str) -> Result<WatchSelector, String> {
    text.parse().map_err(|error: InvalidSelector| error.to_string())
}

fn endpoint_pattern(text: &str) -> Result<EndpointPattern, String> {
    text.parse().map_err(|error: InvalidPattern| error.to_string())
}

fn duration(text: &str) -> Result<K8sDuration, String> {
    text.parse().map_err(|error: K8sDurationError| error.to_string())
}

fn propagation_window(text: &str) -> Result<K8sDuration, String> {
    let window = duration(text)?;
    let (min, max) = (K8sDuration::from_millis(100), K8sDuration::from_secs(600));
    if (min..=max).contains(&window) {
        Ok(window)
    } else {
        Err(format!("the window is between {min} and {max}, for example 30s, the window of Auth0"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::CommandFactory as _;

    use super::*;

    pub(crate) fn parse(args: &[&str]) -> Result<RunArgs, clap::Error> {
        let command_line = ["auth0-rotator", "run"].iter().chain(args);
        Cli::try_parse_from(command_line).map(|cli| match cli.command {
            Command::Run(args) => *args,
            Command::Crds | Command::WaitReady(_) => unreachable!("the subcommand is run"),
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
    fn accepts_several_namespaces_and_rejects_invalid_ones() {
        let args = parse(&["--namespace", "a", "--namespace", "b"]).unwrap();
        assert_eq!(args.namespaces, ["a", "b"]);
        for invalid in ["", "A", "-a", "a-", "a.b", &"x".repeat(64)] {
            let error = parse(&["--namespace", invalid]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{invalid:?}");
        }
    }

    #[test]
    fn accepts_keys_and_prefixes_of_metadata_and_rejects_invalid_ones() {
        let args = parse(&["--allowed-metadata", "team,example.com/"]).unwrap();
        assert_eq!(args.allowed_metadata, ["team", "example.com/"]);
        assert!(parse(&["--allowed-metadata=app.kubernetes.io/part-of"]).is_ok());
        for invalid in ["", "/", "/x", "Example.com/", "a/b/c", "*", "auth0-rotator.dev/", "x y"] {
            let arg = format!("--allowed-metadata={invalid}");
            assert!(parse(&[&arg]).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn namespaces_of_secrets_are_for_an_operator_of_all_namespaces() {
        let args = parse(&["--secret-namespace", "a,b", "--restarts=false"]).unwrap();
        assert_eq!(args.secret_namespaces, ["a", "b"]);
        assert!(!args.restarts && args.pod_detection);
        assert!(parse(&["--secret-namespace=a", "--namespace=b"]).is_err());
    }

    #[test]
    fn certificate_of_the_metrics_needs_its_key() {
        assert!(!parse(&[]).unwrap().metrics_auth);
        assert!(parse(&["--metrics-tls-cert=a"]).is_err());
        assert!(parse(&["--metrics-tls-key=a"]).is_err());
        assert!(parse(&["--metrics-tls-cert=a", "--metrics-tls-key=b"]).is_ok());
    }

    #[test]
    fn accepts_several_endpoints_and_rejects_invalid_ones() {
        assert_eq!(parse(&[]).unwrap().allowed_endpoints, []);
        let args = parse(&["--allowed-endpoints", "*.auth0.com,10.0.0.7:8443"]).unwrap();
        let expected = ["*.auth0.com", "10.0.0.7:8443"].map(|text| text.parse().unwrap());
        assert_eq!(args.allowed_endpoints, expected);
        for invalid in ["", "*", "https://acme.eu.auth0.com", "acme.eu.auth0.com:0", "a,,b"] {
            let error = parse(&["--allowed-endpoints", invalid]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{invalid:?}");
            assert!(error.to_string().contains("*.auth0.com"), "{invalid:?}: {error}");
        }
    }

    #[test]
    fn rejects_an_otlp_endpoint_with_credentials_or_query() {
        let args = parse(&["--otlp-endpoint", "http://collector:4318"]).unwrap();
        assert_eq!(args.otlp_endpoint.unwrap().as_str(), "http://collector:4318/");
        assert!(parse(&[]).unwrap().otlp_endpoint.is_none());
        for invalid in
            ["", "collector:4318", "grpc://c:1", "http://u:p@c:1", "https://c/?a=b", "http://"]
        {
            assert!(parse(&["--otlp-endpoint", invalid]).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn rejects_invalid_lease_names() {
        for invalid in ["", "A", "a..b", "-a", &"a.".repeat(127)] {
            let arg = format!("--leader-elect-resource-name={invalid}");
            assert!(parse(&[&arg]).is_err(), "{invalid}");
        }
    }

    #[test]
    fn rejects_a_propagation_window_out_of_bounds() {
        assert_eq!(parse(&[]).unwrap().propagation_window, K8sDuration::from_secs(30));
        for invalid in ["0s", "", "-1s", "11m", "soon"] {
            assert!(parse(&[&format!("--propagation-window={invalid}")]).is_err(), "{invalid:?}");
        }
    }
}
