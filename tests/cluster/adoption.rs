//! Attempts on existing Secrets by a user who may write ClientSecretRotations, but no Secrets.

use std::collections::BTreeMap;

use auth0_rotator::api::ClientSecretRotation;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::tenant_with_clients,
    fixture::{Fixture, NamespaceFixture, from_json},
};

/// Starts a fixture with the client `shop`. Returns it with a restricted user of its namespace.
async fn start() -> (Fixture, NamespaceFixture) {
    let mut fixture = Fixture::with_simulator(tenant_with_clients(&["shop"]).await).await;
    fixture.start_operator();
    let user = fixture.restricted_user("mallory").await;
    (fixture, user)
}

async fn create_secret(fixture: &Fixture, secret: Value) {
    fixture.api::<Secret>().create(&PostParams::default(), &from_json(secret)).await.unwrap();
}

/// Merges a patch into the Secret `shop-auth0`, as the administrator.
async fn patch_secret(fixture: &Fixture, patch: Value) {
    let patch = Patch::Merge(patch);
    let api = fixture.api::<Secret>();
    api.patch("shop-auth0", &PatchParams::default(), &patch).await.unwrap();
}

async fn secret(fixture: &Fixture) -> Secret {
    fixture.api::<Secret>().get("shop-auth0").await.unwrap()
}

async fn data(fixture: &Fixture) -> BTreeMap<String, String> {
    fixture.secret_data("shop-auth0").await.unwrap()
}

#[tokio::test]
async fn rejects_targets_that_are_not_opaque() {
    let (fixture, user) = start().await;
    let account = from_json::<ServiceAccount>(json!({ "metadata": { "name": "robot" } }));
    fixture.api().create(&PostParams::default(), &account).await.unwrap();
    let mut untouched = Vec::new();
    for (name, type_, content) in [
        ("tls", "kubernetes.io/tls", json!({ "tls.crt": "certificate", "tls.key": "key" })),
        ("basic", "kubernetes.io/basic-auth", json!({ "password": "theirs" })),
        ("docker", "kubernetes.io/dockerconfigjson", json!({ ".dockerconfigjson": "{}" })),
        ("helm", "helm.sh/release.v1", json!({ "release": "theirs" })),
        ("bootstrap", "bootstrap.kubernetes.io/token", json!({ "token-secret": "theirs" })),
        ("account", "kubernetes.io/service-account-token", json!({ "token": "theirs" })),
    ] {
        let annotations = match name {
            "account" => json!({ "kubernetes.io/service-account.name": "robot" }),
            _ => json!({}),
        };
        let key = content.as_object().unwrap().keys().next_back().unwrap().clone();
        let secret = json!({
            "metadata": { "name": name, "annotations": annotations }, "type": type_,
            "stringData": content,
        });
        create_secret(&fixture, secret).await;
        untouched.push(fixture.api::<Secret>().get(name).await.unwrap());
        let target = json!({ "name": name, "adopt": true, "keys": { "current": key } });
        let overrides = json!({ "target": target, "initial": "Rotate" });
        user.apply_rotation_of(name, "shop", overrides).await;
        let message = user.wait_until_stalled(name, "TargetNotOpaque").await;
        assert!(message.contains(name), "{message}");
        user.api::<ClientSecretRotation>().delete(name, &Default::default()).await.unwrap();
        user.wait_until_deleted(name).await;
    }
    for before in untouched {
        let after = fixture.api::<Secret>().get(&before.name_any()).await.unwrap();
        assert_eq!(after.resource_version(), before.resource_version(), "{}", before.name_any());
    }
    assert_eq!(fixture.rotation_count("shop"), 0);
    fixture.finish().await;
}

