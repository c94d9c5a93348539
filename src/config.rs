//! Configuration of `run`, validated from its arguments.

use std::{net::SocketAddr, path::Path};

use leader_election::{ConfigError, LeaderElectionConfig};
use tracing::level_filters::LevelFilter;
use url::Url;

use crate::{
    cli::RunArgs,
    controller::{AllowedMetadata, Settings},
    server::CertificateFiles,
    telemetry::LogFormat,
};

/// Where a Pod finds the token of its service account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

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
        let lease_name = args.leader.leader_elect_resource_name;
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
            },
            leader_election: is_enabled.then_some(LeaderElection { lease_name, durations }),
            log_format: args.log_format,
            log_level: args.log_level,
            otlp_endpoint: args.otlp_endpoint,
        })
    }
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
