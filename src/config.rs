//! Configuration of `run`, validated from its arguments.

use std::{net::SocketAddr, path::Path};

use leader_election::{ConfigError, LeaderElectionConfig};
use tracing::level_filters::LevelFilter;
use url::Url;

use crate::{
    cli::RunArgs,
    controller::{AllowedMetadata, Settings, WatchSelector},
    server::CertificateFiles,
    telemetry::LogFormat,
};

/// Where a Pod finds the token of its service account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Name of the Lease of an operator without a selector.
const LEASE_NAME: &str = "auth0-rotator";

/// Validated configuration of `run`.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Address of `/metrics`.
    pub metrics_addr: SocketAddr,
    /// How `/metrics` is protected.
    pub metrics_protection: MetricsProtection,
    /// Address of `/livez` and `/readyz`.
    pub health_addr: SocketAddr,
    /// Settings of the controller.
    pub settings: Settings,
    /// Leader election; `None` if it is disabled.
    pub leader_election: Option<LeaderElection>,
    /// Format of log lines.
    pub log_format: LogFormat,
    /// Most verbose level of log lines.
    pub log_level: LevelFilter,
    /// Base URL of the OTLP collector; `None` to create no traces.
    pub otlp_endpoint: Option<Url>,
}

/// How `/metrics` is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsProtection {
    /// Whether the API server checks who reads the metrics.
    pub has_auth: bool,
    /// The certificate, unless it is self-signed.
    pub certificate: Option<CertificateFiles>,
}

impl MetricsProtection {
    /// Returns whether the metrics are served over HTTPS, which a bearer token requires.
    pub fn uses_tls(&self) -> bool {
        self.has_auth || self.certificate.is_some()
    }
}

/// Configuration of leader election.
#[derive(Clone, Debug)]
pub struct LeaderElection {
    /// Name of the Lease, in the operator's namespace.
    pub lease_name: String,
    /// Durations of the election.
    pub durations: LeaderElectionConfig,
}

impl TryFrom<RunArgs> for RunConfig {
    type Error = ConfigError;

    fn try_from(args: RunArgs) -> Result<Self, ConfigError> {
        let durations = LeaderElectionConfig::new(
            args.leader.leader_elect_lease_duration.to_std(),
            args.leader.leader_elect_renew_deadline.to_std(),
            args.leader.leader_elect_retry_period.to_std(),
        )?;
        let watch_selector = args.watch_label_selector.unwrap_or_default();
        let lease_name = args.leader.leader_elect_resource_name;
        let lease_name = lease_name.unwrap_or_else(|| default_lease_name(&watch_selector));
        let is_enabled = args.leader.leader_elect.unwrap_or_else(runs_in_pod);
        Ok(Self {
            metrics_addr: args.metrics_addr,
            metrics_protection: MetricsProtection {
                has_auth: args.metrics_auth,
                certificate: match (args.metrics_tls_cert, args.metrics_tls_key) {
                    (Some(cert), Some(key)) => Some(CertificateFiles { cert, key }),
                    _ => None,
                },
            },
            health_addr: args.health_addr,
            settings: Settings {
                namespaces: args.namespaces,
                secret_namespaces: args.secret_namespaces,
                restarts: args.restarts,
                pod_detection: args.pod_detection,
                propagation_window: args.propagation_window,
                allow_http: args.allow_http_endpoints,
                allowed_metadata: AllowedMetadata(args.allowed_metadata),
                allowed_endpoints: args.allowed_endpoints,
                concurrency: args.concurrency,
                operator_namespace: args.operator_namespace,
                cluster_tenants: args.cluster_tenants,
                watch_selector,
            },
            leader_election: is_enabled.then_some(LeaderElection { lease_name, durations }),
            log_format: args.log_format,
            log_level: args.log_level,
            otlp_endpoint: args.otlp_endpoint,
        })
    }
}

/// Returns the name of the Lease: each shard elects a leader of its own.
fn default_lease_name(selector: &WatchSelector) -> String {
    if selector.selects_all() {
        return LEASE_NAME.to_owned();
    }
    format!("{LEASE_NAME}-{:08x}", fnv1a(&selector.to_string()))
}

/// Returns a hash that every version of the operator computes in the same way.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Whether the operator runs in a Pod. A KUBECONFIG takes precedence, as it does for the client.
fn runs_in_pod() -> bool {
    std::env::var_os("KUBECONFIG").is_none() && Path::new(SERVICE_ACCOUNT_TOKEN).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::parse;

    fn config(args: &[&str]) -> Result<RunConfig, ConfigError> {
        RunConfig::try_from(parse(args).unwrap())
    }

    #[test]
    fn bearer_tokens_never_cross_the_network_in_clear_text() {
        let uses_tls = |args: &[&str]| config(args).unwrap().metrics_protection.uses_tls();
        assert!(!uses_tls(&[]));
        assert!(uses_tls(&["--metrics-auth"]));
        assert!(uses_tls(&["--metrics-tls-cert=a", "--metrics-tls-key=b"]));
    }

    #[test]
    fn each_shard_has_a_lease_of_its_own() {
        let name = |args: &[&str]| {
            let args = [&["--leader-elect"], args].concat();
            config(&args).unwrap().leader_election.unwrap().lease_name
        };
        assert_eq!(name(&[]), "auth0-rotator");
        let shard = "--watch-label-selector=auth0-rotator.dev/shard=a";
        // The name must not change from version to version: two versions would lead at a time.
        assert_eq!(name(&[shard]), "auth0-rotator-ca550781");
        let spaced = "--watch-label-selector=auth0-rotator.dev/shard = a";
        assert_eq!(name(&[spaced]), name(&[shard]));
        let other = "--watch-label-selector=auth0-rotator.dev/shard=b";
        assert_ne!(name(&[other]), name(&[shard]));
        assert_eq!(name(&[shard, "--leader-elect-resource-name=x"]), "x");
    }

    #[test]
    fn rejects_inconsistent_election_durations_and_names_the_flag() {
        assert!(config(&[]).is_ok());
        for (arg, flag) in [
            ("--leader-elect-lease-duration=1s", "--leader-elect-lease-duration"),
            ("--leader-elect-lease-duration=12500ms", "--leader-elect-lease-duration"),
            ("--leader-elect-lease-duration=11m", "--leader-elect-lease-duration"),
            ("--leader-elect-renew-deadline=9001ms", "--leader-elect-renew-deadline"),
            ("--leader-elect-retry-period=2001ms", "--leader-elect-retry-period"),
            ("--leader-elect-retry-period=0s", "--leader-elect-retry-period"),
        ] {
            assert!(config(&[arg]).unwrap_err().to_string().starts_with(flag), "{arg}");
        }
    }
}
