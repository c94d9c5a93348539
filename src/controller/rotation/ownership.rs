//! Conflicting owners: two resources cannot share a target Secret or a client.
//!
//! A client is the same one in every namespace, however its tenant's domain is spelled: canonical,
//! custom, or as an endpoint. A resource that works takes precedence over one that never has, and one
//! that cannot work, for instance because its tenant's policy denies it the client, over none.

use std::cmp::Ordering;

use kube::ResourceExt as _;
use rotation::{Reason, Rejection, condition_types, is_condition_true};

use crate::{
    api::ClientSecretRotation,
    controller::{tenant::tenant_hosts, watch::Stores},
};

/// Returns the rejection of a resource that conflicts with one that takes precedence.
pub(super) fn conflicting(resource: &ClientSecretRotation, stores: &Stores) -> Option<Rejection> {
    let hosts = |other: &ClientSecretRotation| {
        let namespace = other.namespace().unwrap_or_default();
        tenant_hosts(stores.tenant(&namespace, &other.spec.tenant_ref)?.access()?)
    };
    let sharing = stores.sharing(resource);
    let others = sharing.iter().filter_map(|other| other.0.as_ref().ok());
    first_conflict(resource, others, hosts)
}

fn first_conflict<'a>(
    resource: &ClientSecretRotation,
    others: impl Iterator<Item = &'a ClientSecretRotation>,
    hosts: impl Fn(&ClientSecretRotation) -> Option<Vec<String>>,
) -> Option<Rejection> {
    for other in others {
        let shares_target = other.spec.target.name == resource.spec.target.name
            && other.namespace() == resource.namespace();
        let shares_client_id = other.spec.client_id == resource.spec.client_id;
        if !(shares_target || shares_client_id) || !takes_precedence(other, resource) {
            continue;
        }
        if shares_target {
            return Some(target_claimed(resource, other));
        }
        let shares_tenant = other.namespace() == resource.namespace()
            && other.spec.tenant_ref == resource.spec.tenant_ref;
        if shares_tenant || have_common_host(hosts(other), hosts(resource)) {
            return Some(client_claimed(resource, other));
        }
    }
    None
}

fn have_common_host(one: Option<Vec<String>>, other: Option<Vec<String>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.iter().any(|host| other.contains(host)),
        _ => false,
    }
}

fn target_claimed(resource: &ClientSecretRotation, other: &ClientSecretRotation) -> Rejection {
    Rejection::new(
        Reason::TargetClaimed,
        format!(
            "the Secret {} is the target of the older ClientSecretRotation {}. Set another \
             spec.target.name in a new resource, or delete one of the two",
            resource.spec.target.name,
            other.name_any(),
        ),
    )
}

fn client_claimed(resource: &ClientSecretRotation, other: &ClientSecretRotation) -> Rejection {
    let name = other.name_any();
    let message = if other.namespace() == resource.namespace() {
        format!(
            "the older ClientSecretRotation {name} already rotates this client. Mount its Secret \
             {}, or delete one of the two",
            other.spec.target.name
        )
    } else {
        format!(
            "the older ClientSecretRotation {name} in the namespace {} already rotates this client, \
             and a client has only one secret. Delete one of the two",
            other.namespace().unwrap_or_default()
        )
    };
    Rejection::new(Reason::ClientClaimed, message)
}

/// Returns whether `other` takes precedence: it works and `resource` never has, or it is older; the
/// UID decides between resources of the same age. One that never worked and is stalled never takes
/// precedence.
fn takes_precedence(other: &ClientSecretRotation, resource: &ClientSecretRotation) -> bool {
    if never_worked(other) && is_stalled(other) {
        return false;
    }
    let created = |resource: &ClientSecretRotation| {
        resource.metadata.creation_timestamp.as_ref().map(|time| time.0)
    };
    let by_age = match (created(other), created(resource)) {
        (Some(other), Some(resource)) => other.cmp(&resource),
        (other, resource) => resource.is_some().cmp(&other.is_some()),
    };
    let order = never_worked(other).cmp(&never_worked(resource)).then(by_age);
    order.then_with(|| other.uid().cmp(&resource.uid())) == Ordering::Less
}

fn never_worked(resource: &ClientSecretRotation) -> bool {
    match &resource.status {
        None => true,
        Some(status) => status.current.is_none() && status.rotation.is_none(),
    }
}

