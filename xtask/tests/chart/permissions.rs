//! The chart grants the permissions in `deploy/`. `tests/cluster` runs the operator with exactly
//! those, and fails if one is missing or never used.

use std::fs;

use serde_json::Value;
use xtask::{Helm, workspace_root};

use crate::cluster::{chart, parse_objects};

#[test]
fn chart_grants_same_rules_as_manifests() {
    let helm = Helm::find_or_build().unwrap();
    for (manifest, sets) in [
        ("deploy/operator.yaml", &[][..]),
        (
            "deploy/namespaced.yaml",
            &["scope=namespaced", "namespaces={shop}", "crds.install=false"],
        ),
        ("deploy/namespaced.yaml", &["scope=namespaced", "namespaces={pay}", "crds.install=false"]),
        ("deploy/operator.yaml", &["replicas=1", "labels.team=shop", "crds.keep=false"]),
        ("deploy/selected.yaml", &["scope=selected", "namespaces={pay,shop}"]),
    ] {
        let expected = fs::read_to_string(workspace_root().join(manifest)).unwrap();
        let rendered = helm.template(&chart(), "elsewhere", sets).unwrap();
        assert_eq!(rules(&rendered), rules(&expected), "{manifest} {sets:?}");
    }
}

#[test]
fn roles_are_bound_only_to_service_account() {
    let sets = ["scope=namespaced", "namespaces={a,b}", "serviceAccount.name=own"];
    let rendered = Helm::find_or_build().unwrap().template(&chart(), "home", &sets).unwrap();
    let bindings: Vec<_> = parse_objects(&rendered)
        .into_iter()
        .filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding")))
        .collect();
    let subjects = serde_json::json!([{
        "kind": "ServiceAccount", "name": "own", "namespace": "home",
    }]);
    for binding in &bindings {
        assert_eq!(binding["kind"], "RoleBinding");
        assert_eq!(binding["subjects"], subjects);
    }
    let namespaces: Vec<_> =
        bindings.iter().map(|binding| &binding["metadata"]["namespace"]).collect();
    assert!(namespaces.contains(&&Value::from("a")) && namespaces.contains(&&Value::from("b")));
}

#[test]
fn rbac_create_false_renders_no_roles() {
    let helm = Helm::find_or_build().unwrap();
    let rendered = helm.template(&chart(), "home", &["rbac.create=false"]).unwrap();
    assert_eq!(rules(&rendered), []);
}

/// Kind and rules of every role, in a fixed order: Helm and `deploy/` order the templates differently.
fn rules(text: &str) -> Vec<(Value, Value)> {
    let mut rules: Vec<_> = parse_objects(text)
        .into_iter()
        .filter(|object| matches!(object["kind"].as_str(), Some("ClusterRole" | "Role")))
        .map(|object| (object["kind"].clone(), object["rules"].clone()))
        .collect();
    rules.sort_by_key(|(kind, rules)| (kind.to_string(), rules.to_string()));
    rules
}
