//! A secret goes only where it came from: attempts to have the operator send a value of a Secret to
//! an Auth0 of one's own, or publish it as another client's. `docs/security.md` has a table of them.

use std::{net::SocketAddr, sync::Arc};

use auth0_rotator::api::{
    Auth0Tenant, CLIENT_ID_ANNOTATION, ClientSecretRotation, ORIGIN_ANNOTATION,
};
use auth0_simulator::{ClientSeed, Simulator};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use parking_lot::Mutex;
use rotation::Phase;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, SCOPES, application, tenant},
    fixture::{Fixture, NamespaceFixture},
    leak_scan::{Document, LeakScan, SecretPatterns},
    manifests::merge,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    phases::{HeldPhase, wait_for_phase},
    tenant_status::wait_for_tenant_reason,
};

/// Scopes with which the Management API returns no secrets.
const WITHOUT_SECRETS: [&str; 2] = ["read:clients", "update:client_keys"];

/// A value of an application that has nothing to do with Auth0.
const PASSWORD: &str = "correct-horse-battery-staple-0123456789";

/// A simulated Auth0 behind a server that records all that it receives.
struct RecordingAuth0 {
    simulator: Simulator,
    address: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
}

impl RecordingAuth0 {
    /// Starts an Auth0 that accepts the credentials of the fixture's tenant, with the clients `shop`
    /// and `mallory`.
    async fn start(fixture: &Fixture, scopes: &[&str]) -> Self {
        let secret = fixture.simulator.client_secret(MANAGER).unwrap();
        let manager = ClientSeed::new(MANAGER).secret(secret).scopes(scopes.iter().copied());
        let builder = tenant().client(manager);
        let builder = builder.client(application("shop")).client(application("mallory"));
        let simulator = builder.start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (target, record) = (simulator.addr(), received.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(target).await else { return };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(copy(from_client, to_server, Some(record.clone())));
                tokio::spawn(copy(from_server, to_client, None));
            }
        });
        Self { simulator, address, received }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asserts that it was called, and that no request contained any of these values, in any encoding.
    fn assert_received_none_of(&self, values: &[String]) {
        let received = self.received.lock().clone();
        assert!(!received.is_empty(), "the operator never called the attacker's Auth0");
        let text = String::from_utf8_lossy(&received).into_owned();
        let mut scan =
            LeakScan::new(SecretPatterns::new(values.iter().map(String::as_str)).unwrap());
        scan.documents(&[Document::new("the attacker's Auth0", text)]);
        let found_in = scan.finish().found_in;
        assert!(found_in.is_empty(), "a value arrived at {}", found_in.join(", "));
    }
}

