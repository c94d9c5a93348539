//! The chart gives the permissions that are checked: `tests/cluster` runs the operator with those
//! of `deploy/`, and fails on one that is missing or never used.

use std::fs;

use packaging::{Helm, checkout};
use serde_json::Value;

use crate::cluster::{chart, objects};

#[test]
fn the_chart_gives_the_permissions_that_are_checked() {
    for (manifest, sets) in [
        ("deploy/operator.yaml", &[][..]),
        ("deploy/namespaced.yaml", &["scope=namespaced", "namespaces={shop}"]),
        ("deploy/namespaced.yaml", &["scope=namespaced", "namespaces={pay}", "crds.keep=false"]),
        ("deploy/operator.yaml", &["replicas=1", "labels.team=shop", "crds.install=false"]),
    ] {
        let checked = fs::read_to_string(checkout().join(manifest)).unwrap();
        let rendered = Helm::find().unwrap().template(&chart(), "elsewhere", sets).unwrap();
        assert_eq!(rules(&rendered), rules(&checked), "{manifest} {sets:?}");
    }
}

#[test]
fn permissions_go_to_the_account_and_nobody_else() {
    let sets = ["scope=namespaced", "namespaces={a,b}", "serviceAccount.name=own"];
    let rendered = Helm::find().unwrap().template(&chart(), "home", &sets).unwrap();
    let bindings: Vec<_> = objects(&rendered)
        .into_iter()
        .filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding")))
        .collect();
    let subject = serde_json::json!([{
        "kind": "ServiceAccount", "name": "own", "namespace": "home",
    }]);
    for binding in &bindings {
        assert_eq!(binding["kind"], "RoleBinding");
        assert_eq!(binding["subjects"], subject);
    }
    let places: Vec<_> = bindings.iter().map(|binding| &binding["metadata"]["namespace"]).collect();
    assert!(places.contains(&&Value::from("a")) && places.contains(&&Value::from("b")));
}

#[test]
fn without_rbac_there_are_no_roles() {
    let rendered = Helm::find().unwrap().template(&chart(), "home", &["rbac.create=false"]);
    assert_eq!(rules(&rendered.unwrap()), []);
}

/// The rules of all roles, with the kind of role.
fn rules(text: &str) -> Vec<(Value, Value)> {
    objects(text)
        .into_iter()
        .filter(|object| matches!(object["kind"].as_str(), Some("ClusterRole" | "Role")))
        .map(|object| (object["kind"].clone(), object["rules"].clone()))
        .collect()
}
