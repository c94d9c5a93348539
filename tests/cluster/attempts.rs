//! Attempts to reach what belongs to others: their clients, their Secrets, or the operator's
//! credentials. `docs/security.md` has a table of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation};
use auth0_simulator::ClientSeed;
use k8s_openapi::api::core::v1::Secret;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, tenant_with_clients},
    fixture::{DEADLINE, Fixture, NamespaceFixture},
    manifests::merge,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// Mallory's namespace, in a cluster where the team `shop` is given the clients of the tenant.
async fn mallory(bench: &Fixture) -> NamespaceFixture {
    bench
        .apply_shared_tenant(json!([
            { "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["victim*"] },
            { "namespaces": { "matchLabels": { "team": "mallory" } }, "clientIds": ["mallory*"] },
            { "namespaces": { "matchLabels": { "by": "metadata" } },
              "clientMetadata": { "key": "owner", "value": "mallory" } },
        ]))
        .await;
    bench.create_namespace("mallory", json!({ "team": "mallory" })).await
}

/// Whoever is served while others are refused: what came before has been looked at then.
async fn is_served(place: &NamespaceFixture) {
    place.apply_rotation_of("served", "mallory-served", json!({})).await;
    place.wait_until_rotated("served", 1).await;
}

#[tokio::test]
async fn clients_of_others_can_not_be_had_by_naming_them() {
    let clients = ["victim", "victim-2", "mallory-served", "mallory*"];
    let bench = Fixture::cluster_wide(tenant_with_clients(&clients).await).await;
    let place = mallory(&bench).await;
    for (name, client, reason) in [
        ("plain", "victim", "NotAllowed"),
        ("case", "Mallory-x", "NotAllowed"),
        ("star", "*", "NotAllowed"),
        ("prefix", " mallory", ""),
        ("dots", "../clients/victim", "NotAllowed"),
        ("unknown", "mallory/../victim", "ClientNotFound"),
        ("encoded", "mallory%2F..%2Fvictim", "ClientNotFound"),
        ("query", "mallory?x=/victim", "ClientNotFound"),
        ("fragment", "mallory#victim", "ClientNotFound"),
    ] {
        let tried = place.try_apply_rotation_of(name, client, json!({ "initial": "Rotate" })).await;
        if reason.is_empty() {
            assert!(tried.is_err(), "{name}: the API server takes no such ID");
            continue;
        }
        tried.unwrap();
        place.wait_until_stalled(name, reason).await;
        assert_eq!(place.current_value(name).await, None, "{name}");
    }
    is_served(&place).await;
    bench.assert_no_requests("victim");
    // A client whose metadata names someone else, or nobody, is asked about and not touched.
    let other = bench.create_namespace("other", json!({ "by": "metadata" })).await;
    let theirs = ClientSeed::new("theirs").field("client_metadata", json!({ "owner": "shop" }));
    bench.simulator.add_client(theirs).unwrap();
    for (name, client) in [("nobodys", "victim"), ("theirs", "theirs")] {
        other.apply_rotation_of(name, client, json!({ "initial": "Rotate" })).await;
        other.wait_until_stalled(name, "NotAllowed").await;
        assert_eq!(other.current_value(name).await, None, "{name}");
        assert_eq!(bench.simulator.counters().client(client).effects, Default::default());
    }
    bench.finish().await;
}

#[tokio::test]
async fn tenants_and_secrets_of_other_namespaces_can_not_be_referred_to() {
    let bench =
        Fixture::cluster_wide(tenant_with_clients(&["victim", "victim-3", "mallory-served"]).await)
            .await;
    let place = mallory(&bench).await;
    let shop = bench.create_namespace("shop", json!({ "team": "shop" })).await;
    shop.apply_rotation_of("victim", "victim", json!({})).await;
    shop.wait_until_rotated("victim", 1).await;
    let effects = bench.simulator.counters().client("victim");
    // What the API server takes for no name at all.
    let in_other = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": "shop/acme" } });
    assert!(place.try_apply_rotation_of("slash", "victim", in_other).await.is_err());
    let target = json!({ "target": { "name": "../shop/victim-auth0", "adopt": true } });
    assert!(place.try_apply_rotation_of("target", "mallory-served", target).await.is_err());
    let consumers =
        json!({ "consumers": { "restart": [{ "kind": "Deployment", "name": "shop/x" }] } });
    assert!(place.try_apply_rotation_of("restart", "mallory-served", consumers).await.is_err());
    let tenant = |secret: &str| {
        json!({
            "domain": "acme.eu.auth0.com", "endpoint": bench.simulator.url(),
            "credentials": { "clientSecret": { "secretRef": { "name": secret } } },
        })
    };
    assert!(place.try_apply_tenant("slash", tenant("../auth0-management")).await.is_err());

    // The operator's own credentials, and those of the bench's tenant, are not mallory's.
    place.try_apply_tenant("mine", tenant("auth0-management")).await.unwrap();
    let mine = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": "mine" } });
    place.apply_rotation_of("mine", "victim-3", mine).await;
    place.wait_until_stalled("mine", "CredentialsUnreadable").await;
    let acme = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": "acme" } });
    place.apply_rotation_of("acme", "victim-3", acme).await;
    place.wait_for("acme", "without a tenant", |found| is(found, "Ready", "TenantMissing")).await;
    // A tenant of the same name as the cluster's, in a namespace, is another one.
    place.try_apply_tenant("shared", tenant("auth0-management")).await.unwrap();
    place.apply_rotation_of("shared", "victim-3", json!({})).await;
    place.wait_until_stalled("shared", "NotAllowed").await;

    is_served(&place).await;
    for name in ["mine", "acme", "shared"] {
        assert_eq!(place.current_value(name).await, None, "{name}");
    }
    assert_eq!(bench.simulator.counters().client("victim"), effects);
    bench.assert_no_requests("victim-3");
    bench.finish().await;
}

#[tokio::test]
async fn a_client_that_is_rotated_elsewhere_is_not_rotated_twice() {
    let bench =
        Fixture::cluster_wide(tenant_with_clients(&["victim", "mallory-served"]).await).await;
    let place = mallory(&bench).await;
    let shop = bench.create_namespace("shop", json!({ "team": "shop" })).await;
    shop.apply_rotation_of("victim", "victim", json!({})).await;
    shop.wait_until_rotated("victim", 1).await;
    let secret = bench.simulator.client_secret(MANAGER).unwrap();
    // Mallory has credentials of the tenant, and spells it in several ways.
    let credentials = json!({ "client_id": MANAGER, "client_secret": secret.expose_secret() });
    place.write_annotated_secret("management", credentials, json!({})).await;
    let audience = "https://acme.eu.auth0.com/api/v2/";
    for (name, domain) in [("plain", "acme.eu.auth0.com"), ("custom", "login.acme.com")] {
        let spec = json!({
            "domain": domain, "audience": audience, "endpoint": bench.simulator.url(),
            "credentials": { "clientSecret": { "secretRef": { "name": "management" } } },
        });
        place.try_apply_tenant(name, spec).await.unwrap();
        let reference = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": name } });
        place.apply_rotation_of(name, "victim", reference).await;
        let message = place.wait_until_stalled(name, "ClientClaimed").await;
        assert!(message.contains("victim in the namespace shop"), "{message}");
        assert_eq!(place.current_value(name).await, None);
    }
    // Nor can it be kept from its owner by being there first: who never worked keeps nothing.
    place.apply_rotation_of("squatter", "victim-2", json!({})).await;
    place.wait_until_stalled("squatter", "NotAllowed").await;
    bench.simulator.add_client(ClientSeed::new("victim-2")).unwrap();
    shop.apply_rotation_of("victim-2", "victim-2", json!({})).await;
    shop.wait_until_rotated("victim-2", 1).await;
    bench.finish().await;
}

#[tokio::test]
async fn secrets_of_others_are_not_written_and_not_taken_along() {
    let bench = Fixture::cluster_wide(
        tenant_with_clients(&["mallory-1", "mallory-2", "mallory-served"]).await,
    )
    .await;
    let place = mallory(&bench).await;
    place.write_annotated_secret("theirs-auth0", json!({ "password": "x" }), json!({})).await;
    place.apply_rotation_of("theirs", "mallory-1", json!({})).await;
    place.wait_until_stalled("theirs", "TargetNotOwned").await;
    let delete = json!({ "target": { "deletionPolicy": "Delete" } });
    place.apply_rotation_of("theirs", "mallory-1", delete).await;
    place.api::<ClientSecretRotation>().delete("theirs", &Default::default()).await.unwrap();
    // The Secret of another resource, by name, and by the mark that it bears.
    place.apply_rotation_of("first", "mallory-1", json!({})).await;
    place.wait_until_rotated("first", 1).await;
    let same = json!({ "target": { "name": "first-auth0", "adopt": true } });
    place.apply_rotation_of("second", "mallory-2", same).await;
    place.wait_until_stalled("second", "TargetClaimed").await;
    // The credentials of the operator as the target of another client, and its client elsewhere.
    let home = bench.operator_namespace();
    bench.apply_shared_tenant(json!([{ "namespaces": {}, "clientIds": ["*"] }])).await;
    let target = json!({ "target": { "name": "auth0-management", "adopt": true } });
    home.apply_rotation_of("overwrite", "mallory-2", target.clone()).await;
    home.wait_until_stalled("overwrite", "CredentialsTarget").await;
    place.apply_rotation_of("lock-out", MANAGER, json!({})).await;
    let message = place.wait_until_stalled("lock-out", "ManagementClient").await;
    assert!(message.contains("auth0-management"), "{message}");
    let mut gone = target;
    gone["target"]["deletionPolicy"] = json!("Delete");
    home.apply_rotation_of("gone", MANAGER, gone).await;
    home.wait_until_stalled("gone", "CredentialsTarget").await;

    let secrets = place.api::<Secret>();
    let theirs = secrets.get("theirs-auth0").await.unwrap();
    assert_eq!(theirs.data.unwrap().len(), 1);
    assert!(theirs.metadata.owner_references.is_none());
    bench.assert_no_requests("mallory-2");
    assert_eq!(bench.simulator.counters().client(MANAGER).effects.rotations, 0);
    bench.finish().await;
}

/// Listens, and counts who comes.
struct Trap {
    port: u16,
    visits: Arc<AtomicUsize>,
}

impl Trap {
    /// Answers everyone with that, and hangs up.
    async fn answering(answer: String) -> Trap {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let visits = Arc::new(AtomicUsize::new(0));
        let count = visits.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Trap { port, visits }
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

fn is(resource: &ClientSecretRotation, kind: &str, reason: &str) -> bool {
    let status = resource.status.clone().unwrap_or_default();
    rotation::find_condition(&status.conditions, kind).is_some_and(|found| found.reason == reason)
}

/// Waits for the reason of a tenant's condition `Ready`, and gives its message.
async fn tenant_reason(place: &NamespaceFixture, name: &str, reason: &str) -> String {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let tenant = place.api::<Auth0Tenant>().get(name).await.unwrap();
        let conditions = tenant.status.unwrap_or_default().conditions;
        let ready = rotation::find_condition(&conditions, "Ready");
        if let Some(ready) = ready.filter(|ready| ready.reason == reason) {
            return ready.message.clone();
        }
        assert!(std::time::Instant::now() < deadline, "never {reason}: {ready:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn credentials_go_where_their_secret_lets_them_and_nowhere_else() {
    let bench = Fixture::cluster_wide(tenant_with_clients(&["mallory-served"]).await).await;
    let place = mallory(&bench).await;
    let trap = Trap::answering(String::new()).await;
    // This address reaches the trap, and is not the loopback interface's.
    let elsewhere = format!("https://0.0.0.0:{}", trap.port);
    let tenant = |over: Value| {
        let mut spec = json!({
            "domain": "acme.eu.auth0.com",
            "credentials": { "clientSecret": { "secretRef": { "name": "treasure" } } },
        });
        merge(&mut spec, over);
        spec
    };
    let plain = json!({ "client_id": "x", "client_secret": "a treasure" });
    let mut of_acme = plain.clone();
    of_acme["domain"] = json!("acme.eu.auth0.com");
    place.write_annotated_secret("treasure", plain, json!({})).await;
    // An endpoint, and a domain, that the Secret says nothing of.
    place.try_apply_tenant("endpoint", tenant(json!({ "endpoint": elsewhere }))).await.unwrap();
    let message = tenant_reason(&place, "endpoint", "CredentialsUnreadable").await;
    assert!(message.contains("auth0-rotator.dev/endpoint"), "{message}");
    place.try_apply_tenant("domain", tenant(json!({ "domain": "evil.example" }))).await.unwrap();
    let message = tenant_reason(&place, "domain", "CredentialsUnreadable").await;
    assert!(message.contains("custom domain evil.example"), "{message}");
    // A Secret that names its tenant, as every target Secret does, goes to no other.
    place.write_annotated_secret("treasure", of_acme, json!({})).await;
    place
        .try_apply_tenant("other", tenant(json!({ "domain": "mallory.eu.auth0.com" })))
        .await
        .unwrap();
    let message = tenant_reason(&place, "other", "CredentialsUnreadable").await;
    assert!(message.contains("is for another tenant"), "{message}");
    // A password in the URL, another scheme, a query.
    for (name, endpoint) in [
        ("user", "https://user:password@acme.eu.auth0.com"),
        ("scheme", "ftp://acme.eu.auth0.com"),
        ("query", "https://acme.eu.auth0.com/?x=https://evil.example"),
    ] {
        place.try_apply_tenant(name, tenant(json!({ "endpoint": endpoint }))).await.unwrap();
        tenant_reason(&place, name, "InvalidTenant").await;
    }
    assert_eq!(trap.visits(), 0);
    // Whoever may write the Secret can say so: then it is called.
    let credentials = json!({ "client_id": "x", "client_secret": "a treasure" });
    let consent = json!({ "auth0-rotator.dev/endpoint": elsewhere });
    place.write_annotated_secret("treasure", credentials, consent).await;
    place.try_apply_tenant("allowed", tenant(json!({ "endpoint": elsewhere }))).await.unwrap();
    tenant_reason(&place, "allowed", "Unreachable").await;
    assert!(trap.visits() > 0, "the trap works");
    bench.finish().await;
}

#[tokio::test]
async fn no_redirect_is_followed_with_credentials() {
    let bench = Fixture::cluster_wide(tenant_with_clients(&["mallory-served"]).await).await;
    let place = mallory(&bench).await;
    let trap = Trap::answering(String::new()).await;
    for status in
        ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let redirect = Trap::answering(format!(
            "HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:{}/oauth/token\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
            trap.port
        ))
        .await;
        let secret = json!({ "client_id": "x", "client_secret": "a treasure" });
        place.write_annotated_secret("treasure", secret, json!({})).await;
        let name = format!("redirect-{}", &status[..3]);
        let spec = json!({
            "domain": "acme.eu.auth0.com",
            "endpoint": format!("http://127.0.0.1:{}", redirect.port),
            "credentials": { "clientSecret": { "secretRef": { "name": "treasure" } } },
        });
        place.try_apply_tenant(&name, spec).await.unwrap();
        tenant_reason(&place, &name, "TokenUnavailable").await;
        assert!(redirect.visits() > 0, "{status}");
    }
    assert_eq!(trap.visits(), 0);
    bench.finish().await;
}
