//! The clients whose secrets are rotated.

use std::{fmt, time::Duration};

use rotation::Strategy;
use serde_json::{Value, json};

/// Namespace of everything.
pub(crate) const NAMESPACE: &str = "torture";
/// Longest time until a changed secret counts at the simulated Auth0.
pub(crate) const PROPAGATION: Duration = Duration::from_secs(2);
/// The operator's propagation window, with a second to spare.
pub(crate) const PROPAGATION_WINDOW: Duration = Duration::from_secs(3);
/// The staging period, and therefore how late a consumer may read its Secret.
pub(crate) const STAGING: Duration = Duration::from_secs(3);
pub(crate) const GRACE: Duration = Duration::from_secs(4);
/// Number of API servers that the operator seems to have, with clocks of their own.
pub(crate) const API_SERVERS: usize = 3;
const DRIFT_CHECK: &str = "2s";

/// Treatment of a client besides rotations, kills and faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Nothing else. Every invariant holds.
    Plain,
    /// Its secret is rotated in Auth0's dashboard.
    Drift,
    /// Its target Secret is deleted and edited.
    Tampered,
    /// The status of its resource is removed.
    Wiped,
}

impl Group {
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::Drift, Self::Tampered, Self::Wiped];
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Drift => "drift",
            Self::Tampered => "tampered",
            Self::Wiped => "wiped",
        })
    }
}

/// Client at Auth0, and the ClientSecretRotation of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestClient {
    pub(crate) name: String,
    pub(crate) strategy: Strategy,
    pub(crate) group: Group,
}

impl TestClient {
    /// Returns the name of its target Secret.
    pub(crate) fn secret(&self) -> String {
        format!("{}-auth0", self.name)
    }

    /// Returns its ClientSecretRotation with a schedule.
    pub(crate) fn manifest(&self, interval: Duration) -> Value {
        json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "spec": {
                "clientId": self.name,
                "tenantRef": {"name": "acme"},
                "strategy": self.strategy,
                "staging": {"period": seconds(STAGING)},
                "gracePeriod": seconds(GRACE),
                "schedule": {"every": seconds(interval)},
                "driftCheck": {"every": DRIFT_CHECK},
                "target": {"name": self.secret()},
            },
        })
    }
}

/// Formats a duration for flags and manifests.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

/// Returns the clients: half of them with each strategy, and half of each strategy plain.
pub(crate) fn create_clients(count: u16) -> Vec<TestClient> {
    (0..usize::from(count)).map(create_client).collect()
}

fn create_client(number: usize) -> TestClient {
    let strategy = if number.is_multiple_of(2) { Strategy::Staged } else { Strategy::Rotate };
    let group = match number / 2 % 6 {
        0 | 2 | 4 => Group::Plain,
        1 => Group::Drift,
        3 => Group::Tampered,
        _ => Group::Wiped,
    };
    let name = format!("{group}-{}-{number}", format!("{strategy:?}").to_lowercase());
    TestClient { name, strategy, group }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_and_groups_are_balanced() {
        let clients = create_clients(50);
        let is_staged = |client: &&TestClient| client.strategy == Strategy::Staged;
        assert_eq!(clients.iter().filter(is_staged).count(), 25);
        for group in Group::ALL {
            let of_group: Vec<_> = clients.iter().filter(|client| client.group == group).collect();
            let staged = of_group.iter().filter(|client| is_staged(client)).count();
            assert!(staged > 0 && staged < of_group.len(), "{group}");
        }
        let plain = clients.iter().filter(|client| client.group == Group::Plain).count();
        assert!(plain * 2 >= clients.len(), "half of them are plain: {plain}");
    }

    #[test]
    fn first_client_is_plain_and_staged() {
        let client = &create_clients(1)[0];
        assert_eq!((client.group, client.strategy), (Group::Plain, Strategy::Staged));
    }
}
