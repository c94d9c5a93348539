//! Functions of the library that don't use HTTP.

use std::time::Duration;

use auth0_simulator::{AuditKind, ClientSeed, Operation, SeedError, Simulator, StartError};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::{API, APP, APP_SECRET, MANAGER, Tenant, immediate};

#[tokio::test]
async fn audit_log_records_operations_and_clients() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let last_seq = tenant.simulator.audit_log(0).last().unwrap().seq;
    let header = json!({"name": "auth0-rotator", "version": "0.1.0"});
    let path = format!("/clients/{APP}");
    let request = tenant
        .api(&token, reqwest::Method::GET, &path)
        .header("auth0-client", STANDARD.encode(header.to_string()))
        .header("user-agent", "test/1");
    tenant.send(request).await;
    tenant.get(&token, &format!("{path}?fields=name")).await;
    tenant.rotate(&token, "unknown").await;
    tenant.login(APP, "wrong", API).await;
    tenant.revoke(APP, APP_SECRET).await;
    tenant.simulator.dashboard_rotate(APP).unwrap();

    let log = tenant.simulator.audit_log(last_seq);
    let kinds: Vec<AuditKind> = log.iter().map(|entry| entry.kind).collect();
    assert_eq!(
        kinds,
        [
            AuditKind::MgmtApiRead,
            AuditKind::ApiOperation,
            AuditKind::FailedApiOperation,
            AuditKind::FailedLogin,
            AuditKind::Revocation,
            AuditKind::Dashboard,
        ]
    );
    let read = &log[0];
    assert_eq!(read.operation, Operation::GetClient);
    assert_eq!(read.client_id.as_deref(), Some(APP));
    assert_eq!(read.token_client_id.as_deref(), Some(MANAGER));
    assert_eq!((read.status, read.effect, read.shows_secret), (Some(200), false, true));
    assert_eq!(read.auth0_client, Some(header));
    assert_eq!(read.user_agent.as_deref(), Some("test/1"));
    assert!(!log[1].shows_secret);
    assert_eq!(log[2].error.as_deref(), Some("inexistent_client"));
    assert_eq!(log[3].error.as_deref(), Some("access_denied"));
    assert_eq!((log[5].effect, log[5].status), (true, None));
    let numbers: Vec<u64> = log.iter().map(|entry| entry.seq).collect();
    assert_eq!(numbers, (last_seq + 1..=last_seq + 6).collect::<Vec<_>>());
}

#[tokio::test]
async fn audit_log_counters_and_debug_output_contain_no_value() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    tenant.rotate(&token, APP).await;
    tenant.patch(&token, APP, json!({"client_secret": "patched-in-value"})).await;
    tenant.login(APP, "patched-in-value", API).await;
    let mut output = serde_json::to_string(&tenant.simulator.audit_log(0)).unwrap();
    output += &serde_json::to_string(&tenant.simulator.counters()).unwrap();
    output += &format!("{:?} {:?}", tenant.simulator, tenant.simulator.value_history());
    let history = tenant.simulator.value_history();
    assert_eq!((history.secrets.len(), history.tokens.len()), (4, 2));
    for value in history.secrets.iter().chain(&history.tokens) {
        assert!(!output.contains(value.expose_secret()));
    }
}

#[tokio::test]
async fn audit_log_is_bounded() {
    let tenant = Tenant::start(immediate().audit_capacity(3)).await;
    for _ in 0..5 {
        tenant.revoke(APP, APP_SECRET).await;
    }
    let numbers: Vec<u64> = tenant.simulator.audit_log(0).iter().map(|entry| entry.seq).collect();
    assert_eq!(numbers, [3, 4, 5]);
}

