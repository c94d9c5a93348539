//! Protection of tenants' credentials: a Secret that holds them is the target of no other client, and
//! a management client is rotated in its credentials Secret only.
//!
//! A Secret is a tenant's from when a tenant names it until a resource has made it its own: a tenant
//! that names a published target Secret later uses it under the rules of the egress policy, and takes
//! nothing from the resource.

use std::time::Duration;

use kube::ResourceExt as _;
use rotation::{Reason, Rejection};

use super::reconcile::Reconciliation;
use crate::{
    api::{
        ClientSecretRotation, DeletionPolicy, Keys, OWNER_ANNOTATION, TargetSpec, TenantId,
        TenantKind, TenantRef, describe_tenant,
    },
    controller::{
        error::Error,
        object_key::ObjectKey,
        target_secret::Snapshot,
        tenant::{CredentialsUse, TenantHandle},
    },
};

/// How long the client ID in a credentials Secret counts in a reconcile.
const RECONCILE_MAX_AGE: Duration = Duration::from_secs(10);

/// How long it counts right before a change at Auth0, or before a target Secret is created. Resources
/// that change at the same time share a read.
const CHANGE_MAX_AGE: Duration = Duration::from_secs(2);

/// Facts about a target Secret at the time of the check.
struct TargetFacts<'a> {
    resource: &'a ClientSecretRotation,
    secret: Option<&'a Snapshot>,
    /// The tenant that the resource refers to.
    tenant: TenantId,
    /// The origin that this tenant calls.
    origin: Option<&'a str>,
    /// Whether this process has seen it published by the resource.
    was_published: bool,
}

/// Result of a check of a target Secret.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TargetCheck {
    /// Why it may not be the target.
    pub(super) conflict: Option<Rejection>,
    /// Whether the operator authenticates with it for this resource.
    pub(super) is_own_credentials: bool,
}

/// Checks the target Secret and the client against the credentials of all tenants, as the watches and
/// recent reads know them.
pub(super) async fn check(
    reconciliation: &Reconciliation<'_>,
    tenant: &TenantHandle,
) -> Result<TargetCheck, Error> {
    let tenants = &reconciliation.controller.tenants;
    let uses = tenants.credentials_uses(&target_key(reconciliation));
    let facts = facts(reconciliation);
    let mut check = check_target(&uses, &facts);
    if facts.is_published() {
        note_published(reconciliation);
    }
    let has_response = reconciliation.with_state(|state| state.unpublished_response.is_some());
    // A response goes before any other call.
    if check.conflict.is_none() && !check.is_own_credentials && !has_response {
        check.conflict = match check_client(reconciliation, tenant, RECONCILE_MAX_AGE).await {
            Ok(conflict) => conflict,
            // The check before a change reports it.
            Err(error) => {
                tracing::debug!(%error, "failed to read the credentials of a tenant");
                None
            }
        };
    }
    Ok(check)
}

/// Checks the client right before it is changed.
pub(super) async fn check_change(
    reconciliation: &Reconciliation<'_>,
    tenant: &TenantHandle,
) -> Result<(), Error> {
    if reconciliation.authorization.is_own_credentials {
        return Ok(());
    }
    reject(check_client(reconciliation, tenant, CHANGE_MAX_AGE).await?)
}

/// Checks again before the target Secret is written for the first time. If the Secret exists, with the
/// API server: only then, the tenants of the namespace are listed. One that does not exist holds no
/// credentials, so a tenant that the watch has not shown yet loses nothing: it is as if it had named
/// the Secret after its creation. In the same way, resources that were seen at the same time share a
/// read of the credentials after that.
pub(super) async fn check_first_write(reconciliation: &Reconciliation<'_>) -> Result<(), Error> {
    let facts = facts(reconciliation);
    if facts.is_published() {
        return Ok(());
    }
    let tenants = &reconciliation.controller.tenants;
    let key = target_key(reconciliation);
    let (uses, max_age) = match facts.secret {
        Some(_) => (tenants.read_credentials_uses(&key).await?, Duration::ZERO),
        None => {
            let seen_for = reconciliation.with_state(|state| state.seen_at.0.elapsed());
            (tenants.credentials_uses(&key), seen_for.min(CHANGE_MAX_AGE))
        }
    };
    let TargetCheck { conflict, is_own_credentials } = check_target(&uses, &facts);
    reject(conflict)?;
    if let Ok(tenant) = &reconciliation.tenant
        && !is_own_credentials
    {
        reject(check_client(reconciliation, tenant, max_age).await?)?;
    }
    Ok(())
}

