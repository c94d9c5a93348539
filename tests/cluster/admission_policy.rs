//! The shipped admission policies: the author of a resource needs the permissions that the operator
//! uses for it.

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testkit::{
    auth0::tenant_with_clients,
    cluster::install_admission_policies,
    fixture::{Fixture, NamespaceFixture},
};

#[tokio::test]
async fn restricted_user_writes_resources_and_reads_no_secret() {
    let mut fixture = Fixture::with_simulator(tenant_with_clients(&["first"]).await).await;
    fixture.start_operator();
    let user = fixture.restricted_user("mallory").await;
    user.apply_rotation_of("first", "first", json!({})).await;
    user.wait_until_rotated("first", 1).await;
    let error = user.api::<Secret>().get("first-auth0").await.unwrap_err();
    assert!(error.to_string().contains("forbidden"), "{error}");
    let error = user.api::<Secret>().list(&Default::default()).await.unwrap_err();
    assert!(error.to_string().contains("forbidden"), "{error}");
    fixture.finish().await;
}

/// Starts a fixture with the shipped policies and an operator. Returns it with a restricted user.
async fn start() -> (Fixture, NamespaceFixture) {
    let simulator = tenant_with_clients(&["shop", "cart"]).await;
    let mut fixture = Fixture::with_dedicated_control_plane(simulator).await;
    let user = fixture.restricted_user("mallory").await;
    let is_enforced = async || is_denied(dry_run_tenant(&user).await);
    install_admission_policies(&fixture.client, "deploy/operator.yaml", is_enforced).await.unwrap();
    fixture.start_operator();
    (fixture, user)
}

fn tenant(secret: &str) -> Value {
    json!({
        "domain": "acme.eu.auth0.com",
        "credentials": { "clientSecret": { "secretRef": { "name": secret } } },
    })
}

async fn dry_run_tenant(user: &NamespaceFixture) -> Result<Auth0Tenant, kube::Error> {
    let object = json!({
        "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
        "metadata": { "name": "probe" }, "spec": tenant("auth0-management"),
    });
    let params = PatchParams::apply("tests").dry_run();
    user.api::<Auth0Tenant>().patch("probe", &params, &Patch::Apply(object)).await
}

/// Returns whether an admission policy denied a request. Other errors fail the test.
fn is_denied<T>(result: Result<T, kube::Error>) -> bool {
    match result {
        Ok(_) => false,
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains("ValidatingAdmissionPolicy"), "{message}");
            true
        }
    }
}

fn message<T>(result: Result<T, kube::Error>) -> String {
    match result {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn rule(group: &str, resource: &str, names: &[&str], verbs: &[&str]) -> Value {
    let mut rule = json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs });
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    rule
}

#[tokio::test]
async fn author_needs_permissions_on_the_target_secret() {
    let (fixture, mallory) = start().await;
    let creates = rule("", "secrets", &[], &["create"]);
    let patches = rule("", "secrets", &["shop-auth0"], &["patch"]);
    let deletes = rule("", "secrets", &["shop-auth0"], &["delete"]);
    let creator = fixture.user_with_rules("creator", json!([creates])).await;
    let patcher = fixture.user_with_rules("patcher", json!([patches])).await;
    let author = fixture.user_with_rules("author", json!([creates, patches])).await;
    let owner = fixture.user_with_rules("owner", json!([creates, patches, deletes])).await;

    let delete = json!({ "target": { "deletionPolicy": "Delete" } });
    for (user, overrides, expected) in [
        (&mallory, json!({}), "you may not create Secrets"),
        (&creator, json!({}), "you may not patch the Secret shop-auth0"),
        (&patcher, json!({}), "you may not create Secrets"),
        (&author, delete.clone(), "you may not delete the Secret shop-auth0"),
        (&author, json!({ "target": { "name": "other" } }), "you may not patch the Secret other"),
    ] {
        let denied = message(user.try_apply_rotation_of("shop", "shop", overrides).await);
        assert!(denied.contains(expected), "{expected}: {denied}");
    }
    author.apply_rotation_of("shop", "shop", json!({})).await;
    author.wait_until_rotated("shop", 1).await;

    // A change of the target is checked, other changes and an unchanged target are not.
    let keys = json!({ "target": { "keys": { "current": "password" } } });
    let denied = message(mallory.try_apply_rotation_of("shop", "shop", keys.clone()).await);
    assert!(denied.contains("you may not"), "{denied}");
    mallory.apply_rotation_of("shop", "shop", json!({ "suspend": true })).await;
    mallory.apply_rotation_of("shop", "shop", json!({})).await;
    mallory.patch_rotation("shop", json!({ "metadata": { "labels": { "a": "b" } } })).await;
    let replaced = mallory.get("shop").await;
    let api = mallory.api::<ClientSecretRotation>();
    api.replace("shop", &Default::default(), &replaced).await.unwrap();
    mallory.request("shop", "rotate/now").await;
    // The operator's own writes: status, finalizer, annotations.
    mallory.wait_until_rotated("shop", 2).await;
    author.apply_rotation_of("shop", "shop", keys).await;
    let denied = message(author.try_apply_rotation_of("shop", "shop", delete.clone()).await);
    assert!(denied.contains("spec.target.deletionPolicy"), "{denied}");
    owner.apply_rotation_of("shop", "shop", delete).await;
    owner.wait_until_rotated("shop", 2).await;
    mallory.api::<ClientSecretRotation>().delete("shop", &DeleteParams::default()).await.unwrap();
    mallory.wait_until_deleted("shop").await;
    fixture.finish().await;
}

