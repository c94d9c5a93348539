//! A release from its installation to its end.

use serde_json::Value;

use crate::cluster::{Cluster, chart};

const DEFINITIONS: [&str; 3] = [
    "auth0tenants.auth0-rotator.dev",
    "clientsecretrotations.auth0-rotator.dev",
    "clusterauth0tenants.auth0-rotator.dev",
];

/// A resource that must survive.
const TENANT: &str = "
apiVersion: auth0-rotator.dev/v1alpha1
kind: Auth0Tenant
metadata: {name: production, namespace: default}
spec:
  domain: acme.eu.auth0.com
  credentials: {clientSecret: {secretRef: {name: auth0-management}}}
";

const INSTALL: [&str; 5] =
    ["install", "auth0-rotator", "--namespace", "auth0-rotator", "--create-namespace"];

#[tokio::test]
async fn a_release_is_installed_upgraded_rolled_back_and_uninstalled() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let chart = chart.to_str().unwrap();
    let told = cluster.helms(&[&INSTALL[..], &[chart]].concat());
    assert!(told.contains("works in all namespaces"), "{told}");
    assert!(told.contains("kubectl -n shop create secret generic auth0-management"), "{told}");
    assert_eq!(cluster.all("crd"), DEFINITIONS.map(|name| format!("<none>/{name}")));
    cluster.kubectls(&["wait", "--for=condition=Established", "crd", "--all"]);
    let file = cluster.write("tenant.yaml", TENANT);
    cluster.kubectls(&["apply", "-f", &file]);

    let upgrade = ["upgrade", "auth0-rotator", "--namespace", "auth0-rotator", chart];
    let values = ["--set", "replicas=3,log.level=debug", "--set", "networkPolicy.enabled=false"];
    cluster.helms(&[&upgrade[..], &values].concat());
    assert_eq!(deployment(&cluster)["spec"]["replicas"], 3);
    assert!(cluster.all("networkpolicies").is_empty());

    cluster.helms(&["rollback", "auth0-rotator", "1", "--namespace", "auth0-rotator"]);
    assert_eq!(deployment(&cluster)["spec"]["replicas"], 2);
    assert_eq!(cluster.all("networkpolicies").len(), 1);

    cluster.helms(&["uninstall", "auth0-rotator", "--namespace", "auth0-rotator"]);
    assert_eq!(cluster.all("crd").len(), 3, "the definitions stay");
    let going = "jsonpath={.items[*].metadata.deletionTimestamp}";
    assert_eq!(cluster.kubectls(&["get", "crd", "-o", going]), "", "and aren't about to go");
    assert_eq!(cluster.all("auth0tenants"), ["default/production"], "and so do the resources");
    assert!(cluster.all("deployments").is_empty());
    let roles = cluster.all("clusterroles");
    assert!(!roles.iter().any(|name| name.ends_with("/auth0-rotator")), "{roles:?}");

    // The same release takes over what it left.
    cluster.helms(&[&INSTALL[..], &[chart]].concat());
    assert_eq!(cluster.all("auth0tenants"), ["default/production"]);
}

#[tokio::test]
async fn definitions_are_upgraded_with_the_release() {
    let cluster = Cluster::start().await;
    let older = cluster.older_chart();
    cluster.helms(&[&INSTALL[..], &[&older]].concat());
    assert!(!has_strategy(&cluster));
    let chart = chart();
    let upgrade = ["upgrade", "auth0-rotator", "--namespace", "auth0-rotator"];
    cluster.helms(&[&upgrade[..], &[chart.to_str().unwrap()]].concat());
    assert!(has_strategy(&cluster));
}

#[tokio::test]
async fn definitions_go_with_the_release_when_that_is_asked_for() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let values = [chart.to_str().unwrap(), "--set", "crds.keep=false"];
    let told = cluster.helms(&[&INSTALL[..], &values].concat());
    assert!(told.contains("CAREFUL: crds.keep is false"), "{told}");
    cluster.helms(&["uninstall", "auth0-rotator", "--namespace", "auth0-rotator"]);
    cluster.kubectls(&["wait", "--for=delete", "crd", "--all", "--timeout=30s"]);
    assert!(cluster.all("crd").is_empty());
}

fn deployment(cluster: &Cluster) -> Value {
    let arguments = ["get", "deployment", "auth0-rotator", "-n", "auth0-rotator", "-o", "json"];
    serde_json::from_str(&cluster.kubectls(&arguments)).unwrap()
}

/// Whether the installed definition knows a field that an older chart doesn't have.
fn has_strategy(cluster: &Cluster) -> bool {
    let path = "{.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.strategy}";
    let output = format!("jsonpath={path}");
    let name = "clientsecretrotations.auth0-rotator.dev";
    !cluster.kubectls(&["get", "crd", name, "-o", &output]).is_empty()
}
