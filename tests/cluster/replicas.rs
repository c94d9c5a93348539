//! Two replicas of one operator.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;

use crate::{
    bench::{Bench, DEADLINE, WINDOW},
    operator::Operator,
};

/// The name that the Lease has unless it is told otherwise.
const LEASE: &str = "auth0-rotator";

/// A short election: a killed leader is followed after five seconds.
pub(crate) const SHORT: [&str; 3] = [
    "--leader-elect-lease-duration=5s",
    "--leader-elect-renew-deadline=3s",
    "--leader-elect-retry-period=250ms",
];

/// An election that nobody waits for: whoever leads within a test was let to.
pub(crate) const LONG: [&str; 1] = ["--leader-elect-lease-duration=5m"];

impl Bench {
    /// A replica that takes part in the election of this namespace.
    pub(crate) fn replica(&self, arguments: &[&str]) -> Operator {
        self.replica_with(arguments, &[])
    }

    /// The same with variables in its environment.
    pub(crate) fn replica_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Operator {
        let window = format!("{}s", WINDOW.as_secs());
        let namespace = self.namespace.as_str();
        let mut all = vec!["--namespace", namespace, "--operator-namespace", namespace];
        all.extend(["--leader-elect", "--allow-http-endpoints", "--propagation-window", &window]);
        all.extend(arguments);
        Operator::start_with(self.folder.path(), &self.kubeconfig, &all, variables)
    }

    /// The first leads, and the second is ready to.
    pub(crate) async fn two_replicas(&self, arguments: &[&str]) -> (Operator, Operator) {
        self.allow_leases().await;
        let first = self.replica(arguments);
        first.leads().await;
        let second = self.replica(arguments);
        second.ready().await;
        (first, second)
    }

    pub(crate) async fn lease(&self) -> Option<Lease> {
        self.api::<Lease>().get_opt(LEASE).await.unwrap()
    }

    /// Who holds the Lease.
    pub(crate) async fn holder(&self) -> Option<String> {
        self.lease().await?.spec?.holder_identity
    }
}

impl Operator {
    /// Waits until it leads.
    pub(crate) async fn leads(&self) {
        self.eventually_says("acquired leadership", DEADLINE).await;
    }

    pub(crate) async fn eventually_says(&self, text: &str, within: Duration) {
        let deadline = Instant::now() + within;
        while !self.says(text) {
            assert!(Instant::now() < deadline, "it never says: {text}: {:?}", self.tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn tail(&self) -> Vec<String> {
        let log = self.log();
        log[log.len().saturating_sub(15)..].iter().map(ToString::to_string).collect()
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn end(mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "it never ends: {:?}", self.tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
