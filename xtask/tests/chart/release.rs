//! Life cycle of a release: install, upgrade, roll back, uninstall.

use serde_json::Value;

use crate::cluster::{Cluster, chart};

const CRDS: [&str; 3] = [
    "auth0tenants.auth0-rotator.dev",
    "clientsecretrotations.auth0-rotator.dev",
    "clusterauth0tenants.auth0-rotator.dev",
];

/// A resource that must survive uninstalling.
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
async fn release_can_be_upgraded_rolled_back_and_uninstalled() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let chart = chart.to_str().unwrap();
    let notes = cluster.helm(&[&INSTALL[..], &[chart]].concat());
    assert!(notes.contains("manages all namespaces"), "{notes}");
    assert!(notes.contains("kubectl -n shop create secret generic auth0-management"), "{notes}");
    assert_eq!(cluster.list("crd"), CRDS.map(|name| format!("<none>/{name}")));
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    let file = cluster.write("tenant.yaml", TENANT);
    cluster.kubectl(&["apply", "-f", &file]);

    let upgrade = ["upgrade", "auth0-rotator", "--namespace", "auth0-rotator", chart];
    let values = ["--set", "replicas=3,log.level=debug", "--set", "networkPolicy.enabled=false"];
    cluster.helm(&[&upgrade[..], &values].concat());
    assert_eq!(deployment(&cluster)["spec"]["replicas"], 3);
    assert!(cluster.list("networkpolicies").is_empty());

    cluster.helm(&["rollback", "auth0-rotator", "1", "--namespace", "auth0-rotator"]);
    assert_eq!(deployment(&cluster)["spec"]["replicas"], 2);
    assert_eq!(cluster.list("networkpolicies").len(), 1);

    cluster.helm(&["uninstall", "auth0-rotator", "--namespace", "auth0-rotator"]);
    assert_eq!(cluster.list("crd").len(), 3, "CRDs are kept");
    let deletion_timestamps = "jsonpath={.items[*].metadata.deletionTimestamp}";
    let output = cluster.kubectl(&["get", "crd", "-o", deletion_timestamps]);
    assert_eq!(output, "", "CRDs are not being deleted");
    assert_eq!(cluster.list("auth0tenants"), ["default/production"], "resources are kept");
    assert!(cluster.list("deployments").is_empty());
    let roles = cluster.list("clusterroles");
    assert!(!roles.iter().any(|name| name.ends_with("/auth0-rotator")), "{roles:?}");

    // A release with the same name and namespace adopts the CRDs that it left behind.
    cluster.helm(&[&INSTALL[..], &[chart]].concat());
    assert_eq!(cluster.list("auth0tenants"), ["default/production"]);
}

#[tokio::test]
async fn upgrade_updates_crds() {
    let cluster = Cluster::start().await;
    let older = cluster.older_chart();
    cluster.helm(&[&INSTALL[..], &[&older]].concat());
    assert!(!crd_has_strategy(&cluster));
    let chart = chart();
    let upgrade = ["upgrade", "auth0-rotator", "--namespace", "auth0-rotator"];
    cluster.helm(&[&upgrade[..], &[chart.to_str().unwrap()]].concat());
    assert!(crd_has_strategy(&cluster));
}

#[tokio::test]
async fn uninstall_deletes_crds_if_keep_is_false() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let values = [chart.to_str().unwrap(), "--set", "crds.keep=false"];
    let notes = cluster.helm(&[&INSTALL[..], &values].concat());
    assert!(notes.contains("WARNING: crds.keep is false"), "{notes}");
    cluster.helm(&["uninstall", "auth0-rotator", "--namespace", "auth0-rotator"]);
    cluster.kubectl(&["wait", "--for=delete", "crd", "--all", "--timeout=30s"]);
    assert!(cluster.list("crd").is_empty());
}

fn deployment(cluster: &Cluster) -> Value {
    let arguments = ["get", "deployment", "auth0-rotator", "-n", "auth0-rotator", "-o", "json"];
    serde_json::from_str(&cluster.kubectl(&arguments)).unwrap()
}

/// Whether the installed CRD has the field that [`Cluster::older_chart`] removes.
fn crd_has_strategy(cluster: &Cluster) -> bool {
    let path = "{.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.strategy}";
    let output = format!("jsonpath={path}");
    let name = "clientsecretrotations.auth0-rotator.dev";
    !cluster.kubectl(&["get", "crd", name, "-o", &output]).is_empty()
}