/// Copies all bytes, and records them.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    record: Option<Arc<Mutex<Vec<u8>>>>,
) {
    let mut buffer = [0; 8192];
    while let Ok(length) = from.read(&mut buffer).await {
        if let Some(record) = &record {
            record.lock().extend(&buffer[..length]);
        }
        if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// A namespace with the tenant `acme` of its owner, and a user who may write ClientSecretRotations and
/// Auth0Tenants in it. The user has the tenant `evil`.
struct Attack {
    fixture: Fixture,
    user: NamespaceFixture,
    auth0: RecordingAuth0,
}

impl Attack {
    async fn start(scopes_of_acme: &[&str], scopes_of_evil: &[&str]) -> Self {
        let manager = ClientSeed::new(MANAGER).scopes(scopes_of_acme.iter().copied());
        let simulator = tenant().client(manager).start().await.unwrap();
        let mut fixture = Fixture::with_simulator(simulator).await;
        fixture.start_operator();
        let auth0 = RecordingAuth0::start(&fixture, scopes_of_evil).await;
        let user = fixture.restricted_user("mallory").await;
        let credentials = fixture.secret_data("auth0-management").await.unwrap();
        // Another Secret with the same content: `evil` is the tenant of no other resource.
        fixture.write_annotated_secret("mallory", json!(credentials), json!({})).await;
        let evil = json!({
            "domain": "acme.eu.auth0.com", "endpoint": auth0.url(),
            "credentials": { "clientSecret": { "secretRef": { "name": "mallory" } } },
            "rateLimit": { "requestsPerSecond": 1000, "burst": 1000 },
        });
        user.try_apply_tenant("evil", evil).await.unwrap();
        wait_for_tenant_reason(&user, "evil", usable_with(scopes_of_evil)).await;
        Self { fixture, user, auth0 }
    }

    /// Applies a resource of the tenant `evil`, as the user.
    async fn apply_evil(&self, name: &str, client_id: &str, overrides: Value) {
        let mut spec = json!({ "tenantRef": { "name": "evil" } });
        merge(&mut spec, overrides);
        self.user.apply_rotation_of(name, client_id, spec).await;
    }

    /// Points the tenant `acme` to another endpoint, as the user.
    async fn move_acme(&self, endpoint: &str) {
        let patch = Patch::Merge(json!({ "spec": { "endpoint": endpoint } }));
        let tenants = self.user.api::<Auth0Tenant>();
        tenants.patch("acme", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn delete_rotation(&self, name: &str) {
        let api = self.user.api::<ClientSecretRotation>();
        api.delete(name, &DeleteParams::default()).await.unwrap();
        self.user.wait_until_deleted(name).await;
    }

    /// Returns the values that the client `shop` has had, and those that are published for it.
    async fn values_of_shop(&self) -> Vec<String> {
        let history = self.fixture.simulator.client_secret_history("shop");
        let mut values: Vec<_> =
            history.iter().map(|value| value.expose_secret().to_owned()).collect();
        for (key, value) in self.fixture.secret_data("shop-auth0").await.unwrap_or_default() {
            if ["client_secret", "client_secret_fallback"].contains(&key.as_str()) {
                values.push(value);
            }
        }
        values
    }

    async fn finish(self) {
        self.fixture.finish().await;
    }
}

fn usable_with(scopes: &[&str]) -> &'static str {
    if scopes.len() == SCOPES.len() { "Usable" } else { "PartiallyUsable" }
}

/// Patches a Secret as another field manager.
pub(crate) async fn patch_secret(fixture: &Fixture, name: &str, patch: Value) {
    let params = PatchParams { field_manager: Some("other".into()), ..PatchParams::default() };
    fixture.api::<Secret>().patch(name, &params, &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test]
async fn never_probes_a_foreign_value_of_an_adopted_secret() {
    let attack = Attack::start(&SCOPES, &WITHOUT_SECRETS).await;
    let data = json!({ "username": "shop", "password": PASSWORD });
    for (name, reason) in [
        ("current", "SecretUnreadable"),
        ("list", "SecretUnreadable"),
        ("fallback", "TargetKeyTaken"),
    ] {
        let secret = format!("{name}-db");
        attack.fixture.write_annotated_secret(&secret, data.clone(), json!({})).await;
        let target = json!({ "name": secret, "adopt": true, "keys": { name: "password" } });
        attack.apply_evil(name, "mallory", json!({ "target": target })).await;
        attack.user.wait_until_stalled(name, reason).await;
        assert_eq!(attack.fixture.secret_data(&secret).await.unwrap()["password"], PASSWORD);
        attack.delete_rotation(name).await;
    }
    attack.auth0.assert_received_none_of(&[PASSWORD.to_owned()]);
    attack.finish().await;
}

#[tokio::test]
async fn never_sends_the_credentials_of_a_tenant_to_another() {
    let attack = Attack::start(&SCOPES, &WITHOUT_SECRETS).await;
    let key = "a-key-of-the-owner-of-the-tenant-0123456789";
    patch_secret(&attack.fixture, "auth0-management", json!({ "stringData": { "key": key } }))
        .await;
    for (name, keys) in [("default", json!({})), ("renamed", json!({ "current": "key" }))] {
        let target = json!({ "name": "auth0-management", "adopt": true, "keys": keys });
        attack.apply_evil(name, "mallory", json!({ "target": target })).await;
        let is_stalled = |resource: &ClientSecretRotation| {
            let status = resource.status.clone().unwrap_or_default();
            rotation::is_condition_true(&status.conditions, "Stalled")
        };
        attack.user.wait_for(name, "stalled", is_stalled).await;
        attack.delete_rotation(name).await;
    }
    attack.auth0.assert_received_none_of(&[key.to_owned()]);
    let revocations = attack.auth0.simulator.counters().client("mallory").revocations_rejected;
    assert_eq!(revocations, 0, "the credentials of acme were probed");
    attack.finish().await;
}

#[tokio::test]
async fn forged_record_of_another_manager_proves_nothing() {
    let attack = Attack::start(&SCOPES, &WITHOUT_SECRETS).await;
    // A user who writes a Secret, with `kubectl apply` for instance, copies what the operator writes.
    let annotations = json!({
        "auth0-rotator.dev/rotation": "shop",
        "auth0-rotator.dev/keys": "client_secret,client_secret_fallback",
        "auth0-rotator.dev/data-keys":
            "client_id,domain,client_secret,client_secret_fallback,client_secrets",
        "auth0-rotator.dev/current": "2",
        "auth0-rotator.dev/fallback": "1",
        CLIENT_ID_ANNOTATION: "shop",
        ORIGIN_ANNOTATION: attack.auth0.url(),
    });
    let data = json!({
        "client_id": "shop", "domain": "acme.eu.auth0.com", "client_secret": PASSWORD,
        "client_secret_fallback": format!("{PASSWORD}-previous"),
    });
    attack.fixture.write_annotated_secret("shop-auth0", data, annotations).await;
    attack.apply_evil("shop", "shop", json!({})).await;
    attack.user.wait_until_stalled("shop", "SecretUnreadable").await;
    attack.user.request("shop", "revoke/it").await;
    let is_revoked = |resource: &ClientSecretRotation| {
        let status = resource.status.clone().unwrap_or_default();
        status.rotation.is_none() && !status.history.is_empty()
    };
    attack.user.wait_for("shop", "rotated", is_revoked).await;
    let published = attack.fixture.published_values("shop").await;
    assert_eq!(published.len(), 1);
    assert_ne!(published[0], PASSWORD);
    attack.auth0.assert_received_none_of(&[PASSWORD.to_owned()]);
    attack.finish().await;
}

#[tokio::test]
async fn edited_value_under_an_unchanged_number_is_not_sent() {
    let attack = Attack::start(&WITHOUT_SECRETS, &SCOPES).await;
    let fixture = &attack.fixture;
    let spec = json!({
        "strategy": "Staged", "staging": { "period": "1s" }, "initial": "Rotate",
    });
    fixture.apply_rotation("shop", spec).await;
    fixture.wait_until_rotated("shop", 2).await;
    let probes = || fixture.simulator.counters().client("shop").revocations_rejected;
    let before = probes();
    patch_secret(fixture, "shop-auth0", json!({ "stringData": { "client_secret": PASSWORD } }))
        .await;
    fixture.wait_until_stalled("shop", "SecretUnreadable").await;
    assert_eq!(probes(), before, "the foreign value was probed");
    fixture.request("shop", "rollback/it").await;
    fixture.request("shop", "rotate/it").await;
    fixture.wait_until_rotated("shop", 3).await;
    let history = fixture.simulator.client_secret_history("shop");
    assert!(history.iter().all(|value| value.expose_secret() != PASSWORD));
    assert!(!fixture.published_values("shop").await.contains(&PASSWORD.to_owned()));
    attack.finish().await;
}

/// Starts a long grace period of the secret 3, whose value can't be read back.
async fn start_grace_period(fixture: &Fixture) {
    let spec = json!({
        "strategy": "Staged", "staging": { "period": "1s" }, "initial": "Rotate",
        "gracePeriod": "60s",
    });
    fixture.apply_rotation("shop", spec).await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.request("shop", "rotate/now").await;
    wait_for_phase(fixture, Phase::Grace).await;
}

#[tokio::test]
async fn foreign_fallback_is_not_what_a_rollback_or_a_revocation_sets() {
    let attack = Attack::start(&WITHOUT_SECRETS, &SCOPES).await;
    let fixture = &attack.fixture;
    start_grace_period(fixture).await;
    for request in ["rollback", "revoke"] {
        let foreign = json!({
            "metadata": { "annotations": { "auth0-rotator.dev/fallback": "1" } },
            "stringData": { "client_secret_fallback": PASSWORD },
        });
        patch_secret(fixture, "shop-auth0", foreign).await;
        fixture.request("shop", &format!("{request}/it")).await;
        let text = format!("{request}/it");
        let is_handled = |resource: &ClientSecretRotation| {
            let status = resource.status.clone().unwrap_or_default();
            status.last_handled_request.as_deref() == Some(&text)
        };
        fixture.wait_for("shop", "handled", is_handled).await;
    }
    fixture.wait_until_rotated("shop", 4).await;
    let history = fixture.simulator.client_secret_history("shop");
    assert!(history.iter().all(|value| value.expose_secret() != PASSWORD));
    assert!(!fixture.published_values("shop").await.contains(&PASSWORD.to_owned()));
    attack.finish().await;
}

#[tokio::test]
async fn tenant_reference_is_immutable_while_a_rotation_is_in_progress() {
    let attack = Attack::start(&SCOPES, &SCOPES).await;
    let fixture = &attack.fixture;
    let spec = json!({ "strategy": "Staged", "staging": { "period": "60s" } });
    fixture.apply_rotation("shop", spec.clone()).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/it").await;
    wait_for_phase(fixture, Phase::Staging).await;
    let mut elsewhere = spec;
    merge(&mut elsewhere, json!({ "tenantRef": { "name": "evil" } }));
    let switched = attack.user.try_apply_rotation_of("shop", "shop", elsewhere).await;
    let message = switched.unwrap_err().to_string();
    assert!(message.contains("tenantRef can't be changed while"), "{message}");
    let period = json!({ "strategy": "Staged", "staging": { "period": "1s" } });
    fixture.apply_rotation("shop", period).await;
    fixture.wait_until_rotated("shop", 2).await;
    attack.finish().await;
}

#[tokio::test]
async fn tenant_that_moves_during_a_rotation_receives_no_secret() {
    let attack = Attack::start(&SCOPES, &SCOPES).await;
    let fixture = &attack.fixture;
    let acme = fixture.simulator.url().to_owned();
    let spec = |staging: &str, grace: &str| json!({ "strategy": "Staged", "staging": { "period": staging }, "gracePeriod": grace });
    fixture.apply_rotation("shop", spec("1s", "3s")).await;
    fixture.wait_until_rotated("shop", 1).await;
    for (number, phase) in
        (2..).zip([Phase::Staging, Phase::Activating, Phase::Confirming, Phase::Grace])
    {
        let held = HeldPhase::inject(fixture, phase);
        let (staging, grace) = match phase {
            Phase::Staging => ("60s", "3s"),
            Phase::Grace => ("1s", "60s"),
            _ => ("1s", "3s"),
        };
        fixture.apply_rotation("shop", spec(staging, grace)).await;
        fixture.request("shop", &format!("rotate/{number}")).await;
        wait_for_phase(fixture, phase).await;
        attack.move_acme(&attack.auth0.url()).await;
        held.release(fixture);
        fixture.apply_rotation("shop", spec("1s", "3s")).await;
        let message = fixture.wait_until_stalled("shop", "OriginChanged").await;
        assert!(message.contains("Restore spec.tenantRef"), "{phase:?}: {message}");
        attack.auth0.assert_received_none_of(&attack.values_of_shop().await);
        attack.move_acme(&acme).await;
        fixture.wait_until_rotated("shop", number).await;
        fixture.assert_published("shop").await;
    }
    let effects = attack.auth0.simulator.counters().client("shop").effects;
    assert_eq!(effects, Default::default(), "the attacker's client was changed");
    attack.finish().await;
}

#[tokio::test]
async fn resource_without_a_status_sends_no_secret_to_another_tenant() {
    let attack = Attack::start(&SCOPES, &WITHOUT_SECRETS).await;
    let fixture = &attack.fixture;
    let spec = json!({ "strategy": "Staged", "staging": { "period": "60s" } });
    fixture.apply_rotation("shop", spec.clone()).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/it").await;
    wait_for_phase(fixture, Phase::Staging).await;
    attack.move_acme(&attack.auth0.url()).await;
    fixture.wait_until_stalled("shop", "OriginChanged").await;
    // Without its status, nothing but the Secret shows that a rotation is in progress.
    let wipe = Patch::Merge(json!({ "status": null }));
    let api = fixture.api::<ClientSecretRotation>();
    api.patch_status("shop", &PatchParams::default(), &wipe).await.unwrap();
    let mut elsewhere = spec;
    merge(&mut elsewhere, json!({ "tenantRef": { "name": "evil" } }));
    attack.user.apply_rotation_of("shop", "shop", elsewhere).await;
    let is_observed = |resource: &ClientSecretRotation| {
        let observed = resource.status.as_ref().and_then(|status| status.observed_generation);
        observed.is_some() && observed == resource.metadata.generation
    };
    fixture.wait_for("shop", "observed", is_observed).await;
    let message = fixture.wait_until_stalled("shop", "OriginChanged").await;
    assert!(message.contains("restore spec.tenantRef"), "{message}");
    attack.auth0.assert_received_none_of(&attack.values_of_shop().await);
    attack.finish().await;
}

#[tokio::test]
async fn recreated_resource_of_another_tenant_finds_no_values() {
    for scopes in [&SCOPES[..], &WITHOUT_SECRETS] {
        let attack = Attack::start(&SCOPES, scopes).await;
        let fixture = &attack.fixture;
        fixture.apply_rotation("shop", json!({})).await;
        fixture.wait_until_rotated("shop", 1).await;
        fixture.request("shop", "rotate/it").await;
        fixture.wait_until_rotated("shop", 2).await;
        let values = attack.values_of_shop().await;
        attack.delete_rotation("shop").await;
        attack.apply_evil("shop", "shop", json!({ "strategy": "Staged" })).await;
        if scopes.len() == SCOPES.len() {
            let resource = fixture.wait_until_rotated("shop", 1).await;
            let history = resource.status.unwrap().history;
            assert!(history.is_empty(), "drift is reported: {history:?}");
            let secret = attack.auth0.simulator.client_secret("shop").unwrap();
            let published = fixture.published_values("shop").await;
            assert!(published == [secret.expose_secret()], "more than the imported value");
            fixture.request("shop", "rollback/it").await;
            fixture.wait_for_event("RequestRejected").await;
        } else {
            fixture.wait_until_stalled("shop", "OriginChanged").await;
            assert!(values.contains(&fixture.current_value("shop").await.unwrap()), "lost");
        }
        attack.auth0.assert_received_none_of(&values);
        attack.finish().await;
    }
}

#[tokio::test]
async fn recreated_resource_of_another_client_finds_no_values() {
    let attack = Attack::start(&SCOPES, &SCOPES).await;
    let fixture = &attack.fixture;
    fixture.simulator.add_client(application("cart")).unwrap();
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.request("shop", "rotate/it").await;
    fixture.wait_until_rotated("shop", 2).await;
    let values = attack.values_of_shop().await;
    attack.delete_rotation("shop").await;
    attack.user.apply_rotation_of("shop", "cart", json!({})).await;
    let resource = fixture.wait_until_rotated("shop", 1).await;
    assert!(resource.status.unwrap().history.is_empty(), "drift is reported");
    let published = fixture.published_values("shop").await;
    let secret = fixture.simulator.client_secret("cart").unwrap();
    assert!(published == [secret.expose_secret()], "more than the imported value");
    let counters = fixture.simulator.counters().client("cart");
    assert_eq!(counters.revocations_rejected, 0, "a value of shop was probed");
    let history = fixture.simulator.client_secret_history("cart");
    assert!(history.iter().all(|value| !values.contains(&value.expose_secret().to_owned())));
    attack.finish().await;
}

#[tokio::test]
async fn template_key_is_no_consent_to_send_credentials() {
    let attack = Attack::start(&SCOPES, &SCOPES).await;
    let fixture = &attack.fixture;
    fixture.write_secret("app", &[("client_id", "app"), ("client_secret", PASSWORD)]).await;
    let target = json!({
        "name": "app", "adopt": true,
        "keys": {
            "clientId": "a", "domain": "b", "current": "c", "fallback": "d", "list": "e",
        },
        "template": { "domain": "evil.example" },
    });
    attack.apply_evil("app", "mallory", json!({ "target": target })).await;
    attack.user.wait_until_rotated("app", 1).await;
    let data = fixture.secret_data("app").await.unwrap();
    assert_eq!(
        (data["domain"].as_str(), data["client_secret"].as_str()),
        ("evil.example", PASSWORD)
    );
    let tenant = json!({
        "domain": "evil.example", "credentials": { "clientSecret": { "secretRef": { "name": "app" } } },
    });
    attack.user.try_apply_tenant("forged", tenant).await.unwrap();
    let message = wait_for_tenant_reason(&attack.user, "forged", "CredentialsUnreadable").await;
    assert!(message.contains("does not allow to be sent to evil.example"), "{message}");
    attack.finish().await;
}

#[tokio::test]
async fn moved_tenant_that_has_the_same_secret_is_followed() {
    let attack = Attack::start(&SCOPES, &SCOPES).await;
    let fixture = &attack.fixture;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    let secret = fixture.simulator.client_secret("shop").unwrap();
    attack.auth0.simulator.add_client(application("shop").secret(secret)).unwrap();
    attack.move_acme(&attack.auth0.url()).await;
    let is_recorded = async || {
        let secret = fixture.api::<Secret>().get("shop-auth0").await.unwrap();
        secret.annotations().get(ORIGIN_ANNOTATION) == Some(&attack.auth0.url())
    };
    fixture.wait_until_async("the new origin is recorded", is_recorded).await;
    let resource = fixture.wait_until_rotated("shop", 1).await;
    assert!(resource.status.unwrap().history.is_empty());
    assert_eq!(fixture.rotation_count("shop"), 0);
    attack.finish().await;
}

#[tokio::test]
async fn secret_of_an_older_version_gets_its_record_without_a_rotation() {
    let attack = Attack::start(&WITHOUT_SECRETS, &SCOPES).await;
    let fixture = &attack.fixture;
    start_grace_period(fixture).await;
    let before = fixture.secret_data("shop-auth0").await.unwrap();
    let without_record = json!({
        "metadata": { "annotations": { CLIENT_ID_ANNOTATION: null, ORIGIN_ANNOTATION: null } },
    });
    patch_secret(fixture, "shop-auth0", without_record).await;
    let secrets = fixture.api::<Secret>();
    let has_record = async || {
        let secret = secrets.get("shop-auth0").await.unwrap();
        let annotations = secret.annotations();
        annotations.get(CLIENT_ID_ANNOTATION).is_some_and(|id| id == "shop")
            && annotations.get(ORIGIN_ANNOTATION).is_some_and(|at| at == fixture.simulator.url())
    };
    fixture.wait_until_async("the Secret has a record", has_record).await;
    assert!(fixture.secret_data("shop-auth0").await.unwrap() == before, "the data changed");
    wait_for_phase(fixture, Phase::Grace).await;
    let status = fixture.get("shop").await.status.unwrap();
    assert_eq!((status.current, status.rotation.unwrap().number), (Some(3), 3));
    attack.finish().await;
}