/// Returns a text that changes with the tenants whose credentials are in the target Secret.
pub(super) fn version(
    resource: &ClientSecretRotation,
    controller: &super::RotationController,
) -> String {
    let namespace = resource.namespace().unwrap_or_default();
    let secret = ObjectKey::new(namespace, &resource.spec.target.name);
    let tenants = controller.context.stores.tenants_with_credentials(&secret);
    let versions = tenants.iter().map(|tenant| tenant.version().unwrap_or_default());
    versions.collect::<Vec<_>>().join("\n")
}

/// Remembers that the resource has published its client in the target Secret.
pub(super) fn note_published(reconciliation: &Reconciliation<'_>) {
    let target = reconciliation.resource.spec.target.name.clone();
    reconciliation.with_state(|state| state.published_target = Some(target));
}

fn reject(conflict: Option<Rejection>) -> Result<(), Error> {
    match conflict {
        Some(rejection) => Err(Error::Rejected(rejection)),
        None => Ok(()),
    }
}

fn target_key(reconciliation: &Reconciliation<'_>) -> ObjectKey {
    let name = &reconciliation.resource.spec.target.name;
    ObjectKey::new(&reconciliation.key.namespace, name)
}

fn facts<'r>(reconciliation: &'r Reconciliation<'_>) -> TargetFacts<'r> {
    let resource = &reconciliation.resource;
    let target = Some(&resource.spec.target.name);
    let origin = match &reconciliation.tenant {
        Ok(tenant) => tenant.origin.as_deref(),
        Err(_) => None,
    };
    TargetFacts {
        resource,
        secret: reconciliation.target.snapshot(),
        tenant: TenantId::referenced(&reconciliation.key.namespace, &resource.spec.tenant_ref),
        origin,
        was_published: reconciliation.with_state(|state| state.published_target.as_ref() == target),
    }
}

impl TargetFacts<'_> {
    /// Returns whether this resource has published its client in the Secret, and no other client of
    /// the API server has replaced it since. One that was deleted is restored.
    fn is_published(&self) -> bool {
        let Some(secret) = self.secret else { return self.was_published };
        let owned = secret.owned();
        let is_owner = owned.annotations.contains(OWNER_ANNOTATION)
            && secret.owner() == Some(self.resource.name_any().as_str());
        // The key may have been renamed since.
        let keys = [self.resource.spec.target.keys.client_id.as_str(), "client_id"];
        is_owner && keys.iter().any(|key| owned.data.contains(*key) && self.has_client(secret, key))
    }

    fn has_client(&self, secret: &Snapshot, key: &str) -> bool {
        secret.text(key).is_some_and(|text| text.trim() == self.resource.spec.client_id)
    }

    /// Returns whether the Secret holds the credentials of this resource's client.
    fn holds_client(&self) -> bool {
        self.secret.is_some_and(|secret| self.has_client(secret, "client_id"))
    }
}

/// Checks a target Secret against the tenants whose credentials it holds.
fn check_target(uses: &[CredentialsUse], facts: &TargetFacts<'_>) -> TargetCheck {
    let Some(first) = uses.first() else { return TargetCheck::default() };
    let is_used_by_tenant =
        uses.iter().any(|used| used.tenant == facts.tenant && !used.is_private_key);
    let target = &facts.resource.spec.target;
    if facts.is_published() {
        return if is_used_by_tenant {
            TargetCheck { conflict: unusable_as_credentials(target), is_own_credentials: true }
        } else {
            TargetCheck::default()
        };
    }
    let is_foreign =
        |used: &&CredentialsUse| used.is_private_key || used.origin.as_deref() != facts.origin;
    let foreign = match uses.iter().find(is_foreign) {
        None if !facts.holds_client() => Some(first),
        foreign => foreign,
    };
    match foreign {
        Some(used) => {
            TargetCheck { conflict: Some(other_client(target, used)), is_own_credentials: false }
        }
        None => TargetCheck {
            conflict: unusable_as_credentials(target),
            is_own_credentials: is_used_by_tenant,
        },
    }
}

