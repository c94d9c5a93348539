//! Who may have what: two resources can't share a target Secret or a client. The older keeps it.
//!
//! A client is the same whatever namespace a resource is in, and however its tenant's domain is
//! spelled: by the canonical domain, a custom one, or an endpoint. A resource that has never worked
//! can't keep a client from one that does; and one that can't work, say because its tenant's policy
//! doesn't give it the client, keeps it from nobody.

use std::{cmp::Ordering, sync::Arc};

use kube::{ResourceExt as _, runtime::reflector::ObjectRef};
use rotation::{Reason, Rejection, condition_types, find_condition, is_condition_true};

use super::{
    cache::{Guarded, Watched},
    tenants::{AnyTenant, Destination},
};
use crate::api::{ClientSecretRotation, TenantAccess};

/// Those that stood back for another resource and may have to do so no longer, now that `changed`
/// has changed or gone.
pub(super) fn rivals(changed: &Guarded, watched: &Watched) -> Vec<ObjectRef<Guarded>> {
    let Ok(changed) = &changed.0 else { return Vec::new() };
    let is_rival = |other: &&Arc<Guarded>| {
        let Ok(other) = &other.0 else { return false };
        let shares_target = other.spec.target.name == changed.spec.target.name
            && other.namespace() == changed.namespace();
        let status = other.status.as_ref();
        let stalled =
            status.and_then(|status| find_condition(&status.conditions, condition_types::STALLED));
        (shares_target || other.spec.client_id == changed.spec.client_id)
            && other.uid() != changed.uid()
            && stalled.is_some_and(|stalled| {
                Reason::parse(&stalled.reason).is_some_and(|reason| CLAIMED.contains(&reason))
            })
    };
    let sharing = watched.sharing(changed);
    sharing.iter().filter(is_rival).map(|other| ObjectRef::from_obj(&**other)).collect()
}

/// The reasons for standing back.
const CLAIMED: [Reason; 2] = [Reason::TargetClaimed, Reason::ClientClaimed];

/// Why `resource` has to stand back, if it has to.
pub(super) fn refusal(resource: &ClientSecretRotation, watched: &Watched) -> Option<Rejection> {
    let hosts_of = |other: &ClientSecretRotation| {
        let namespace = other.namespace().unwrap_or_default();
        match watched.tenant(&namespace, &other.spec.tenant_ref)? {
            AnyTenant::Namespaced(tenant) => hosts_of(&tenant.0.as_ref().ok()?.spec.access),
            AnyTenant::Cluster(tenant) => hosts_of(&tenant.0.as_ref().ok()?.spec.access),
        }
    };
    let sharing = watched.sharing(resource);
    let others = sharing.iter().filter_map(|other| other.0.as_ref().ok());
    first_conflict(resource, others, hosts_of)
}

fn hosts_of(access: &TenantAccess) -> Option<Vec<String>> {
    Some(Destination::of(access).ok()?.hosts(access))
}

fn first_conflict<'a>(
    resource: &ClientSecretRotation,
    mut others: impl Iterator<Item = &'a ClientSecretRotation>,
    hosts_of: impl Fn(&ClientSecretRotation) -> Option<Vec<String>>,
) -> Option<Rejection> {
    others.find_map(|other| {
        let shares_target = other.spec.target.name == resource.spec.target.name
            && other.namespace() == resource.namespace();
        let may_share_client = other.spec.client_id == resource.spec.client_id;
        if !(shares_target || may_share_client) || !goes_before(other, resource) {
            return None;
        }
        if shares_target {
            return Some(target_claimed(resource, other));
        }
        let shares_client = (other.namespace() == resource.namespace()
            && other.spec.tenant_ref == resource.spec.tenant_ref)
            || share_a_host(hosts_of(other), hosts_of(resource));
        shares_client.then(|| client_claimed(resource, other))
    })
}

fn share_a_host(some: Option<Vec<String>>, others: Option<Vec<String>>) -> bool {
    let others = others.unwrap_or_default();
    some.is_some_and(|some| some.iter().any(|host| others.contains(host)))
}