#[tokio::test]
async fn counts_requests_logins_and_effects() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    tenant.rotate(&token, APP).await;
    tenant.rotate(&token, APP).await;
    tenant.rotate(&token, "unknown").await;
    tenant.patch(&token, APP, json!({"client_secret": "value"})).await;
    tenant.patch(&token, APP, json!({"description": "d"})).await;
    tenant.login(APP, "value", API).await;
    tenant.login(APP, "wrong", API).await;
    tenant.login("unknown", "wrong", API).await;
    tenant.simulator.set_client_secret(APP, "other").unwrap();
    let counters = tenant.simulator.counters();
    assert_eq!(counters.requests(Operation::RotateSecret), 3);
    assert_eq!(counters.with_status(Operation::RotateSecret, 200), 2);
    assert_eq!(counters.with_status(Operation::RotateSecret, 404), 1);
    let app = counters.client(APP);
    assert_eq!((app.effects.rotations, app.effects.secret_patches, app.effects.patches), (2, 1, 2));
    assert_eq!((app.logins_accepted, app.logins_rejected), (1, 1));
    assert_eq!(app.effects.dashboard_changes, 1);
    assert_eq!(app.requests["clients.rotate_secret"], 2);
    assert_eq!(counters.effects.rotations, 2);
    let unknown = counters.client(auth0_simulator::UNKNOWN_CLIENT);
    assert_eq!((unknown.logins_rejected, unknown.requests["clients.rotate_secret"]), (1, 1));
}

#[tokio::test]
async fn adds_changes_and_removes_clients() {
    let tenant = Tenant::start(immediate()).await;
    let simulator = &tenant.simulator;
    let id = simulator.add_client(ClientSeed::default()).unwrap();
    assert_eq!(simulator.client_secret(&id).unwrap().expose_secret().len(), 64);
    simulator.set_client_secret(&id, "chosen").unwrap();
    assert!(simulator.accepts(&id, "chosen"));
    simulator.set_scopes(&id, ["read:clients"]).unwrap();
    let token = tenant.token_of(&id, "chosen").await;
    assert_eq!(tenant.get(&token, "/clients").await.status, 200);
    assert!(simulator.remove_client(&id) && !simulator.remove_client(&id));
    assert!(simulator.client_secret(&id).is_none());
    let unknown = SeedError::UnknownClient(id.clone());
    assert_eq!(simulator.set_client_secret(&id, "x"), Err(unknown));
    assert_eq!(simulator.set_client_secret(APP, ""), Err(SeedError::EmptySecret));
}

#[tokio::test]
async fn start_error_names_the_cause() {
    let minute = Duration::from_secs(60);
    for (builder, hint) in [
        (Simulator::builder().domain("https://acme"), "without scheme"),
        (Simulator::builder().domain(""), "without scheme"),
        (Simulator::builder().propagation(minute..=Duration::ZERO), "shorter duration first"),
        (Simulator::builder().token_ttl(Duration::ZERO), "1s to 30d"),
        (Simulator::builder().body_limit(0), "body limit"),
        (Simulator::builder().tls("x", "y"), "BEGIN CERTIFICATE"),
        (Simulator::builder().client(ClientSeed::new("a").field("color", "red")), "color"),
    ] {
        let error = builder.start().await.unwrap_err().to_string();
        assert!(error.contains(hint), "{error}");
    }
    let running = Simulator::builder().start().await.unwrap();
    let error = Simulator::builder().addr(running.addr()).start().await.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }));
    assert!(error.to_string().contains("port 0"));
}

#[tokio::test]
async fn replaces_port_in_the_domain() {
    let simulator = Simulator::builder().domain("localhost:{port}").start().await.unwrap();
    let port = simulator.addr().port();
    assert_eq!(simulator.domain(), format!("localhost:{port}"));
    assert_eq!(simulator.audience(), format!("https://localhost:{port}/api/v2/"));
}

#[tokio::test]
async fn both_listeners_close_on_shutdown_and_on_drop() {
    for is_dropped in [false, true] {
        let simulator = Simulator::builder().start().await.unwrap();
        let addrs = [simulator.addr(), simulator.admin_addr()];
        // An idle connection must not delay the shutdown.
        let _idle = tokio::net::TcpStream::connect(addrs[0]).await.unwrap();
        if is_dropped {
            drop(simulator)
        } else {
            simulator.shutdown().await
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        for addr in addrs {
            while tokio::net::TcpStream::connect(addr).await.is_ok() {
                assert!(std::time::Instant::now() < deadline, "{addr} is still open");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