fn other_client(target: &TargetSpec, used: &CredentialsUse) -> Rejection {
    let TenantId { kind, name, .. } = &used.tenant;
    let tenant = match kind {
        TenantKind::Auth0Tenant => describe_tenant(&TenantRef { kind: *kind, name: name.clone() }),
        TenantKind::ClusterAuth0Tenant => "a ClusterAuth0Tenant".to_owned(),
    };
    Rejection::new(
        Reason::CredentialsTarget,
        format!(
            "the Secret {} is for the credentials of the tenant's management client ({tenant}), and \
             this is another client. Set another spec.target.name",
            target.name
        ),
    )
}

/// Returns why the operator could not authenticate with a target Secret, if it could not.
fn unusable_as_credentials(target: &TargetSpec) -> Option<Rejection> {
    let message = if target.keys != Keys::default() {
        "the operator authenticates with the target Secret and reads its default keys. Remove \
         spec.target.keys"
    } else if target.deletion_policy == DeletionPolicy::Delete {
        "the operator authenticates with the target Secret, which must not be deleted with this \
         resource. Set spec.target.deletionPolicy to Retain"
    } else {
        return None;
    };
    Some(Rejection::new(Reason::CredentialsTarget, message))
}

/// Returns why the client may be rotated only elsewhere, if it is one that the operator authenticates
/// with.
async fn check_client(
    reconciliation: &Reconciliation<'_>,
    tenant: &TenantHandle,
    max_age: Duration,
) -> Result<Option<Rejection>, Error> {
    let tenants = &reconciliation.controller.tenants;
    let client_id = &reconciliation.resource.spec.client_id;
    let found = tenants.find_management_client(tenant, client_id, max_age).await?;
    Ok(found.map(|secret| management_client(&secret, &reconciliation.key.namespace)))
}

