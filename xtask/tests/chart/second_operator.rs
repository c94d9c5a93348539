//! The chart rejects a second operator that would reconcile the same resources.

use crate::cluster::{Cluster, chart};

fn install<'a>(name: &'a str, namespace: &'a str, values: &'a str, chart: &'a str) -> Vec<&'a str> {
    let mut arguments =
        vec!["install", name, chart, "--namespace", namespace, "--create-namespace"];
    if !values.is_empty() {
        arguments.extend(["--set", values]);
    }
    arguments
}

#[tokio::test]
async fn rejects_second_cluster_wide_operator() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let chart = chart.to_str().unwrap();
    cluster.helm(&install("first", "one", "", chart));
    for values in ["", "crds.install=false", "crds.adopt=true,fullnameOverride=x"] {
        let error = cluster.helm_error(&install("second", "two", values, chart));
        assert!(error.contains("A cluster-wide operator is already installed"), "{error}");
        assert!(error.contains("the release first in the namespace one"), "{error}");
        assert!(error.contains("Upgrade or uninstall that operator"), "{error}");
    }
    // A namespaced operator would reconcile resources that the cluster-wide one reconciles.
    let error = cluster.helm_error(&install("second", "two", "scope=namespaced", chart));
    assert!(error.contains("the release first in the namespace one"), "{error}");
    assert!(cluster.list("deployments").iter().all(|name| name.starts_with("one/")));
    cluster.helm(&["upgrade", "first", chart, "--namespace", "one", "--set", "replicas=1"]);
}

#[tokio::test]
async fn accepts_operators_for_different_namespaces() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let chart = chart.to_str().unwrap();
    cluster.helm(&install("shops", "shop", "scope=namespaced", chart));

    let error = cluster.helm_error(&install("pays", "pay", "scope=namespaced", chart));
    assert!(error.contains("belongs to the release shops in the namespace shop"), "{error}");
    assert!(error.contains("crds.install=false"), "{error}");
    let values = "scope=namespaced,crds.install=false";
    cluster.helm(&install("pays", "pay", values, chart));
    let mut roles = cluster.list("roles");
    roles.retain(|role| role.ends_with("/auth0-rotator"));
    assert_eq!(roles, ["pay/auth0-rotator", "shop/auth0-rotator"]);

    let values = "scope=namespaced,crds.install=false,namespaces={shop}";
    let error = cluster.helm_error(&install("other", "pay", values, chart));
    assert!(error.contains("An operator already manages the namespace shop"), "{error}");
    assert!(error.contains("remove shop from namespaces"), "{error}");
    let error = cluster.helm_error(&install("all", "auth0-rotator", "crds.install=false", chart));
    assert!(error.contains("An operator already manages the namespace"), "{error}");
    assert!(error.contains("Uninstall that operator first"), "{error}");
}

#[tokio::test]
async fn adopts_crds_left_by_kubectl_or_deleted_release() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let chart = chart.to_str().unwrap();
    cluster.kubectl(&["apply", "--server-side", "-f", &cluster.repository_path("crds")]);
    let error = cluster.helm_error(&install("first", "one", "", chart));
    assert!(error.contains("already exists and belongs to no Helm release"), "{error}");
    assert!(error.contains("--set crds.adopt=true --take-ownership"), "{error}");
    let adopt = install("first", "one", "crds.adopt=true", chart);
    cluster.helm(&[&adopt[..], &["--take-ownership"]].concat());
    cluster.helm(&["uninstall", "first", "--namespace", "one"]);

    let error = cluster.helm_error(&install("second", "two", "", chart));
    assert!(error.contains("belongs to the release first in the namespace one"), "{error}");
    let adopt = install("second", "two", "crds.adopt=true", chart);
    cluster.helm(&[&adopt[..], &["--take-ownership"]].concat());
    cluster.helm(&["upgrade", "second", chart, "--namespace", "two"]);
    assert_eq!(cluster.list("crd").len(), 3);
}

#[tokio::test]
async fn rejects_second_operator_next_to_one_applied_by_kubectl() {
    let cluster = Cluster::start().await;
    let manifest = cluster.repository_path("deploy/install.yaml");
    cluster.kubectl(&["apply", "--server-side", "-f", &manifest]);
    let chart = chart();
    let arguments = install("second", "two", "crds.adopt=true", chart.to_str().unwrap());
    let error = cluster.helm_error(&arguments);
    assert!(error.contains("the ClusterRole auth0-rotator belongs to no Helm release"), "{error}");
}

#[tokio::test]
async fn accepts_shards_and_rejects_an_operator_without_a_selector_next_to_them() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let chart = chart.to_str().unwrap();
    let shard = |name: &str| format!("watchLabelSelector=auth0-rotator.dev/shard={name}");
    cluster.helm(&install("a", "one", &shard("a"), chart));
    let others = |selector: &str| format!("{selector},crds.install=false");
    cluster.helm(&install("b", "one", &others(&shard("b")), chart));
    let rest = others("watchLabelSelector=!auth0-rotator.dev/shard");
    cluster.helm(&install("rest", "one", &rest, chart));
    let mut roles = cluster.list("clusterroles");
    roles.retain(|role| role.contains("auth0-rotator-shard-"));
    assert_eq!(roles.len(), 3, "{roles:?}");
    // The same shard twice, and an operator that would manage all of them.
    let error = cluster.helm_error(&install("again", "two", &others(&shard("a")), chart));
    assert!(error.contains("belongs to the release a in the namespace one"), "{error}");
    for values in ["crds.install=false", "scope=selected,crds.install=false"] {
        let error = cluster.helm_error(&install("all", "two", values, chart));
        assert!(error.contains("give each release a watchLabelSelector of its own"), "{error}");
    }
    // A namespace is divided in the same way.
    let cluster = Cluster::start().await;
    let namespaced = |selector: &str| format!("scope=namespaced,{selector}");
    cluster.helm(&install("a", "shop", &namespaced(&shard("a")), chart));
    cluster.helm(&install("b", "shop", &namespaced(&others(&shard("b"))), chart));
    let all = "scope=namespaced,crds.install=false";
    let error = cluster.helm_error(&install("all", "shop", all, chart));
    assert!(error.contains("An operator already manages the namespace shop"), "{error}");
    cluster.helm(&["upgrade", "b", chart, "--namespace", "shop", "--reuse-values"]);
}