fn is_stalled(resource: &ClientSecretRotation) -> bool {
    match &resource.status {
        None => false,
        Some(status) => is_condition_true(&status.conditions, condition_types::STALLED),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A resource of the tenant `acme` of its namespace, and the hosts of that tenant.
    struct Fixture(ClientSecretRotation, Vec<String>);

    fn resource(key: &str, second: u32, client: &str, target: &str) -> Fixture {
        let (namespace, name) = key.split_once('/').unwrap();
        let resource = serde_json::from_value(json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1",
            "kind": "ClientSecretRotation",
            "metadata": {
                "name": name, "namespace": namespace, "uid": name,
                "creationTimestamp": format!("2026-11-23T10:00:{second:02}Z"),
            },
            "spec": {
                "clientId": client, "tenantRef": { "name": "acme" }, "target": { "name": target },
            },
        }));
        Fixture(resource.unwrap(), vec!["acme.eu.auth0.com".to_owned()])
    }

    impl Fixture {
        fn known_by(mut self, hosts: &[&str]) -> Fixture {
            self.1 = hosts.iter().map(|host| (*host).to_owned()).collect();
            self
        }

        fn with_status(mut self, status: Value) -> Fixture {
            self.0.status = Some(serde_json::from_value(status).unwrap());
            self
        }
    }

    /// Returns the reason that each resource is rejected with.
    fn reasons(all: &[Fixture]) -> Vec<Option<Reason>> {
        let hosts = |resource: &ClientSecretRotation| {
            all.iter()
                .find(|fixture| fixture.0.uid() == resource.uid())
                .map(|fixture| fixture.1.clone())
        };
        all.iter()
            .map(|Fixture(resource, _)| {
                let others = all.iter().map(|fixture| &fixture.0);
                first_conflict(resource, others, hosts).map(|rejection| rejection.reason)
            })
            .collect()
    }

    #[test]
    fn older_resource_keeps_the_target_and_the_client() {
        let all = [
            resource("shop/same-target", 2, "client-2", "target-1"),
            resource("shop/first", 1, "client-1", "target-1"),
            resource("shop/apart", 4, "client-4", "target-4"),
            resource("shop/same-client", 3, "client-1", "target-3"),
        ];
        assert_eq!(
            reasons(&all),
            [Some(Reason::TargetClaimed), None, None, Some(Reason::ClientClaimed)]
        );
    }

    #[test]
    fn client_is_shared_across_namespaces_and_target_is_not() {
        let all = [
            resource("shop/first", 1, "client-1", "target-1"),
            resource("other/same-client", 2, "client-1", "target-1"),
            resource("other/same-target-name", 3, "client-3", "target-3"),
        ];
        assert_eq!(reasons(&all), [None, Some(Reason::ClientClaimed), None]);
    }

    #[test]
    fn spellings_of_one_tenant_are_the_same_tenant() {
        let canonical = ["acme.eu.auth0.com"];
        let all = [
            resource("a/first", 1, "c", "t").known_by(&canonical),
            resource("b/custom", 2, "c", "t").known_by(&["acme.eu.auth0.com", "login.acme.com"]),
            resource("c/custom", 3, "c", "t").known_by(&["login.acme.com"]),
            resource("d/elsewhere", 4, "c", "t").known_by(&["else.eu.auth0.com"]),
        ];
        let claimed = Some(Reason::ClientClaimed);
        assert_eq!(reasons(&all), [None, claimed, claimed, None]);
    }

    #[test]
    fn resource_that_never_worked_does_not_block_one_that_works() {
        let all = [
            resource("a/squatter", 1, "c", "t"),
            resource("b/at-work", 2, "c", "t").with_status(json!({ "current": 3 })),
        ];
        assert_eq!(reasons(&all), [Some(Reason::ClientClaimed), None]);
    }

    #[test]
    fn stalled_resource_does_not_block_new_claim() {
        let stalled = json!({ "conditions": [{
            "type": "Stalled", "status": "True", "reason": "NotAllowed", "message": "",
            "lastTransitionTime": "2026-11-23T10:00:05Z",
        }] });
        let all = [
            resource("a/squatter", 1, "c", "t").with_status(stalled),
            resource("b/new", 2, "c", "t"),
        ];
        assert_eq!(reasons(&all)[1], None);
    }

    #[test]
    fn exactly_one_of_two_resources_of_the_same_age_keeps_the_target() {
        let all = [resource("shop/y", 1, "c", "t"), resource("shop/x", 1, "c", "t")];
        assert_eq!(reasons(&all), [Some(Reason::TargetClaimed), None]);
    }
}
