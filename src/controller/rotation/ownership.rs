//! Conflicting owners: two resources cannot share a target Secret or a client.
//!
//! A client is the same one in every namespace, however its tenant's domain is spelled. Whether two
//! tenants are the same one is decided by the origins that issued tokens to them, and not by
//! their specs: a spec that only names the proven origin of another tenant makes a resource lose
//! against that tenant's resources, and never win.
//!
//! Between resources of one tenant, one that a ClusterAuth0Tenant allows takes precedence over one of
//! an Auth0Tenant. Then a resource that works takes precedence over one that never has, and one that
//! cannot work, for instance because its tenant's policy denies it the client, over none.

use std::cmp::Ordering;

use kube::ResourceExt as _;
use rotation::{Reason, Rejection, condition_types, is_condition_true};

use super::RotationController;
use crate::{
    api::{ClientSecretRotation, TenantId, TenantKind},
    controller::{object_key::ObjectKey, tenant::Permission},
};

/// A conflict with a resource that takes precedence.
pub(super) struct Conflict {
    /// For the resource's author. Names no resource of another namespace.
    pub(super) rejection: Rejection,
    /// The resource that takes precedence.
    pub(super) owner: ObjectKey,
}

/// Returns the conflict of a resource with one that takes precedence.
pub(super) fn conflicting(
    resource: &ClientSecretRotation,
    controller: &RotationController,
) -> Option<Conflict> {
    let stores = &controller.context.stores;
    // Most resources that are rejected lose against the same one: it is checked first.
    for owner in controller.last_owners.of(resource) {
        if let Some(owner) = stores.rotation(&owner)
            && let Ok(owner) = &owner.0
            && let Some(conflict) = first_conflict(resource, [owner].into_iter(), controller)
        {
            return Some(conflict);
        }
    }
    let sharing = stores.sharing(resource);
    let others = sharing.iter().filter_map(|other| other.0.as_ref().ok());
    let conflict = first_conflict(resource, others, controller)?;
    controller.last_owners.set(resource, conflict.rejection.reason, &conflict.owner);
    Some(conflict)
}

/// Returns whether another resource, in any namespace, names the same client.
pub(super) fn has_rivals(resource: &ClientSecretRotation, controller: &RotationController) -> bool {
    controller.context.stores.is_client_shared(&resource.spec.client_id)
}

/// The origins of the tenant that a resource refers to.
#[derive(Clone, Default)]
struct TenantOrigins {
    /// The one that accepted the tenant's credentials.
    proven: Option<String>,
    /// Those that its spec names.
    named: Vec<String>,
}

/// The permission by which a resource has its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// The credentials of an Auth0Tenant in its namespace.
    OwnTenant,
    /// A rule of a ClusterAuth0Tenant.
    Rule,
    /// A rule of a ClusterAuth0Tenant, if the client's metadata matches.
    UnknownMetadata,
    /// The ClusterAuth0Tenant denies it the client.
    Denied,
}

/// Facts about the tenants of resources.
trait Tenants {
    fn origins(&self, resource: &ClientSecretRotation) -> TenantOrigins;

    fn grant(&self, resource: &ClientSecretRotation) -> Grant;
}

impl Tenants for RotationController {
    fn origins(&self, resource: &ClientSecretRotation) -> TenantOrigins {
        let namespace = resource.namespace().unwrap_or_default();
        let tenant = self.context.stores.tenant(&namespace, &resource.spec.tenant_ref);
        let Some(tenant) = tenant else { return TenantOrigins::default() };
        let named = tenant.access().map(|access| access.named_origins()).unwrap_or_default();
        TenantOrigins { proven: self.tenants.proven_origin(&tenant), named }
    }

    fn grant(&self, resource: &ClientSecretRotation) -> Grant {
        if resource.spec.tenant_ref.kind == TenantKind::Auth0Tenant {
            return Grant::OwnTenant;
        }
        match self.tenants.permission(resource) {
            Some(Permission::Granted) => Grant::Rule,
            Some(Permission::ByMetadata(wanted)) => {
                let uid = resource.uid().unwrap_or_default();
                let matches =
                    self.states.with(&uid, |state| state.metadata.as_ref()?.matches_for(&wanted));
                match matches {
                    Some(true) => Grant::Rule,
                    Some(false) => Grant::Denied,
                    None if never_worked(resource) => Grant::UnknownMetadata,
                    None => Grant::Rule,
                }
            }
            Some(Permission::Denied(_)) | None => Grant::Denied,
        }
    }
}