#[tokio::test]
async fn author_needs_permission_to_patch_workloads() {
    let (fixture, mallory) = start().await;
    let secrets = rule("", "secrets", &[], &["create", "patch"]);
    let named = rule("apps", "deployments", &["web"], &["patch"]);
    let rollouts = rule("argoproj.io", "rollouts", &["web"], &["patch"]);
    let every = ["deployments", "statefulsets", "daemonsets"]
        .map(|resource| rule("apps", resource, &[], &["patch"]));
    let author = fixture.user_with_rules("author", json!([secrets])).await;
    let deployer = fixture.user_with_rules("deployer", json!([secrets, named])).await;
    let argo = fixture.user_with_rules("argo", json!([secrets, rollouts])).await;
    let mut rules = vec![secrets.clone()];
    rules.extend(every);
    let admin = fixture.user_with_rules("admin", json!(rules)).await;
    let restart = |workloads: &[(&str, String)]| {
        let list: Vec<_> =
            workloads.iter().map(|(kind, name)| json!({ "kind": kind, "name": name })).collect();
        json!({ "consumers": { "restart": list } })
    };
    let web = ("Deployment", "web".to_owned());
    let api = ("Deployment", "api".to_owned());
    let database = ("StatefulSet", "web".to_owned());
    let rollout = ("Rollout", "web".to_owned());
    for (user, workloads, expected) in [
        (&author, vec![web.clone()], "you may not patch the Deployment web"),
        (&deployer, vec![web.clone(), api.clone()], "you may not patch the Deployment api"),
        (&deployer, vec![database], "you may not patch the StatefulSet web"),
        (&deployer, vec![rollout.clone()], "you may not patch the Rollout web"),
        (&deployer, vec![web.clone(); 17], "more than 16 workloads"),
    ] {
        let denied = message(user.try_apply_rotation_of("shop", "shop", restart(&workloads)).await);
        assert!(denied.contains(expected), "{expected}: {denied}");
    }
    deployer.apply_rotation_of("shop", "shop", restart(&vec![web.clone(); 16])).await;
    argo.apply_rotation_of("cart", "cart", restart(&[rollout])).await;
    // The list is unchanged, or becomes empty, which gives no permission.
    let suspended = json!({ "suspend": true });
    let mut unchanged = restart(&vec![web.clone(); 16]);
    unchanged["suspend"] = json!(true);
    mallory.apply_rotation_of("shop", "shop", unchanged).await;
    mallory.apply_rotation_of("shop", "shop", suspended).await;
    let denied = mallory.try_apply_rotation_of("shop", "shop", restart(&[web])).await;
    assert!(is_denied(denied));
    // A user who may patch all workloads can name as many as the schema allows.
    let mut many = Vec::new();
    for index in 0..32 {
        let kind = ["Deployment", "StatefulSet", "DaemonSet"][index % 3];
        many.push((kind, format!("workload-{index}")));
    }
    admin.apply_rotation_of("shop", "shop", restart(&many)).await;
    fixture.finish().await;
}

#[tokio::test]
async fn author_of_a_tenant_needs_to_read_its_credentials() {
    let (fixture, mallory) = start().await;
    let reads = rule("", "secrets", &["auth0-management"], &["get"]);
    let author = fixture.user_with_rules("author", json!([reads])).await;
    let denied = message(mallory.try_apply_tenant("own", tenant("auth0-management")).await);
    assert!(denied.contains("you may not get the Secret auth0-management"), "{denied}");
    let denied = message(author.try_apply_tenant("own", tenant("other")).await);
    assert!(denied.contains("you may not get the Secret other"), "{denied}");
    let key = json!({
        "domain": "acme.eu.auth0.com",
        "credentials": { "privateKeyJwt": { "clientId": "x", "keyRef": { "name": "web-tls" } } },
    });
    let denied = message(author.try_apply_tenant("own", key).await);
    assert!(denied.contains("you may not get the Secret web-tls"), "{denied}");
    author.try_apply_tenant("own", tenant("auth0-management")).await.unwrap();
    mallory.try_apply_tenant("own", tenant("auth0-management")).await.unwrap();
    let mut elsewhere = tenant("auth0-management");
    elsewhere["endpoint"] = json!("https://evil.example");
    assert!(is_denied(mallory.try_apply_tenant("own", elsewhere).await));
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "a": "b" } } }));
    let api = mallory.api::<Auth0Tenant>();
    let labeled = api.patch("own", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(labeled.labels()["a"], "b");
    fixture.finish().await;
}
