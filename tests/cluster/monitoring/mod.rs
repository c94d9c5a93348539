//! Metrics, traces, alerts and the dashboard agree with each other and with the documentation, and
//! promtool and Prometheus accept them.

mod prometheus;
mod table;
mod traces;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation};
use auth0_simulator::{Action, ClientSeed, Fault, Operation, Simulator, When};
use kube::api::{Patch, PatchParams};
use prometheus::{Prometheus, promtool};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
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

/// Returns the alerts of the rules file.
fn alerts() -> Vec<Value> {
    let rules: Value = serde_norway::from_str(&read(RULES)).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}: {value}"))
}

/// Starts an operator with a resource that rotates, one whose client doesn't exist, a tenant that
/// lacks a scope, and a tenant that is unreachable.
async fn start_fixture() -> Fixture {
    let reader = ClientSeed::new("reader").scopes(["read:clients", "update:client_keys"]);
    let simulator = Simulator::builder()
        .propagation(Duration::ZERO..=Duration::from_secs(1))
        .client(ClientSeed::new(MANAGER).scopes(SCOPES))
        .client(reader)
        .rate_limit(auth0_simulator::RateLimit::new(1000, 1000).unwrap())
        .start()
        .await
        .unwrap();
    let mut fixture = Fixture::with_simulator(simulator).await;
    let secret = fixture.simulator.client_secret("reader").unwrap();
    let data = [("client_id", "reader"), ("client_secret", secret.expose_secret())];
    fixture.write_secret("reader", &data).await;
    let tenant = json!({
        "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
        "metadata": { "name": "missing-scope" },
        "spec": {
            "domain": "acme.eu.auth0.com",
            "endpoint": fixture.simulator.url(),
            "credentials": { "clientSecret": { "secretRef": { "name": "reader" } } },
        },
    });
    let tenants = fixture.api::<Auth0Tenant>();
    tenants
        .patch("missing-scope", &PatchParams::apply("tests"), &Patch::Apply(tenant))
        .await
        .unwrap();
    let unreachable = json!({
        "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
        "metadata": { "name": "unreachable" },
        "spec": {
            "domain": "acme.eu.auth0.com",
            "endpoint": "http://127.0.0.1:1",
            "credentials": { "clientSecret": { "secretRef": { "name": "reader" } } },
        },
    });
    tenants
        .patch("unreachable", &PatchParams::apply("tests"), &Patch::Apply(unreachable))
        .await
        .unwrap();
    fixture.start_operator();
    fixture.apply_rotation("shop", json!({ "schedule": { "every": "1h" } })).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.try_apply_rotation("missing", json!({})).await.unwrap();
    fixture.wait_for_reason("missing", "Stalled", "ClientNotFound").await;
    fixture
}

/// Rotates once with each strategy. The second rotation is in its grace period afterwards.
async fn rotate(fixture: &Fixture) {
    fixture.request("shop", "rotate/one").await;
    fixture.wait_until_rotated("shop", 2).await;
    let staged = json!({
        "strategy": "Staged", "staging": { "period": "1s" }, "gracePeriod": "1h",
        "schedule": { "every": "3h" },
    });
    fixture.apply_rotation("shop", staged).await;
    fixture.request("shop", "rotate/two").await;
    fixture
        .wait_for("shop", "in its grace period", |resource| {
            let rotation = resource.status.as_ref().and_then(|status| status.rotation.as_ref());
            rotation.is_some_and(|rotation| rotation.phase == rotation::Phase::Grace)
        })
        .await;
}

/// Leaves a resource with a change at Auth0 whose response was lost and whose outcome can't be read.
async fn lose_outcome(fixture: &Fixture) {
    fixture.apply_rotation("lost", json!({})).await;
    fixture.wait_until_rotated("lost", 1).await;
    // Longer than the operator waits for a response.
    let delay = Action::Delay { ms: 2_500, when: When::Before };
    let faults = fixture.simulator.faults();
    faults.inject(Fault::new(delay).on(Operation::RotateSecret).client("lost")).unwrap();
    fixture.request("lost", "rotate/now").await;
    fixture
        .wait_for("lost", "changing the secret", |resource| {
            let rotation = resource.status.as_ref().and_then(|status| status.rotation.as_ref());
            rotation.is_some_and(|rotation| rotation.phase == rotation::Phase::Activating)
        })
        .await;
    let unavailable = Fault::status_before(503).on(Operation::GetClient).client("lost");
    faults.inject(unavailable.unlimited()).unwrap();
}

#[test]
fn promtool_accepts_the_rules_and_each_alert_is_tested_firing_and_not_firing() {
    let output = promtool(&["check", "rules", file(RULES).to_str().unwrap()], "");
    assert!(output.contains("SUCCESS"), "{output}");
    let tests = file("tests/monitoring/rules_test.yaml");
    let output = promtool(&["test", "rules", tests.to_str().unwrap()], "");
    assert!(output.contains("SUCCESS"), "{output}");
    let tests: Value = serde_norway::from_str(&read("tests/monitoring/rules_test.yaml")).unwrap();
    for alert in alerts() {
        let name = text(&alert, "/alert");
        assert!(is_tested(&tests, name, true), "no test in which {name} fires");
        assert!(is_tested(&tests, name, false), "no test in which {name} does not fire");
    }
}

/// Returns whether a test of the rules expects the alert to fire, or not to fire.
fn is_tested(tests: &Value, alert: &str, fires: bool) -> bool {
    let tests = tests["tests"].as_array().unwrap().iter();
    tests.flat_map(|test| test["alert_rule_test"].as_array().unwrap()).any(|test| {
        let expects_none = test["exp_alerts"].as_array().unwrap().is_empty();
        test["alertname"] == alert && expects_none != fires
    })
}

