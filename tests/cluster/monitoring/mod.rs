//! Metrics, alerts and the dashboard: what people look at is there, and the tools that they use
//! find nothing wrong with it.

mod prometheus;
mod table;
mod traces;

use std::{fs, path::PathBuf, time::Duration};

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation};
use auth0_simulator::{ClientSeed, Simulator};
use kube::api::{Patch, PatchParams};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use prometheus::{Prometheus, promtool};
use testkit::{
    auth0::{MANAGER, SCOPES},
    fixture::{DEADLINE, Fixture},
};

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const RULES: &str = "charts/auth0-rotator/files/rules.yaml";

/// The alerts, as they are written.
fn alerts() -> Vec<Value> {
    let rules: Value = serde_norway::from_str(&read(RULES)).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}: {value}"))
}

/// A resource that goes through rotations, one that can't, and a tenant that lacks a scope.
async fn scene() -> Fixture {
    let reader = ClientSeed::new("reader").scopes(["read:clients", "update:client_keys"]);
    let simulator = Simulator::builder()
        .propagation(Duration::ZERO..=Duration::from_secs(1))
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .client(reader)
        .rate_limit(auth0_simulator::RateLimit::new(1000, 1000).unwrap())
        .start()
        .await
        .unwrap();
    let mut bench = Fixture::with_simulator(simulator).await;
    let secret = bench.simulator.client_secret("reader").unwrap();
    let data = [("client_id", "reader"), ("client_secret", secret.expose_secret())];
    bench.write_secret("reader", &data).await;
    let tenant = json!({
        "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
        "metadata": { "name": "poor" },
        "spec": {
            "domain": "acme.eu.auth0.com",
            "endpoint": bench.simulator.url(),
            "credentials": { "clientSecret": { "secretRef": { "name": "reader" } } },
        },
    });
    let tenants = bench.api::<Auth0Tenant>();
    tenants.patch("poor", &PatchParams::apply("tests"), &Patch::Apply(tenant)).await.unwrap();
    let down = json!({
        "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
        "metadata": { "name": "down" },
        "spec": {
            "domain": "acme.eu.auth0.com",
            "endpoint": "http://127.0.0.1:1",
            "credentials": { "clientSecret": { "secretRef": { "name": "reader" } } },
        },
    });
    tenants.patch("down", &PatchParams::apply("tests"), &Patch::Apply(down)).await.unwrap();
    bench.start_operator();
    bench.apply_rotation("shop", json!({ "schedule": { "every": "1h" } })).await;
    bench.wait_until_rotated("shop", 1).await;
    bench.try_apply_rotation("nobody", json!({})).await.unwrap();
    bench.wait_for_reason("nobody", "Stalled", "ClientNotFound").await;
    bench
}

/// One rotation with each strategy; the second one is still in its grace period.
async fn rotate(bench: &Fixture) {
    bench.request("shop", "rotate/one").await;
    bench.wait_until_rotated("shop", 2).await;
    let staged = json!({
        "strategy": "Staged", "staging": { "period": "1s" }, "gracePeriod": "1h",
        "schedule": { "every": "3h" },
    });
    bench.apply_rotation("shop", staged).await;
    bench.request("shop", "rotate/two").await;
    bench
        .wait_for("shop", "in its grace period", |resource| {
            let rotation = resource.status.as_ref().and_then(|status| status.rotation.as_ref());
            rotation.is_some_and(|rotation| rotation.phase == rotation::Phase::Grace)
        })
        .await;
}

#[test]
fn promtool_finds_the_rules_sound_and_each_alert_was_tried_both_ways() {
    let said = promtool(&["check", "rules", file(RULES).to_str().unwrap()], "");
    assert!(said.contains("SUCCESS"), "{said}");
    let tests = file("tests/monitoring/rules_test.yaml");
    let said = promtool(&["test", "rules", tests.to_str().unwrap()], "");
    assert!(said.contains("SUCCESS"), "{said}");
    let tests: Value = serde_norway::from_str(&read("tests/monitoring/rules_test.yaml")).unwrap();
    let expected = |alert: &str, fires: bool| {
        let cases = tests["tests"].as_array().unwrap().iter();
        cases.flat_map(|case| case["alert_rule_test"].as_array().unwrap()).any(|case| {
            let empty = case["exp_alerts"].as_array().unwrap().is_empty();
            case["alertname"] == alert && empty != fires
        })
    };
    for alert in alerts() {
        let name = text(&alert, "/alert");
        assert!(expected(name, true), "{name} is never seen to fire");
        assert!(expected(name, false), "{name} is never seen not to fire");
    }
}