fn management_client(credentials: &ObjectKey, namespace: &str) -> Rejection {
    let message = if credentials.namespace == namespace {
        format!(
            "the operator authenticates with this client, so it can only be rotated in its \
             credentials Secret. Set spec.target.name to {} and spec.target.adopt to true",
            credentials.name
        )
    } else {
        "the operator authenticates with this client, so it can only be rotated in its credentials \
         Secret, which is in another namespace. Delete this ClientSecretRotation, or ask the owner \
         of the tenant to create one there"
            .to_owned()
    };
    Rejection::new(Reason::ManagementClient, message)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::{Value, json};

    use super::*;

    const ACME: &str = "https://acme.eu.auth0.com";
    const FAKE: &str = "https://auth0.mallory.example";

    fn resource(target: Value) -> ClientSecretRotation {
        let mut target = target;
        target["name"] = json!("s");
        let resource = json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
            "metadata": { "name": "app", "namespace": "shop" },
            "spec": { "clientId": "c", "tenantRef": { "name": "acme" }, "target": target },
        });
        serde_json::from_value(resource).unwrap()
    }

    fn tenant(name: &str) -> TenantId {
        let kind = TenantKind::Auth0Tenant;
        TenantId { kind, namespace: "shop".into(), name: name.into() }
    }

    fn used_by(name: &str, origin: &str) -> CredentialsUse {
        let origin = Some(origin.to_owned());
        CredentialsUse { tenant: tenant(name), origin, is_private_key: false }
    }

    /// Returns a Secret with this client; `manager` wrote it.
    fn secret(client: &str, owner: &str, manager: &str) -> Snapshot {
        let fields = json!({
            "f:metadata": { "f:annotations": { format!("f:{OWNER_ANNOTATION}"): {} } },
            "f:data": { "f:client_id": {} },
        });
        let secret = json!({
            "metadata": {
                "annotations": { OWNER_ANNOTATION: owner },
                "managedFields": [{ "manager": manager, "operation": "Apply", "fieldsV1": fields }],
            },
            "data": { "client_id": STANDARD.encode(client) },
        });
        Snapshot::parse(&secret.to_string()).unwrap()
    }

    fn check(
        uses: &[CredentialsUse],
        resource: &ClientSecretRotation,
        secret: Option<&Snapshot>,
        was_published: bool,
    ) -> (bool, bool) {
        let facts = TargetFacts {
            resource,
            secret,
            tenant: tenant("acme"),
            origin: Some(ACME),
            was_published,
        };
        let TargetCheck { conflict, is_own_credentials } = check_target(uses, &facts);
        (conflict.is_some(), is_own_credentials)
    }

    const FREE: (bool, bool) = (false, false);
    const OWN: (bool, bool) = (false, true);
    const REJECTED: (bool, bool) = (true, false);

    #[test]
    fn credentials_of_a_tenant_are_the_target_of_their_own_client_only() {
        let app = resource(json!({ "adopt": true }));
        let user = |client| secret(client, "", "kubectl");
        let acme = [used_by("acme", ACME)];
        let other = [used_by("other", ACME)];
        assert_eq!(check(&[], &app, Some(&user("d")), false), FREE);
        assert_eq!(check(&acme, &app, Some(&user("c")), false), OWN);
        assert_eq!(check(&acme, &app, Some(&user("d")), false), REJECTED);
        assert_eq!(check(&other, &app, Some(&user("c")), false), FREE);
        assert_eq!(check(&other, &app, Some(&user("d")), false), REJECTED);
        let fake = [used_by("acme", ACME), used_by("fake", FAKE)];
        assert_eq!(check(&fake, &app, Some(&user("c")), false), REJECTED);
        let key = CredentialsUse { is_private_key: true, ..used_by("acme", ACME) };
        assert_eq!(check(&[key], &app, Some(&user("c")), false), REJECTED);
    }

    #[test]
    fn credentials_that_do_not_exist_are_the_target_of_the_resource_that_published_them() {
        let app = resource(json!({}));
        let (acme, other) = ([used_by("acme", ACME)], [used_by("other", ACME)]);
        assert_eq!(check(&acme, &app, None, true), OWN);
        assert_eq!(check(&other, &app, None, true), FREE);
        assert_eq!(check(&acme, &app, None, false), REJECTED);
        assert_eq!(check(&other, &app, None, false), REJECTED);
    }

    #[test]
    fn published_secret_stays_the_target_when_a_tenant_names_it() {
        let app = resource(json!({}));
        let uses = [used_by("other", ACME), used_by("fake", FAKE)];
        let published = secret("c", "app", crate::api::FIELD_MANAGER);
        assert_eq!(check(&uses, &app, Some(&published), false), FREE);
        assert_eq!(check(&[used_by("acme", ACME)], &app, Some(&published), false), OWN);
        // Forged by someone else, published for another resource or another client.
        for (client, owner, manager) in [
            ("c", "app", "kubectl"),
            ("c", "else", crate::api::FIELD_MANAGER),
            ("d", "app", crate::api::FIELD_MANAGER),
        ] {
            let secret = secret(client, owner, manager);
            assert_eq!(check(&uses, &app, Some(&secret), false), REJECTED, "{client} {owner}");
        }
    }

    #[test]
    fn own_credentials_need_the_default_keys_and_stay() {
        let uses = [used_by("acme", ACME)];
        let user = secret("c", "", "kubectl");
        for target in [json!({ "keys": { "current": "x" } }), json!({ "deletionPolicy": "Delete" })]
        {
            let app = resource(target);
            assert_eq!(check(&uses, &app, Some(&user), false), (true, true));
        }
    }

    #[test]
    fn message_names_no_secret_of_another_namespace() {
        let credentials = ObjectKey::new("operator", "auth0-management");
        assert!(management_client(&credentials, "operator").message.contains("auth0-management"));
        let message = management_client(&credentials, "shop").message;
        assert!(!message.contains("auth0-management") && !message.contains("operator/"));
    }
}