fn target_claimed(resource: &ClientSecretRotation, other: &ClientSecretRotation) -> Rejection {
    Rejection::new(
        Reason::TargetClaimed,
        format!(
            "the Secret {} is the target of the older ClientSecretRotation {}: choose another \
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
            "the client is rotated by the older ClientSecretRotation {name} already: mount its \
             Secret {}, or delete one of the two",
            other.spec.target.name
        )
    } else {
        format!(
            "the client is rotated by the older ClientSecretRotation {name} in the namespace {} \
             already: a client has one secret, and one resource that rotates it; delete one of the two",
            other.namespace().unwrap_or_default()
        )
    };
    Rejection::new(Reason::ClientClaimed, message)
}

/// A resource that works goes before one that never has, and one that never has and is stalled goes
/// before nobody. Then the time of creation tells, and the UID decides between twins.
fn goes_before(other: &ClientSecretRotation, than: &ClientSecretRotation) -> bool {
    let never_worked = |resource: &ClientSecretRotation| {
        let status = resource.status.as_ref();
        status.is_none_or(|status| status.current.is_none() && status.rotation.is_none())
    };
    let is_stalled = |resource: &ClientSecretRotation| {
        resource
            .status
            .as_ref()
            .is_some_and(|status| is_condition_true(&status.conditions, condition_types::STALLED))
    };
    if never_worked(other) && is_stalled(other) {
        return false;
    }
    let created = |resource: &ClientSecretRotation| {
        resource.metadata.creation_timestamp.as_ref().map(|time| time.0)
    };
    let by_age = match (created(other), created(than)) {
        (Some(other), Some(than)) => other.cmp(&than),
        (other, than) => than.is_some().cmp(&other.is_some()),
    };
    let order = never_worked(other).cmp(&never_worked(than)).then(by_age);
    order.then_with(|| other.uid().cmp(&than.uid())) == Ordering::Less
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A resource of the tenant `acme` of its namespace, which is known by the hosts given with it.
    struct Made(ClientSecretRotation, Vec<String>);

    fn resource(place: &str, second: u32, client: &str, target: &str) -> Made {
        let (namespace, name) = place.split_once('/').unwrap();
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
        Made(resource.unwrap(), vec!["acme.eu.auth0.com".to_owned()])
    }

    impl Made {
        fn known_by(mut self, hosts: &[&str]) -> Made {
            self.1 = hosts.iter().map(|host| (*host).to_owned()).collect();
            self
        }

        fn with_status(mut self, status: Value) -> Made {
            self.0.status = Some(serde_json::from_value(status).unwrap());
            self
        }
    }

    /// The reason for each of them.
    fn reasons(all: &[Made]) -> Vec<Option<Reason>> {
        let hosts_of = |of: &ClientSecretRotation| {
            all.iter().find(|made| made.0.uid() == of.uid()).map(|made| made.1.clone())
        };
        all.iter()
            .map(|Made(of, _)| {
                let others = all.iter().map(|made| &made.0);
                first_conflict(of, others, hosts_of).map(|refusal| refusal.reason)
            })
            .collect()
    }

    #[test]
    fn the_older_keeps_the_target_and_the_client() {
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
    fn a_client_is_one_in_all_namespaces_and_a_target_is_not() {
        let all = [
            resource("shop/first", 1, "client-1", "target-1"),
            resource("other/same-client", 2, "client-1", "target-1"),
            resource("other/same-target-name", 3, "client-3", "target-3"),
        ];
        assert_eq!(reasons(&all), [None, Some(Reason::ClientClaimed), None]);
    }

    #[test]
    fn spellings_of_a_tenant_are_one_tenant_and_others_are_not() {
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
    fn who_never_worked_keeps_nothing_from_who_does() {
        let all = [
            resource("a/squatter", 1, "c", "t"),
            resource("b/at-work", 2, "c", "t").with_status(json!({ "current": 3 })),
        ];
        assert_eq!(reasons(&all), [Some(Reason::ClientClaimed), None]);
    }

    #[test]
    fn who_can_not_work_keeps_nothing_from_who_is_new() {
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
    fn of_twins_exactly_one_keeps_it() {
        let all = [resource("shop/y", 1, "c", "t"), resource("shop/x", 1, "c", "t")];
        assert_eq!(reasons(&all), [Some(Reason::TargetClaimed), None]);
    }
}
