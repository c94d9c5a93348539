//! Who may have what: two resources can't share a target Secret or a client. The older keeps it.

use std::{cmp::Ordering, sync::Arc};

use kube::ResourceExt as _;
use rotation::Refusal;

use super::cache::Guarded;
use crate::api::ClientSecretRotation;

/// Why `resource` has to stand back, if an older one of `others` claims the same.
pub(super) fn refusal(resource: &ClientSecretRotation, others: &[Arc<Guarded>]) -> Option<Refusal> {
    let namespace = resource.namespace();
    others
        .iter()
        .filter_map(|other| other.0.as_ref().ok())
        .filter(|other| other.namespace() == namespace && is_older(other, resource))
        .find_map(|other| conflict(resource, other))
}

fn conflict(resource: &ClientSecretRotation, older: &ClientSecretRotation) -> Option<Refusal> {
    let name = older.name_any();
    let (mine, theirs) = (&resource.spec, &older.spec);
    if mine.target.name == theirs.target.name {
        return Some(Refusal::new(
            "TargetClaimed",
            format!(
                "the Secret {} is the target of the older ClientSecretRotation {name}: choose another \
                 spec.target.name in a new resource, or delete one of the two",
                mine.target.name
            ),
        ));
    }
    (mine.client_id == theirs.client_id && mine.tenant_ref == theirs.tenant_ref).then(|| {
        Refusal::new(
            "ClientClaimed",
            format!(
                "the client is rotated by the older ClientSecretRotation {name} already: mount its \
                 Secret {}, or delete one of the two",
                theirs.target.name
            ),
        )
    })
}

/// By the time of creation; the UID decides between twins.
fn is_older(other: &ClientSecretRotation, than: &ClientSecretRotation) -> bool {
    let created = |resource: &ClientSecretRotation| {
        resource.metadata.creation_timestamp.as_ref().map(|time| time.0)
    };
    let order = match (created(other), created(than)) {
        (Some(other), Some(than)) => other.cmp(&than),
        (other, than) => than.is_some().cmp(&other.is_some()),
    };
    order.then_with(|| other.uid().cmp(&than.uid())) == Ordering::Less
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;

    use super::*;

    fn resource(name: &str, second: u32, uid: &str, client: &str, target: &str) -> Arc<Guarded> {
        let resource = serde_json::from_value(serde_json::json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1",
            "kind": "ClientSecretRotation",
            "metadata": {
                "name": name, "namespace": "shop", "uid": uid,
                "creationTimestamp": format!("2026-11-23T10:00:{second:02}Z"),
            },
            "spec": {
                "clientId": client, "tenantRef": { "name": "acme" }, "target": { "name": target },
            },
        }));
        Arc::new(DeserializeGuard(Ok(resource.unwrap())))
    }

    fn reason(of: &Arc<Guarded>, all: &[Arc<Guarded>]) -> Option<&'static str> {
        refusal(of.0.as_ref().unwrap(), all).map(|refusal| refusal.reason)
    }

    #[test]
    fn the_older_keeps_the_target_and_the_client() {
        let first = resource("first", 1, "b", "client-1", "target-1");
        let same_target = resource("same-target", 2, "a", "client-2", "target-1");
        let same_client = resource("same-client", 3, "c", "client-1", "target-3");
        let apart = resource("apart", 4, "d", "client-4", "target-4");
        let all = [same_target, first, apart, same_client];
        let reasons: Vec<_> = all.iter().map(|of| reason(of, &all)).collect();
        assert_eq!(reasons, [Some("TargetClaimed"), None, None, Some("ClientClaimed")]);
    }

    #[test]
    fn of_twins_exactly_one_keeps_it() {
        let all = [resource("x", 1, "b", "c", "t"), resource("y", 1, "a", "c", "t")];
        assert_eq!([reason(&all[0], &all), reason(&all[1], &all)], [Some("TargetClaimed"), None]);
    }
}