#[tokio::test]
async fn created_secret_is_opaque_and_follows_the_deletion_policy() {
    let (fixture, user) = start().await;
    fixture.allow_secret_deletion().await;
    let policy = async |policy: &str| {
        let target = json!({ "target": { "deletionPolicy": policy } });
        user.apply_rotation_of("shop", "shop", target).await;
    };
    policy("Delete").await;
    let resource = user.wait_until_rotated("shop", 1).await;
    assert_eq!(secret(&fixture).await.type_.as_deref(), Some("Opaque"));
    user.request("shop", "rotate/now").await;
    user.wait_until_rotated("shop", 2).await;
    let has_owner = async |expected: bool| {
        let uid = resource.uid().unwrap();
        let is_as_expected = async || {
            let owners = secret(&fixture).await;
            owners.owner_references().iter().any(|owner| owner.uid == uid) == expected
        };
        let text = format!("the Secret has an owner: {expected}");
        fixture.wait_until_async(&text, is_as_expected).await;
    };
    // The proof that the operator created the Secret survives its writes.
    has_owner(true).await;
    policy("Retain").await;
    has_owner(false).await;
    policy("Delete").await;
    has_owner(true).await;
    user.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn adopted_secret_is_never_deleted() {
    let (fixture, user) = start().await;
    let finalizer = "example.com/theirs";
    create_secret(
        &fixture,
        json!({
            "metadata": { "name": "shop-auth0", "finalizers": [finalizer] },
            "stringData": { "client_secret": "theirs", "other": "untouched" },
        }),
    )
    .await;
    let before = secret(&fixture).await;
    let apply = async |policy: &str| {
        let target = json!({ "target": { "adopt": true, "deletionPolicy": policy } });
        user.apply_rotation_of("shop", "shop", target).await;
    };
    apply("Delete").await;
    let message = user.wait_until_stalled("shop", "TargetNotDeletable").await;
    assert!(message.contains("Retain"), "{message}");
    assert_eq!(secret(&fixture).await.resource_version(), before.resource_version());
    apply("Retain").await;
    user.wait_until_rotated("shop", 1).await;
    // A later change, and one with a request, changes nothing about the owner.
    apply("Delete").await;
    user.wait_until_stalled("shop", "TargetNotDeletable").await;
    user.request("shop", "rotate/now").await;
    apply("Retain").await;
    user.wait_until_rotated("shop", 2).await;
    apply("Delete").await;
    user.wait_until_stalled("shop", "TargetNotDeletable").await;
    let current = data(&fixture).await["client_secret"].clone();
    user.api::<ClientSecretRotation>().delete("shop", &Default::default()).await.unwrap();
    user.wait_until_deleted("shop").await;
    let after = secret(&fixture).await;
    assert!(after.owner_references().is_empty());
    assert_eq!(after.finalizers(), [finalizer]);
    assert!(data(&fixture).await["client_secret"] == current, "the adopted key keeps its value");
    assert_eq!(data(&fixture).await["other"], "untouched");
    patch_secret(&fixture, json!({ "metadata": { "finalizers": null } })).await;
    fixture.finish().await;
}

#[tokio::test]
async fn owner_reference_of_another_client_is_kept() {
    let (fixture, user) = start().await;
    user.apply_rotation_of("shop", "shop", json!({})).await;
    let resource = user.wait_until_rotated("shop", 1).await;
    let owner = json!({
        "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
        "name": "shop", "uid": resource.uid().unwrap(),
    });
    patch_secret(&fixture, json!({ "metadata": { "ownerReferences": [owner] } })).await;
    user.request("shop", "rotate/now").await;
    user.wait_until_rotated("shop", 2).await;
    assert_eq!(secret(&fixture).await.owner_references().len(), 1);
    fixture.finish().await;
}

#[tokio::test]
async fn template_never_overwrites_a_foreign_key() {
    let (fixture, user) = start().await;
    fixture.write_secret("shop-auth0", &[("app.env", "theirs"), ("domain", "theirs")]).await;
    let with_template = |key: &str, adopt: bool| {
        let template = json!({ key: "{{ client_secret }}" });
        json!({ "target": { "adopt": adopt, "template": template } })
    };
    user.apply_rotation_of("shop", "shop", with_template("app.env", true)).await;
    let message = user.wait_until_stalled("shop", "TargetKeyTaken").await;
    assert!(message.contains("app.env"), "{message}");
    assert_eq!(data(&fixture).await.len(), 2, "nothing is written");
    user.apply_rotation_of("shop", "shop", with_template("auth0.env", true)).await;
    user.wait_until_rotated("shop", 1).await;
    // The Secret is the operator's now, and the key still another application's.
    user.apply_rotation_of("shop", "shop", with_template("app.env", true)).await;
    user.wait_until_stalled("shop", "TargetKeyTaken").await;
    user.request("shop", "rotate/now").await;
    fixture.wait_for_secret_data("shop-auth0", |data| !data.contains_key("auth0.env")).await;
    assert_eq!(data(&fixture).await["app.env"], "theirs");
    assert_eq!(fixture.rotation_count("shop"), 0);
    user.apply_rotation_of("shop", "shop", with_template("auth0.env", true)).await;
    user.wait_until_rotated("shop", 2).await;
    assert_eq!(data(&fixture).await["app.env"], "theirs");
    // An edit does not take the operator's own keys from it.
    patch_secret(&fixture, json!({ "stringData": { "auth0.env": "edited", "domain": "edited" } }))
        .await;
    fixture
        .wait_for_secret_data("shop-auth0", |data| {
            data["auth0.env"] != "edited" && data["domain"] != "edited"
        })
        .await;
    user.wait_until_rotated("shop", 2).await;
    fixture.finish().await;
}

#[tokio::test]
async fn keys_with_foreign_content_need_adoption() {
    let (fixture, user) = start().await;
    user.apply_rotation_of("shop", "shop", json!({})).await;
    user.wait_until_rotated("shop", 1).await;
    patch_secret(&fixture, json!({ "stringData": { "password": "theirs" } })).await;
    for key in ["clientId", "domain", "current", "fallback", "list"] {
        let keys = json!({ "target": { "keys": { key: "password" } } });
        user.apply_rotation_of("shop", "shop", keys).await;
        let message = user.wait_until_stalled("shop", "TargetKeyTaken").await;
        assert!(message.contains("password"), "{message}");
        assert_eq!(data(&fixture).await["password"], "theirs", "{key}");
        assert_eq!(value_count(&fixture).await, 1, "{key}: published under the former keys");
        user.apply_rotation_of("shop", "shop", json!({})).await;
        user.wait_until_rotated("shop", 1).await;
    }
    // Adoption overwrites a key, but doesn't remove one that is not the operator's fallback.
    let adopt = |key: &str| json!({ "target": { "adopt": true, "keys": { key: "password" } } });
    user.apply_rotation_of("shop", "shop", adopt("fallback")).await;
    user.wait_until_stalled("shop", "TargetKeyTaken").await;
    assert_eq!(data(&fixture).await["password"], "theirs");
    user.apply_rotation_of("shop", "shop", adopt("current")).await;
    fixture.wait_for_secret_data("shop-auth0", |data| data["password"] != "theirs").await;
    user.wait_until_rotated("shop", 1).await;
    let data = data(&fixture).await;
    assert!(!data.contains_key("client_secret"), "the former key was the operator's");
    assert_is_current(&fixture, &data["password"]);
    fixture.finish().await;
}

fn assert_is_current(fixture: &Fixture, value: &str) {
    let secret = fixture.simulator.client_secret("shop").unwrap();
    assert!(secret.expose_secret() == value, "Auth0 has another secret");
}

/// Returns the number of values under the default keys.
async fn value_count(fixture: &Fixture) -> usize {
    fixture.published_values("shop").await.len()
}

#[tokio::test]
async fn adoption_keeps_a_foreign_fallback() {
    let (fixture, user) = start().await;
    let content = [("client_secret", "theirs"), ("client_secret_fallback", "also theirs")];
    fixture.write_secret("shop-auth0", &content).await;
    user.apply_rotation_of("shop", "shop", json!({ "target": { "adopt": true } })).await;
    let message = user.wait_until_stalled("shop", "TargetKeyTaken").await;
    assert!(message.contains("client_secret_fallback"), "{message}");
    assert_eq!(data(&fixture).await["client_secret"], "theirs", "nothing is written");
    let other_key = json!({ "target": { "adopt": true, "keys": { "fallback": "second" } } });
    user.apply_rotation_of("shop", "shop", other_key).await;
    user.request("shop", "rotate/now").await;
    user.wait_until_rotated("shop", 2).await;
    let data = data(&fixture).await;
    assert_eq!(data["client_secret_fallback"], "also theirs");
    assert!(!data.contains_key("second"), "the operator removed its own fallback");
    fixture.finish().await;
}

#[tokio::test]
async fn taken_key_does_not_stop_a_rotation_in_progress() {
    let (fixture, user) = start().await;
    let staged = |target: Value| json!({ "strategy": "Staged", "staging": { "period": "3s" }, "target": target });
    user.apply_rotation_of("shop", "shop", staged(json!({}))).await;
    user.wait_until_rotated("shop", 1).await;
    patch_secret(&fixture, json!({ "stringData": { "password": "theirs" } })).await;
    user.request("shop", "rotate/now").await;
    user.wait_for_reason("shop", "Reconciling", "Staging").await;
    let taken = json!({ "keys": { "current": "password" }, "template": { "password": "x" } });
    let invalid = staged(taken);
    assert!(user.try_apply_rotation_of("shop", "shop", invalid).await.is_err());
    let taken = staged(json!({ "keys": { "current": "password" }, "deletionPolicy": "Delete" }));
    user.apply_rotation_of("shop", "shop", taken).await;
    user.wait_until_stalled("shop", "TargetKeyTaken").await;
    fixture
        .wait_for("shop", "through with the rotation", |resource| {
            let status = resource.status.clone().unwrap_or_default();
            status.current == Some(2) && status.rotation.is_none()
        })
        .await;
    fixture.assert_published("shop").await;
    assert_eq!(data(&fixture).await["password"], "theirs");
    fixture.finish().await;
}

#[tokio::test]
async fn adopts_the_secret_that_a_deleted_resource_left_behind() {
    let (fixture, user) = start().await;
    let template = json!({ "template": { "auth0.env": "{{ client_secret }}" } });
    user.apply_rotation_of("shop", "shop", json!({ "target": template })).await;
    user.wait_until_rotated("shop", 1).await;
    user.api::<ClientSecretRotation>().delete("shop", &Default::default()).await.unwrap();
    user.wait_until_deleted("shop").await;
    let mut target = template;
    target["name"] = json!("shop-auth0");
    target["adopt"] = json!(true);
    user.apply_rotation_of("next", "shop", json!({ "target": &target })).await;
    user.wait_for_reason("next", "Ready", "Published").await;
    fixture.assert_published("shop").await;
    assert_is_current(&fixture, &data(&fixture).await["auth0.env"]);
    // The earlier resource retained the Secret, so this one may not have it deleted, even under the
    // earlier one's name.
    assert_eq!(secret(&fixture).await.type_.as_deref(), Some("Opaque"));
    let mut deleted = target.clone();
    deleted["deletionPolicy"] = json!("Delete");
    user.apply_rotation_of("next", "shop", json!({ "target": deleted })).await;
    user.wait_until_stalled("next", "TargetNotDeletable").await;
    user.api::<ClientSecretRotation>().delete("next", &Default::default()).await.unwrap();
    user.wait_until_deleted("next").await;
    user.apply_rotation_of("shop", "shop", json!({ "target": deleted })).await;
    user.wait_until_stalled("shop", "TargetNotDeletable").await;
    assert!(secret(&fixture).await.owner_references().is_empty());
    fixture.finish().await;
}

#[tokio::test]
async fn labels_and_annotations_need_the_administrators_list() {
    let (mut fixture, user) = start().await;
    let mut target = json!({});
    for (field, key) in [
        ("labels", "argocd.argoproj.io/secret-type"),
        ("labels", "owner"),
        ("labels", "grafana_datasource"),
        ("labels", "auth0-rotator.dev/managed"),
        ("annotations", "reflector.v1.k8s.emberstack.com/reflection-allowed"),
        ("annotations", "auth0-rotator.dev/endpoint"),
    ] {
        target = json!({ field: { key: "x" } });
        user.apply_rotation_of("shop", "shop", json!({ "target": target })).await;
        fixture
            .wait_for("shop", "stalled because of this key", |resource| {
                let conditions = resource.status.clone().unwrap_or_default().conditions;
                conditions.iter().any(|condition| {
                    condition.reason == "MetadataNotAllowed" && condition.message.contains(key)
                })
            })
            .await;
        let secret = secret(&fixture).await;
        assert!(!secret.labels().contains_key(key) || secret.labels()[key] == "true", "{key}");
        assert!(!secret.annotations().contains_key(key), "{key}");
    }
    assert!(target["annotations"]["auth0-rotator.dev/endpoint"] == "x");
    let target = json!({
        "labels": { "team": "shop", "app.kubernetes.io/part-of": "shop" },
        "annotations": { "example.com/note": "hello" },
    });
    user.apply_rotation_of("shop", "shop", json!({ "target": target })).await;
    user.wait_until_stalled("shop", "MetadataNotAllowed").await;
    fixture.stop_operator().await;
    fixture.start_operator_with(&[
        "--allow-http-endpoints",
        "--allowed-metadata=team,app.kubernetes.io/part-of,example.com/",
    ]);
    user.wait_for_reason("shop", "Stalled", "Progressing").await;
    let secret = secret(&fixture).await;
    assert_eq!(secret.labels()["team"], "shop");
    assert_eq!(secret.labels()["app.kubernetes.io/part-of"], "shop");
    assert_eq!(secret.annotations()["example.com/note"], "hello");
    fixture.finish().await;
}
