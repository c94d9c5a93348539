//! The clients that are rotated: who they are, and what is done to them.

use std::fmt;
use std::time::Duration;

use rotation::Strategy;
use serde_json::{Value, json};

/// The namespace of everything.
pub(crate) const NAMESPACE: &str = "torture";
/// The management client, and all that the operator may use of it.
pub(crate) const MANAGER: &str = "manager";
pub(crate) const SCOPES: [&str; 3] = ["read:clients", "read:client_keys", "update:client_keys"];
/// Auth0's propagation window: the simulator's, and the one that the operator is told, which has a
/// second to spare.
pub(crate) const PROPAGATION: Duration = Duration::from_secs(2);
pub(crate) const WINDOW: Duration = Duration::from_secs(3);
/// How long the pair is out before activation, and so how late a consumer may be.
pub(crate) const STAGING: Duration = Duration::from_secs(3);
pub(crate) const GRACE: Duration = Duration::from_secs(4);
const DRIFT_CHECK: &str = "2s";

/// What is done to a client beside rotations, kills and faults, which all of them have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Group {
    /// Nothing more. Here every promise is kept.
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

/// A client at Auth0 and its resource, which have the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) strategy: Strategy,
    pub(crate) group: Group,
}

impl Member {
    /// The name of its target Secret.
    pub(crate) fn secret(&self) -> String {
        format!("{}-auth0", self.name)
    }

    /// Its resource, rotated by schedule every `every`.
    pub(crate) fn manifest(&self, every: Duration) -> Value {
        json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "spec": {
                "clientId": self.name,
                "tenantRef": {"name": "acme"},
                "strategy": self.strategy,
                "staging": {"period": seconds(STAGING)},
                "gracePeriod": seconds(GRACE),
                "schedule": {"every": seconds(every)},
                "driftCheck": {"every": DRIFT_CHECK},
                "target": {"name": self.secret()},
            },
        })
    }
}

/// A length of time as flags and manifests have it.
pub(crate) fn seconds(length: Duration) -> String {
    format!("{}s", length.as_secs())
}

/// All clients: of each six pairs three are plain.
pub(crate) fn muster(clients: u16) -> Vec<Member> {
    (0..clients).map(|number| member(usize::from(number))).collect()
}

fn member(number: usize) -> Member {
    let strategy = if number.is_multiple_of(2) { Strategy::Staged } else { Strategy::Rotate };
    let group = match number / 2 % 6 {
        0 | 2 | 4 => Group::Plain,
        1 => Group::Drift,
        3 => Group::Tampered,
        _ => Group::Wiped,
    };
    let name = format!("{group}-{}-{number}", format!("{strategy:?}").to_lowercase());
    Member { name, strategy, group }
}

/// What is in the namespace beside the resources.
pub(crate) fn surroundings(endpoint: &str, secret: &str) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "auth0-management", "namespace": NAMESPACE},
            "stringData": {"client_id": MANAGER, "client_secret": secret},
        }),
        json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
            "metadata": {"name": "acme", "namespace": NAMESPACE},
            "spec": {
                "domain": "acme.eu.auth0.com",
                "endpoint": endpoint,
                "credentials": {"clientSecret": {"secretRef": {"name": "auth0-management"}}},
                "rateLimit": {"requestsPerSecond": 200, "burst": 200},
            },
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_are_of_each_strategy_and_each_group_has_both() {
        let all = muster(50);
        let staged = |member: &&Member| member.strategy == Strategy::Staged;
        assert_eq!(all.iter().filter(staged).count(), 25);
        for group in Group::ALL {
            let members: Vec<_> = all.iter().filter(|member| member.group == group).collect();
            let staged = members.iter().filter(|member| staged(member)).count();
            assert!(staged > 0 && staged < members.len(), "{group}");
        }
        let plain = all.iter().filter(|member| member.group == Group::Plain).count();
        assert!(plain * 2 >= all.len(), "half of them are plain: {plain}");
    }

    #[test]
    fn the_first_client_is_plain_and_staged() {
        let all = muster(1);
        assert_eq!((all[0].group, all[0].strategy), (Group::Plain, Strategy::Staged));
    }
}