fn first_conflict<'a>(
    resource: &ClientSecretRotation,
    others: impl Iterator<Item = &'a ClientSecretRotation>,
    tenants: &impl Tenants,
) -> Option<Conflict> {
    let mut own_origins = None;
    for other in others {
        if other.uid() == resource.uid() {
            continue;
        }
        let shares_target = other.spec.target.name == resource.spec.target.name
            && other.namespace() == resource.namespace();
        if shares_target && takes_precedence(other, resource) {
            return Some(conflict(target_claimed(resource, other), other));
        }
        if other.spec.client_id != resource.spec.client_id {
            continue;
        }
        let origins = own_origins.get_or_insert_with(|| tenants.origins(resource));
        if owns_client(other, resource, origins, tenants) {
            return Some(conflict(client_claimed(resource, other), other));
        }
    }
    None
}

fn conflict(rejection: Rejection, owner: &ClientSecretRotation) -> Conflict {
    Conflict { rejection, owner: ObjectKey::of(owner) }
}

/// How the tenants of two resources are related.
enum Relation {
    /// They are the same Auth0 tenant.
    Same,
    /// The other one's proven origin is named by the resource's tenant, which has not proven it.
    OtherProven,
    /// Nothing makes them the same tenant, or only a text of the other one.
    Unrelated,
}

/// Returns whether `other`, which names the same client, owns it against `resource`.
fn owns_client(
    other: &ClientSecretRotation,
    resource: &ClientSecretRotation,
    origins: &TenantOrigins,
    tenants: &impl Tenants,
) -> bool {
    if never_worked(other) && is_stalled(other) {
        return false;
    }
    let relation = relation(other, resource, origins, tenants);
    if matches!(relation, Relation::Unrelated) {
        return false;
    }
    let grant = tenants.grant(other);
    let is_rotating = other.status.as_ref().is_some_and(|status| status.rotation.is_some());
    if grant == Grant::Denied && !is_rotating {
        return false;
    }
    match relation {
        Relation::OtherProven => matches!(grant, Grant::OwnTenant | Grant::Rule),
        _ => match (grant, tenants.grant(resource)) {
            (Grant::Rule, Grant::OwnTenant) => true,
            (Grant::OwnTenant, Grant::Rule) => false,
            _ => takes_precedence(other, resource),
        },
    }
}

fn relation(
    other: &ClientSecretRotation,
    resource: &ClientSecretRotation,
    origins: &TenantOrigins,
    tenants: &impl Tenants,
) -> Relation {
    if tenant_id(other) == tenant_id(resource) {
        return Relation::Same;
    }
    let others = tenants.origins(other);
    if others.proven.is_some() && others.proven == origins.proven {
        return Relation::Same;
    }
    let resource_names_other = names(origins, &others.proven);
    let other_names_resource = names(&others, &origins.proven);
    match (resource_names_other, other_names_resource) {
        // Each has proven an origin that the other one names.
        (true, true) => Relation::Same,
        (true, false) => Relation::OtherProven,
        (false, _) => Relation::Unrelated,
    }
}

fn names(origins: &TenantOrigins, proven: &Option<String>) -> bool {
    proven.as_ref().is_some_and(|proven| origins.named.contains(proven))
}

