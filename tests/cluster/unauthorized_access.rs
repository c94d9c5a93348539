//! Attempts of a user to use clients, Secrets or credentials of others, each of which the operator
//! rejects. `docs/security.md` has a table of them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::ClientSeed;
use k8s_openapi::api::core::v1::Secret;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::{MANAGER, tenant_with_clients},
    fixture::{Fixture, NamespaceFixture},
    manifests::merge,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::tenant_status::wait_for_tenant_reason;

/// Creates the namespace of an attacker, in a cluster whose tenant allows the clients `victim*` only
/// to the team `shop`.
async fn create_attacker_namespace(fixture: &Fixture) -> NamespaceFixture {
    fixture
        .apply_shared_tenant(json!([
            { "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["victim*"] },
            { "namespaces": { "matchLabels": { "team": "mallory" } }, "clientIds": ["mallory*"] },
            { "namespaces": { "matchLabels": { "by": "metadata" } },
              "clientMetadata": { "key": "owner", "value": "mallory" } },
        ]))
        .await;
    fixture.create_namespace("mallory", json!({ "team": "mallory" })).await
}

/// Waits until the rotation of an allowed client is reconciled. The operator has then also reconciled
/// everything that was applied earlier.
async fn wait_for_allowed_rotation(attacker: &NamespaceFixture) {
    attacker.apply_rotation_of("allowed", "mallory-allowed", json!({})).await;
    attacker.wait_until_rotated("allowed", 1).await;
}

#[tokio::test]
async fn rejects_clients_that_no_rule_allows() {
    let clients = ["victim", "victim-2", "mallory-allowed", "mallory*"];
    let fixture = Fixture::cluster_wide(tenant_with_clients(&clients).await).await;
    let attacker = create_attacker_namespace(&fixture).await;
    for (name, client, reason) in [
        ("plain", "victim", "NotAllowed"),
        ("case", "Mallory-x", "NotAllowed"),
        ("star", "*", "NotAllowed"),
        ("prefix", " mallory", ""),
        ("dots", "../clients/victim", ""),
        ("unknown", "mallory/../victim", ""),
        ("encoded", "mallory%2F..%2Fvictim", ""),
        ("query", "mallory?x=/victim", ""),
        ("fragment", "mallory#victim", ""),
        ("semicolon", "mallory;x=victim", "ClientNotFound"),
    ] {
        let rotate = json!({ "initial": "Rotate" });
        let applied = attacker.try_apply_rotation_of(name, client, rotate).await;
        if reason.is_empty() {
            assert!(applied.is_err(), "{name}: the API server accepts the client ID");
            continue;
        }
        applied.unwrap();
        attacker.wait_until_stalled(name, reason).await;
        assert_eq!(attacker.current_value(name).await, None, "{name}");
    }
    wait_for_allowed_rotation(&attacker).await;
    fixture.assert_no_requests("victim");
    // The operator reads, but doesn't change, a client whose metadata names another owner, or none.
    let other = fixture.create_namespace("other", json!({ "by": "metadata" })).await;
    let foreign = ClientSeed::new("foreign").field("client_metadata", json!({ "owner": "shop" }));
    fixture.simulator.add_client(foreign).unwrap();
    for (name, client) in [("without-owner", "victim"), ("foreign", "foreign")] {
        other.apply_rotation_of(name, client, json!({ "initial": "Rotate" })).await;
        other.wait_until_stalled(name, "NotAllowed").await;
        assert_eq!(other.current_value(name).await, None, "{name}");
        assert_eq!(fixture.simulator.counters().client(client).effects, Default::default());
    }
    fixture.finish().await;
}

#[tokio::test]
async fn rejects_references_to_other_namespaces() {
    let fixture = Fixture::cluster_wide(
        tenant_with_clients(&["victim", "victim-3", "mallory-allowed"]).await,
    )
    .await;
    let attacker = create_attacker_namespace(&fixture).await;
    let shop = fixture.create_namespace("shop", json!({ "team": "shop" })).await;
    shop.apply_rotation_of("victim", "victim", json!({})).await;
    shop.wait_until_rotated("victim", 1).await;
    let effects = fixture.simulator.counters().client("victim");
    // The API server rejects names that are not valid.
    let other_namespace = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": "shop/acme" } });
    assert!(attacker.try_apply_rotation_of("slash", "victim", other_namespace).await.is_err());
    let target = json!({ "target": { "name": "../shop/victim-auth0", "adopt": true } });
    assert!(attacker.try_apply_rotation_of("target", "mallory-allowed", target).await.is_err());
    let consumers =
        json!({ "consumers": { "restart": [{ "kind": "Deployment", "name": "shop/x" }] } });
    assert!(attacker.try_apply_rotation_of("restart", "mallory-allowed", consumers).await.is_err());
    let tenant = |secret: &str| {
        json!({
            "domain": "acme.eu.auth0.com", "endpoint": fixture.simulator.url(),
            "credentials": { "clientSecret": { "secretRef": { "name": secret } } },
        })
    };
    assert!(attacker.try_apply_tenant("slash", tenant("../auth0-management")).await.is_err());

    // The credentials of the operator and of the fixture's tenant are in another namespace.
    attacker.try_apply_tenant("own", tenant("auth0-management")).await.unwrap();
    let own = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": "own" } });
    attacker.apply_rotation_of("own", "victim-3", own).await;
    attacker.wait_until_stalled("own", "CredentialsUnreadable").await;
    let acme = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": "acme" } });
    attacker.apply_rotation_of("acme", "victim-3", acme).await;
    attacker.wait_for_reason("acme", "Ready", "TenantMissing").await;
    // An Auth0Tenant with the name of the ClusterAuth0Tenant does not replace it.
    attacker.try_apply_tenant("shared", tenant("auth0-management")).await.unwrap();
    attacker.apply_rotation_of("shared", "victim-3", json!({})).await;
    attacker.wait_until_stalled("shared", "NotAllowed").await;

    wait_for_allowed_rotation(&attacker).await;
    for name in ["own", "acme", "shared"] {
        assert_eq!(attacker.current_value(name).await, None, "{name}");
    }
    assert_eq!(fixture.simulator.counters().client("victim"), effects);
    fixture.assert_no_requests("victim-3");
    fixture.finish().await;
}

#[tokio::test]
async fn rejects_a_client_that_another_resource_owns() {
    let fixture =
        Fixture::cluster_wide(tenant_with_clients(&["victim", "mallory-allowed"]).await).await;
    let attacker = create_attacker_namespace(&fixture).await;
    let shop = fixture.create_namespace("shop", json!({ "team": "shop" })).await;
    shop.apply_rotation_of("victim", "victim", json!({})).await;
    shop.wait_until_rotated("victim", 1).await;
    let secret = fixture.simulator.client_secret(MANAGER).unwrap();
    // The attacker has credentials of the tenant, and uses two domains for it.
    let credentials = json!({ "client_id": MANAGER, "client_secret": secret.expose_secret() });
    attacker.write_annotated_secret("management", credentials, json!({})).await;
    let audience = "https://acme.eu.auth0.com/api/v2/";
    for (name, domain) in [("plain", "acme.eu.auth0.com"), ("custom", "login.acme.com")] {
        let spec = json!({
            "domain": domain, "audience": audience, "endpoint": fixture.simulator.url(),
            "credentials": { "clientSecret": { "secretRef": { "name": "management" } } },
        });
        attacker.try_apply_tenant(name, spec).await.unwrap();
        let reference = json!({ "tenantRef": { "kind": "Auth0Tenant", "name": name } });
        attacker.apply_rotation_of(name, "victim", reference).await;
        let message = attacker.wait_until_stalled(name, "ClientClaimed").await;
        assert!(message.contains("in another namespace"), "{message}");
        assert!(!message.contains("shop"), "{message}");
        assert_eq!(attacker.current_value(name).await, None);
    }
    // An earlier resource that was never allowed doesn't keep the client from its owner.
    attacker.apply_rotation_of("earlier", "victim-2", json!({})).await;
    attacker.wait_until_stalled("earlier", "NotAllowed").await;
    fixture.simulator.add_client(ClientSeed::new("victim-2")).unwrap();
    shop.apply_rotation_of("victim-2", "victim-2", json!({})).await;
    shop.wait_until_rotated("victim-2", 1).await;
    fixture.finish().await;
}

#[tokio::test]
async fn never_writes_or_deletes_a_foreign_secret() {
    let fixture = Fixture::cluster_wide(
        tenant_with_clients(&["mallory-1", "mallory-2", "mallory-allowed"]).await,
    )
    .await;
    let attacker = create_attacker_namespace(&fixture).await;
    attacker.write_annotated_secret("foreign-auth0", json!({ "password": "x" }), json!({})).await;
    attacker.apply_rotation_of("foreign", "mallory-1", json!({})).await;
    attacker.wait_until_stalled("foreign", "TargetNotOwned").await;
    let delete = json!({ "target": { "deletionPolicy": "Delete" } });
    attacker.apply_rotation_of("foreign", "mallory-1", delete).await;
    attacker.api::<ClientSecretRotation>().delete("foreign", &Default::default()).await.unwrap();
    // A target Secret that belongs to another resource.
    attacker.apply_rotation_of("first", "mallory-1", json!({})).await;
    attacker.wait_until_rotated("first", 1).await;
    let same = json!({ "target": { "name": "first-auth0", "adopt": true } });
    attacker.apply_rotation_of("second", "mallory-2", same).await;
    attacker.wait_until_stalled("second", "TargetClaimed").await;
    // The operator's credentials Secret as the target of another client, and the management client
    // with another target.
    let operator_namespace = fixture.operator_namespace();
    fixture.apply_shared_tenant(json!([{ "namespaces": {}, "clientIds": ["*"] }])).await;
    let target = json!({ "target": { "name": "auth0-management", "adopt": true } });
    operator_namespace.apply_rotation_of("overwrite", "mallory-2", target.clone()).await;
    operator_namespace.wait_until_stalled("overwrite", "CredentialsTarget").await;
    attacker.apply_rotation_of("other-target", MANAGER, json!({})).await;
    let message = attacker.wait_until_stalled("other-target", "ManagementClient").await;
    assert!(message.contains("in another namespace"), "{message}");
    let mut deletable = target;
    deletable["target"]["deletionPolicy"] = json!("Delete");
    operator_namespace.apply_rotation_of("deletable", MANAGER, deletable).await;
    operator_namespace.wait_until_stalled("deletable", "CredentialsTarget").await;

    let secrets = attacker.api::<Secret>();
    let foreign = secrets.get("foreign-auth0").await.unwrap();
    assert_eq!(foreign.data.unwrap().len(), 1);
    assert!(foreign.metadata.owner_references.is_none());
    fixture.assert_no_requests("mallory-2");
    assert_eq!(fixture.simulator.counters().client(MANAGER).effects.rotations, 0);
    fixture.finish().await;
}

/// TCP server that counts its connections.
pub(crate) struct CountingServer {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
}

impl CountingServer {
    /// Starts a server that sends the same response to every client and closes the connection.
    pub(crate) async fn start(response: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let response = response.clone();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(response.as_bytes()).await;
                });
            }
        });
        Self { port, connections }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn sends_credentials_only_to_hosts_that_their_secret_allows() {
    let simulator = tenant_with_clients(&["mallory-allowed"]).await;
    let mut fixture = Fixture::with_dedicated_control_plane(simulator).await;
    let endpoints = "0.0.0.0:*,evil.example,*.auth0.com";
    fixture.start_cluster_operator_with(&["--allowed-endpoints", endpoints]);
    let attacker = create_attacker_namespace(&fixture).await;
    let foreign_host = CountingServer::start(String::new()).await;
    // This address reaches the server, and is not one of the loopback interface.
    let foreign_url = format!("https://0.0.0.0:{}", foreign_host.port);
    let tenant = |overrides: Value| {
        let mut spec = json!({
            "domain": "acme.eu.auth0.com",
            "credentials": { "clientSecret": { "secretRef": { "name": "credentials" } } },
        });
        merge(&mut spec, overrides);
        spec
    };
    let without_domain = json!({ "client_id": "x", "client_secret": "stolen" });
    let mut of_acme = without_domain.clone();
    of_acme["domain"] = json!("acme.eu.auth0.com");
    attacker.write_annotated_secret("credentials", without_domain, json!({})).await;
    // An endpoint, and a custom domain, that the Secret doesn't name.
    attacker
        .try_apply_tenant("endpoint", tenant(json!({ "endpoint": foreign_url })))
        .await
        .unwrap();
    let message = wait_for_tenant_reason(&attacker, "endpoint", "CredentialsUnreadable").await;
    assert!(message.contains("auth0-rotator.dev/endpoint"), "{message}");
    attacker.try_apply_tenant("domain", tenant(json!({ "domain": "evil.example" }))).await.unwrap();
    let message = wait_for_tenant_reason(&attacker, "domain", "CredentialsUnreadable").await;
    assert!(message.contains("custom domain evil.example"), "{message}");
    // A Secret that names its tenant, as every target Secret does, is sent to no other tenant.
    attacker.write_annotated_secret("credentials", of_acme, json!({})).await;
    attacker
        .try_apply_tenant("other", tenant(json!({ "domain": "mallory.eu.auth0.com" })))
        .await
        .unwrap();
    let message = wait_for_tenant_reason(&attacker, "other", "CredentialsUnreadable").await;
    assert!(message.contains("is for another tenant"), "{message}");
    // A password in the URL, another scheme, a query.
    for (name, endpoint) in [
        ("user", "https://user:password@acme.eu.auth0.com"),
        ("scheme", "ftp://acme.eu.auth0.com"),
        ("query", "https://acme.eu.auth0.com/?x=https://evil.example"),
    ] {
        attacker.try_apply_tenant(name, tenant(json!({ "endpoint": endpoint }))).await.unwrap();
        wait_for_tenant_reason(&attacker, name, "InvalidTenant").await;
    }
    assert_eq!(foreign_host.connections(), 0);
    // A user who may write the Secret can allow the endpoint. The operator then calls it.
    let credentials = json!({ "client_id": "x", "client_secret": "stolen" });
    let allowed = json!({ "auth0-rotator.dev/endpoint": foreign_url });
    attacker.write_annotated_secret("credentials", credentials, allowed).await;
    attacker.try_apply_tenant("allowed", tenant(json!({ "endpoint": foreign_url }))).await.unwrap();
    wait_for_tenant_reason(&attacker, "allowed", "Unreachable").await;
    assert!(foreign_host.connections() > 0, "the operator never called the allowed endpoint");
    fixture.finish().await;
}

#[tokio::test]
async fn does_not_follow_redirects_with_credentials() {
    let fixture = Fixture::cluster_wide(tenant_with_clients(&["mallory-allowed"]).await).await;
    let attacker = create_attacker_namespace(&fixture).await;
    let foreign_host = CountingServer::start(String::new()).await;
    for status in
        ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let redirect = CountingServer::start(format!(
            "HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:{}/oauth/token\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
            foreign_host.port
        ))
        .await;
        let secret = json!({ "client_id": "x", "client_secret": "stolen" });
        attacker.write_annotated_secret("credentials", secret, json!({})).await;
        let name = format!("redirect-{}", &status[..3]);
        let spec = json!({
            "domain": "acme.eu.auth0.com",
            "endpoint": format!("http://127.0.0.1:{}", redirect.port),
            "credentials": { "clientSecret": { "secretRef": { "name": "credentials" } } },
        });
        attacker.try_apply_tenant(&name, spec).await.unwrap();
        wait_for_tenant_reason(&attacker, &name, "TokenUnavailable").await;
        assert!(redirect.connections() > 0, "{status}");
    }
    assert_eq!(foreign_host.connections(), 0);
    fixture.finish().await;
}