#[test]
fn each_alert_links_to_its_runbook() {
    let mut runbooks: Vec<_> = fs::read_dir(file("docs/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected = Vec::new();
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
        expected.push(format!("{name}.md"));
    }
    runbooks.sort();
    expected.sort();
    assert_eq!(runbooks, expected);
}

#[tokio::test]
async fn promtool_accepts_the_metrics_and_they_match_the_documentation() {
    let fixture = start_fixture().await;
    rotate(&fixture).await;
    lose_outcome(&fixture).await;
    let metrics = fixture.operator().metrics().await;
    assert_eq!(promtool(&["check", "metrics"], &metrics), "", "\n{metrics}");
    table::assert_documented(&read("docs/monitoring.md"), &metrics);
    fixture.finish().await;
}

#[tokio::test]
async fn removes_the_series_of_a_deleted_resource() {
    let fixture = Fixture::start().await;
    for name in ["deleted", "existing"] {
        fixture.apply_rotation(name, json!({ "schedule": { "every": "1h" } })).await;
        fixture.wait_until_rotated(name, 1).await;
    }
    let count_series = async |name: &str| {
        let metrics = fixture.operator().metrics().await;
        metrics.lines().filter(|line| line.contains(&format!("name=\"{name}\""))).count()
    };
    // Last rotation, next rotation, and readiness.
    assert_eq!((count_series("deleted").await, count_series("existing").await), (3, 3));
    let resources = fixture.api::<ClientSecretRotation>();
    resources.delete("deleted", &Default::default()).await.unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    while count_series("deleted").await > 0 {
        assert!(std::time::Instant::now() < deadline, "{}", fixture.operator().metrics().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(count_series("existing").await, 3);
    fixture.finish().await;
}

#[tokio::test]
async fn every_query_of_the_dashboard_and_the_alerts_works_on_scraped_metrics() {
    let fixture = start_fixture().await;
    let address = fixture.operator().address("metrics").await;
    let prometheus = Prometheus::start(&address, &file(RULES));
    prometheus.until("auth0_rotator_build_info").await;
    rotate(&fixture).await;
    // Rates need at least two samples of each series.
    prometheus
        .until("auth0_rotator_rotation_phase_deadline_timestamp_seconds{phase='grace'}")
        .await;
    let has_samples = "count_over_time(auth0_rotator_rotation_phase_deadline_timestamp_seconds\
                       {phase='grace'}[1m]) > 2";
    prometheus.until(has_samples).await;

    let queries = dashboard_queries();
    assert!(queries.len() > 30, "{}", queries.len());
    for (panel, query) in queries {
        let found = prometheus.query(&query).await;
        let has_number = found.iter().any(|sample| !sample.value().is_nan());
        assert!(has_number, "{panel} is empty: {query}: {found:?}");
    }
    for alert in alerts() {
        prometheus.query(text(&alert, "/expr")).await;
    }
    let rules = prometheus.rules().await;
    assert_eq!(rules.len(), alerts().len());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    // Alerts about the problems of the fixture are pending.
    let pending = prometheus.query("ALERTS").await;
    let is_pending = |name: &str| pending.iter().any(|alert| alert.metric["alertname"] == name);
    for alert in ["ResourceStalled", "TenantScopeMissing", "TenantUnreachable"] {
        assert!(is_pending(&format!("Auth0Rotator{alert}")), "{alert}: {pending:?}");
    }
    for alert in ["Down", "NoLeader", "MultipleLeaders", "ProbeRejected", "TenantUnauthorized"] {
        assert!(!is_pending(&format!("Auth0Rotator{alert}")), "{alert}: {pending:?}");
    }
    fixture.finish().await;
}

/// The alert fires within two minutes after the change, with the shipped `for` of the rule.
#[tokio::test]
async fn critical_alert_fires_within_two_minutes_after_a_change_without_a_result() {
    let fixture = Fixture::start().await;
    let address = fixture.operator().address("metrics").await;
    let prometheus = Prometheus::start(&address, &file(RULES));
    prometheus.until("auth0_rotator_build_info").await;
    lose_outcome(&fixture).await;
    let changed_at = Instant::now();
    fixture.wait_for_reason("lost", "Ready", "OutcomeUnknown").await;
    let firing = "ALERTS{alertname='Auth0RotatorSecretNotPublished', alertstate='firing', \
                  severity='critical', name='lost'}";
    while prometheus.query(firing).await.is_empty() {
        assert!(changed_at.elapsed() < Duration::from_secs(120), "the alert does not fire");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    fixture.simulator.faults().clear();
    fixture.wait_until_rotated("lost", 2).await;
    while !prometheus.query(firing).await.is_empty() {
        assert!(changed_at.elapsed() < Duration::from_secs(240), "the alert does not end");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    fixture.finish().await;
}

/// Returns the queries of the dashboard, as Grafana sends them, with the titles of their panels.
fn dashboard_queries() -> Vec<(String, String)> {
    let path = "charts/auth0-rotator/files/dashboard.json";
    let dashboard: Value = serde_json::from_str(&read(path)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (text(panel, "/title").to_owned(), text(target, "/expr").to_owned()))
    });
    let mut resolved = Vec::new();
    for (title, query) in queries {
        let query = query.replace("$namespace", ".*").replace("$__rate_interval", "1m");
        assert!(!query.contains('$'), "{title} has an unknown variable: {query}");
        resolved.push((title, query));
    }
    resolved
}