fn tenant_id(resource: &ClientSecretRotation) -> TenantId {
    let namespace = resource.namespace().unwrap_or_default();
    TenantId::referenced(&namespace, &resource.spec.tenant_ref)
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
    let message = if other.namespace() == resource.namespace() {
        format!(
            "the ClientSecretRotation {} of this namespace already rotates this client. Mount its \
             Secret {}, or delete one of the two",
            other.name_any(),
            other.spec.target.name
        )
    } else {
        "a ClientSecretRotation in another namespace already rotates this client, and a client has \
         only one secret. Delete this one, or ask an administrator of the operator, whose log names \
         the other one"
            .to_owned()
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

    const ACME: &str = "https://acme.eu.auth0.com";
    const CUSTOM: &str = "https://login.acme.com";
    const FAKE: &str = "https://auth0.mallory.example";

    /// A resource of the tenant `acme` of its namespace, with the facts about that tenant.
    struct Fixture {
        resource: ClientSecretRotation,
        origins: TenantOrigins,
        grant: Grant,
    }

    fn resource(key: &str, second: u32, client: &str, target: &str) -> Fixture {
        let (namespace, name) = key.split_once('/').unwrap();
        let resource = serde_json::from_value(json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1",
            "kind": "ClientSecretRotation",
            "metadata": {
                "name": name, "namespace": namespace, "uid": key,
                "creationTimestamp": format!("2026-11-23T10:00:{second:02}Z"),
            },
            "spec": {
                "clientId": client, "tenantRef": { "name": "acme" }, "target": { "name": target },
            },
        }));
        let origins = TenantOrigins { proven: Some(ACME.to_owned()), named: vec![ACME.to_owned()] };
        Fixture { resource: resource.unwrap(), origins, grant: Grant::OwnTenant }
    }

    impl Fixture {
        /// Replaces the tenant's origins: the one that issued a token, and those that its spec names.
        fn with_origins(mut self, proven: Option<&str>, named: &[&str]) -> Fixture {
            let named = named.iter().map(|origin| (*origin).to_owned()).collect();
            self.origins = TenantOrigins { proven: proven.map(str::to_owned), named };
            self
        }

        fn with_status(mut self, status: Value) -> Fixture {
            self.resource.status = Some(serde_json::from_value(status).unwrap());
            self
        }

        /// Lets the resource refer to the ClusterAuth0Tenant of this name.
        fn of_cluster_tenant(mut self, name: &str, grant: Grant) -> Fixture {
            let reference = json!({ "kind": "ClusterAuth0Tenant", "name": name });
            self.resource.spec.tenant_ref = serde_json::from_value(reference).unwrap();
            self.grant = grant;
            self
        }
    }

    struct Fixtures<'a>(&'a [Fixture]);

    impl Fixtures<'_> {
        fn of(&self, resource: &ClientSecretRotation) -> &Fixture {
            self.0.iter().find(|fixture| fixture.resource.uid() == resource.uid()).unwrap()
        }
    }

    impl Tenants for Fixtures<'_> {
        fn origins(&self, resource: &ClientSecretRotation) -> TenantOrigins {
            self.of(resource).origins.clone()
        }

        fn grant(&self, resource: &ClientSecretRotation) -> Grant {
            self.of(resource).grant
        }
    }

    /// Returns the conflict of each resource.
    fn conflicts(all: &[Fixture]) -> Vec<Option<Conflict>> {
        let found = all.iter().map(|fixture| {
            let others = all.iter().map(|fixture| &fixture.resource);
            first_conflict(&fixture.resource, others, &Fixtures(all))
        });
        found.collect()
    }

    /// Returns the reason that each resource is rejected with.
    fn reasons(all: &[Fixture]) -> Vec<Option<Reason>> {
        let conflicts = conflicts(all).into_iter();
        conflicts.map(|conflict| conflict.map(|conflict| conflict.rejection.reason)).collect()
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
        let all = [
            resource("a/first", 1, "c", "t"),
            resource("b/custom", 2, "c", "t").with_origins(Some(CUSTOM), &[ACME, CUSTOM]),
            resource("c/custom", 3, "c", "t").with_origins(Some(CUSTOM), &[CUSTOM]),
            resource("d/elsewhere", 4, "c", "t")
                .with_origins(Some("https://else.eu.auth0.com"), &["https://else.eu.auth0.com"]),
        ];
        let claimed = Some(Reason::ClientClaimed);
        assert_eq!(reasons(&all), [None, claimed, claimed, None]);
    }

    #[test]
    fn tenant_that_only_names_the_origin_of_another_never_wins() {
        let claimed = Some(Reason::ClientClaimed);
        // By its domain or its audience, at a fake Auth0; and by an endpoint that issued no token.
        for (proven, named) in [
            (Some(FAKE), [ACME, FAKE].as_slice()),
            (Some(FAKE), &[ACME, CUSTOM, FAKE]),
            (None, &[ACME]),
            (None, &[ACME, FAKE]),
        ] {
            let squatter = resource("a/squatter", 1, "c", "t").with_origins(proven, named);
            let squatter = squatter.with_status(json!({ "current": 7 }));
            let all = [squatter, resource("b/owner", 2, "c", "t")];
            assert_eq!(reasons(&all), [claimed, None], "{proven:?} {named:?}");
        }
    }

    #[test]
    fn tenants_of_which_none_is_proven_do_not_conflict() {
        let all = [
            resource("a/one", 1, "c", "t").with_origins(None, &[ACME]),
            resource("b/two", 2, "c", "t").with_origins(None, &[ACME]),
            resource("c/elsewhere", 3, "c", "t").with_origins(Some(FAKE), &[FAKE]),
        ];
        assert_eq!(reasons(&all), [None, None, None]);
    }

    #[test]
    fn resources_of_one_tenant_conflict_before_it_is_proven() {
        let all = [
            resource("shop/one", 1, "c", "t").with_origins(None, &[ACME]),
            resource("shop/two", 2, "c", "u").with_origins(None, &[ACME]),
        ];
        assert_eq!(reasons(&all), [None, Some(Reason::ClientClaimed)]);
    }

    #[test]
    fn exactly_one_of_two_tenants_that_name_each_other_keeps_the_client() {
        let all = [
            resource("a/one", 1, "c", "t").with_origins(Some(CUSTOM), &[ACME, CUSTOM]),
            resource("b/two", 2, "c", "t").with_origins(Some(ACME), &[ACME, CUSTOM]),
        ];
        assert_eq!(reasons(&all), [None, Some(Reason::ClientClaimed)]);
    }

    #[test]
    fn rule_of_a_cluster_tenant_takes_precedence_over_a_namespaced_tenant() {
        let claimed = Some(Reason::ClientClaimed);
        let squatter = || resource("a/squatter", 1, "c", "t").with_status(json!({ "current": 3 }));
        let granted = |grant| resource("b/new", 2, "c", "t").of_cluster_tenant("shared", grant);
        assert_eq!(reasons(&[squatter(), granted(Grant::Rule)]), [claimed, None]);
        // Without the rule, the one that works keeps the client.
        for grant in [Grant::UnknownMetadata, Grant::Denied] {
            assert_eq!(reasons(&[squatter(), granted(grant)])[0], None, "{grant:?}");
        }
    }

    #[test]
    fn resource_that_a_cluster_tenant_denies_keeps_the_client_from_nobody() {
        let denied = |key| {
            let denied = resource(key, 1, "c", "t").of_cluster_tenant("shared", Grant::Denied);
            denied.with_status(json!({ "current": 3 }))
        };
        let granted = resource("b/new", 2, "c", "t").of_cluster_tenant("shared", Grant::Rule);
        assert_eq!(reasons(&[denied("a/former"), granted])[1], None);
        let custom = resource("b/custom", 2, "c", "t").with_origins(Some(CUSTOM), &[ACME, CUSTOM]);
        assert_eq!(reasons(&[denied("a/former"), custom])[1], None);
    }

    #[test]
    fn message_names_no_resource_of_another_namespace() {
        let all = [
            resource("shop/first", 1, "client-1", "target-1"),
            resource("shop/second", 2, "client-1", "target-2"),
            resource("other/third", 3, "client-1", "target-3"),
        ];
        let conflicts = conflicts(&all);
        let message = |position: usize| match &conflicts[position] {
            Some(Conflict { rejection, .. }) => rejection.message.clone(),
            None => panic!("no conflict"),
        };
        assert!(message(1).contains("ClientSecretRotation first of this namespace"));
        assert!(message(2).contains("in another namespace"));
        for name in ["shop", "first", "second", "target-"] {
            assert!(!message(2).contains(name), "{}", message(2));
        }
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