#[test]
fn each_alert_has_a_runbook_that_its_annotation_leads_to() {
    let mut runbooks: Vec<_> = fs::read_dir(file("docs/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut wanted = Vec::new();
    for alert in alerts() {
        let name = text(&alert, "/alert");
        let url = text(&alert, "/annotations/runbook_url");
        let repository = env!("CARGO_PKG_REPOSITORY");
        assert_eq!(url, format!("{repository}/blob/main/docs/runbooks/{name}.md"));
        let runbook = read(&format!("docs/runbooks/{name}.md"));
        assert!(runbook.starts_with(&format!("# {name}\n")), "{name}");
        for part in [
            "## Meaning",
            "## Impact",
            "## Diagnosis",
            "## Mitigation",
            "## When no action is needed",
        ] {
            assert!(runbook.contains(&format!("\n{part}\n")), "{name} lacks {part}");
        }
        for part in ["summary", "description"] {
            assert!(!text(&alert, &format!("/annotations/{part}")).is_empty(), "{name}: {part}");
        }
        assert!(["critical", "warning", "info"].contains(&text(&alert, "/labels/severity")));
        wanted.push(format!("{name}.md"));
    }
    runbooks.sort();
    wanted.sort();
    assert_eq!(runbooks, wanted);
}

#[tokio::test]
async fn the_metrics_are_those_of_the_documentation_and_promtool_finds_them_sound() {
    let bench = scene().await;
    rotate(&bench).await;
    let metrics = bench.operator().metrics().await;
    assert_eq!(promtool(&["check", "metrics"], &metrics), "", "\n{metrics}");
    table::compare(&read("docs/monitoring.md"), &metrics);
    bench.finish().await;
}

#[tokio::test]
async fn the_series_of_a_resource_go_with_it() {
    let bench = Fixture::start().await;
    for name in ["goes", "stays"] {
        bench.apply_rotation(name, json!({ "schedule": { "every": "1h" } })).await;
        bench.wait_until_rotated(name, 1).await;
    }
    let of = async |name: &str| {
        let metrics = bench.operator().metrics().await;
        metrics.lines().filter(|line| line.contains(&format!("name=\"{name}\""))).count()
    };
    // Last and next rotation, and whether it is ready.
    assert_eq!((of("goes").await, of("stays").await), (3, 3));
    let resources = bench.api::<ClientSecretRotation>();
    resources.delete("goes", &Default::default()).await.unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    while of("goes").await > 0 {
        assert!(std::time::Instant::now() < deadline, "{}", bench.operator().metrics().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(of("stays").await, 3);
    bench.finish().await;
}

#[tokio::test]
async fn every_query_of_the_dashboard_and_of_the_alerts_works_on_what_prometheus_scraped() {
    let bench = scene().await;
    let address = bench.operator().address("metrics").await;
    let prometheus = Prometheus::start(&address, &file(RULES));
    prometheus.until("auth0_rotator_build_info").await;
    rotate(&bench).await;
    // Everything has been seen twice, so that there are rates.
    prometheus
        .until("auth0_rotator_rotation_phase_deadline_timestamp_seconds{phase='grace'}")
        .await;
    let seen = "count_over_time(auth0_rotator_rotation_phase_deadline_timestamp_seconds\
                {phase='grace'}[1m]) > 2";
    prometheus.until(seen).await;

    let queries = dashboard_queries();
    assert!(queries.len() > 30, "{}", queries.len());
    for (panel, query) in queries {
        let found = prometheus.query(&query).await;
        let has_number = found.iter().any(|sample| !sample.value().is_nan());
        assert!(has_number, "{panel} shows nothing: {query}: {found:?}");
    }
    for alert in alerts() {
        prometheus.query(text(&alert, "/expr")).await;
    }
    let rules = prometheus.rules().await;
    assert_eq!(rules.len(), alerts().len());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    // What is wrong in this scene is known to the alerts: they wait for their time to come.
    let pending = prometheus.query("ALERTS").await;
    let is_pending = |name: &str| pending.iter().any(|alert| alert.metric["alertname"] == name);
    for alert in ["ResourceStalled", "TenantScopeMissing", "TenantUnreachable"] {
        assert!(is_pending(&format!("Auth0Rotator{alert}")), "{alert}: {pending:?}");
    }
    for alert in ["Down", "NoLeader", "MultipleLeaders", "ProbeRejected", "TenantUnauthorized"] {
        assert!(!is_pending(&format!("Auth0Rotator{alert}")), "{alert}: {pending:?}");
    }
    bench.finish().await;
}

/// The queries of the dashboard with the titles of their panels, as Grafana sends them.
fn dashboard_queries() -> Vec<(String, String)> {
    let path = "charts/auth0-rotator/files/dashboard.json";
    let dashboard: Value = serde_json::from_str(&read(path)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (text(panel, "/title").to_owned(), text(target, "/expr").to_owned()))
    });
    let mut filled = Vec::new();
    for (title, query) in queries {
        let query = query.replace("$namespace", ".*").replace("$__rate_interval", "1m");
        assert!(!query.contains('$'), "{title} has a variable that isn't known here: {query}");
        filled.push((title, query));
    }
    filled
}
