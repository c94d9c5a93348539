//! A second operator in the same cluster: refused where two would work on the same resources.

use crate::cluster::{Cluster, chart};

fn install<'a>(name: &'a str, namespace: &'a str, values: &'a str, chart: &'a str) -> Vec<&'a str> {
    let mut all = vec!["install", name, chart, "--namespace", namespace, "--create-namespace"];
    if !values.is_empty() {
        all.extend(["--set", values]);
    }
    all
}

#[tokio::test]
async fn a_second_operator_for_the_whole_cluster_is_refused() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let chart = chart.to_str().unwrap();
    cluster.helms(&install("first", "one", "", chart));
    for values in ["", "crds.install=false", "crds.adopt=true,fullnameOverride=x"] {
        let said = cluster.helm_refuses(&install("second", "two", values, chart));
        assert!(said.contains("An operator for the whole cluster is there already"), "{said}");
        assert!(said.contains("the release first in the namespace one"), "{said}");
        assert!(said.contains("Upgrade or uninstall that one"), "{said}");
    }
    // One for a namespace would work on what the first one works on.
    let said = cluster.helm_refuses(&install("second", "two", "scope=namespaced", chart));
    assert!(said.contains("the release first in the namespace one"), "{said}");
    assert!(cluster.all("deployments").iter().all(|name| name.starts_with("one/")));
    cluster.helms(&["upgrade", "first", chart, "--namespace", "one", "--set", "replicas=1"]);
}

#[tokio::test]
async fn operators_for_different_namespaces_work_side_by_side() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let chart = chart.to_str().unwrap();
    cluster.helms(&install("shops", "shop", "scope=namespaced", chart));

    let said = cluster.helm_refuses(&install("pays", "pay", "scope=namespaced", chart));
    assert!(said.contains("belongs to the release shops in the namespace shop"), "{said}");
    assert!(said.contains("crds.install=false"), "{said}");
    let values = "scope=namespaced,crds.install=false";
    cluster.helms(&install("pays", "pay", values, chart));
    let mut roles = cluster.all("roles");
    roles.retain(|role| role.ends_with("/auth0-rotator"));
    assert_eq!(roles, ["pay/auth0-rotator", "shop/auth0-rotator"]);

    let values = "scope=namespaced,crds.install=false,namespaces={shop}";
    let said = cluster.helm_refuses(&install("other", "pay", values, chart));
    assert!(said.contains("An operator works in the namespace shop already"), "{said}");
    assert!(said.contains("leave shop out of namespaces"), "{said}");
    let said = cluster.helm_refuses(&install("all", "auth0-rotator", "crds.install=false", chart));
    assert!(said.contains("An operator works in the namespace"), "{said}");
    assert!(said.contains("Uninstall that one first"), "{said}");
}

#[tokio::test]
async fn what_kubectl_or_a_release_that_is_gone_left_can_be_taken_over() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let chart = chart.to_str().unwrap();
    cluster.kubectls(&["apply", "--server-side", "-f", &cluster.checkout_path("crds")]);
    let said = cluster.helm_refuses(&install("first", "one", "", chart));
    assert!(said.contains("is there already and belongs to no release of Helm"), "{said}");
    assert!(said.contains("--set crds.adopt=true --take-ownership"), "{said}");
    let take_over = ["--take-ownership", "--force-conflicts"];
    let adopt = install("first", "one", "crds.adopt=true", chart);
    cluster.helms(&[&adopt[..], &take_over[..1]].concat());
    cluster.helms(&["uninstall", "first", "--namespace", "one"]);

    let said = cluster.helm_refuses(&install("second", "two", "", chart));
    assert!(said.contains("belongs to the release first in the namespace one"), "{said}");
    let adopt = install("second", "two", "crds.adopt=true", chart);
    cluster.helms(&[&adopt[..], &take_over[..1]].concat());
    cluster.helms(&["upgrade", "second", chart, "--namespace", "two"]);
    assert_eq!(cluster.all("crd").len(), 3);
}

#[tokio::test]
async fn an_operator_that_kubectl_applied_is_noticed() {
    let cluster = Cluster::start().await;
    cluster.kubectls(&[
        "apply",
        "--server-side",
        "-f",
        &cluster.checkout_path("deploy/install.yaml"),
    ]);
    let chart = chart();
    let arguments = install("second", "two", "crds.adopt=true", chart.to_str().unwrap());
    let said = cluster.helm_refuses(&arguments);
    assert!(said.contains("the ClusterRole auth0-rotator belongs to no release of Helm"), "{said}");
}
