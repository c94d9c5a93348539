//! Compares the permissions that roles grant with those that the operator used, from the API server's
//! audit log.

use std::{collections::BTreeSet, fs};

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;
use testkit::{
    cluster::OPERATOR_USER,
    fixture::{Fixture, from_json},
};

/// A verb on a resource, in one namespace if `namespace` is set, and restricted to one name if `name`
/// is set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    namespace: Option<String>,
    group: String,
    resource: String,
    verb: String,
    name: Option<String>,
}

/// The permissions that the operator's requests needed.
#[derive(Default)]
struct Usage {
    used: BTreeSet<Permission>,
    forbidden: BTreeSet<Permission>,
}

/// Asserts that the operator has used every permission that these roles and bindings grant it, and
/// that none of its requests was forbidden.
#[expect(clippy::print_stdout, reason = "a figure, shown with --nocapture")]
pub(crate) fn assert_roles_match_use(name: &str, roles: &[Value], fixture: &Fixture) {
    let granted = granted_permissions(roles);
    let Usage { used, forbidden } = audited_usage(fixture, &granted);
    let unused: Vec<_> = granted.difference(&used).collect();
    println!(
        "{name}: {} permissions granted, {} used, {} unused, {} forbidden",
        granted.len(),
        granted.intersection(&used).count(),
        unused.len(),
        forbidden.len()
    );
    assert!(!granted.is_empty());
    assert!(forbidden.is_empty(), "{name} forbids {forbidden:?}");
    assert!(unused.is_empty(), "{name} grants permissions that are never used: {unused:?}");
}

/// Returns every permission that bindings grant the operator, one for each name if a rule has names.
fn granted_permissions(roles: &[Value]) -> BTreeSet<Permission> {
    let mut granted = BTreeSet::new();
    for binding in roles {
        let namespace = match binding["kind"].as_str() {
            Some("ClusterRoleBinding") => None,
            Some("RoleBinding") => binding["metadata"]["namespace"].as_str(),
            _ => continue,
        };
        let reference = &binding["roleRef"];
        let role = roles.iter().find(|role| {
            let is_in_namespace = role["kind"] == "ClusterRole"
                || role["metadata"]["namespace"].as_str() == namespace;
            role["kind"] == reference["kind"]
                && role["metadata"]["name"] == reference["name"]
                && is_in_namespace
        });
        let role = role.unwrap_or_else(|| panic!("no role for {binding}"));
        let rules: Vec<PolicyRule> = from_json(role["rules"].clone());
        for rule in rules {
            granted.extend(permissions_of(rule, namespace));
        }
    }
    granted
}

fn permissions_of(rule: PolicyRule, namespace: Option<&str>) -> Vec<Permission> {
    assert!(rule.non_resource_urls.is_none());
    let names = rule.resource_names.unwrap_or_default();
    let names = match names.is_empty() {
        true => vec![None],
        false => names.into_iter().map(Some).collect(),
    };
    let mut permissions = Vec::new();
    for group in rule.api_groups.unwrap_or_default() {
        for resource in rule.resources.clone().unwrap_or_default() {
            for verb in &rule.verbs {
                assert!(![&group, &resource, verb].into_iter().any(|text| text == "*"));
                permissions.extend(names.iter().map(|name| Permission {
                    namespace: namespace.map(str::to_owned),
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                    name: name.clone(),
                }));
            }
        }
    }
    permissions
}

/// Reads the operator's requests from the audit log. A request needs the permission for its
/// namespace and its object's name, or one that is not restricted to them.
fn audited_usage(fixture: &Fixture, granted: &BTreeSet<Permission>) -> Usage {
    let mut usage = Usage::default();
    for event in audit_events(fixture) {
        let permission = permission_for(&event);
        if event["responseStatus"]["code"] == 403 {
            usage.forbidden.insert(permission);
            continue;
        }
        let covers = |granted: &&Permission| {
            let Permission { namespace, group, resource, verb, name } = granted;
            (group, resource, verb) == (&permission.group, &permission.resource, &permission.verb)
                && (namespace.is_none() || *namespace == permission.namespace)
                && (name.is_none() || *name == permission.name)
        };
        usage.used.extend(granted.iter().filter(covers).cloned());
        if is_streamed_list(&event) {
            // An API server that doesn't stream lists answers with an error, and is asked for a list.
            let covers_list = |granted: &&Permission| {
                let of_watch = Permission { verb: "watch".into(), ..(*granted).clone() };
                granted.verb == "list" && covers(&&of_watch)
            };
            usage.used.extend(granted.iter().filter(covers_list).cloned());
        }
    }
    usage
}

/// Returns whether a request is for a watch that begins with a list.
fn is_streamed_list(event: &Value) -> bool {
    let uri = event["requestURI"].as_str().unwrap_or_default();
    event["verb"] == "watch" && uri.contains("sendInitialEvents=true")
}

/// Returns the operator's requests in the audit log of the fixture's own control plane.
pub(crate) fn audit_events(fixture: &Fixture) -> Vec<Value> {
    let control_plane = fixture.dedicated_control_plane.as_ref().unwrap();
    let log = fs::read_to_string(control_plane.audit_log_path().unwrap()).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["user"]["username"] == OPERATOR_USER).collect()
}

/// Returns the permission that an audited request needs, with the name of its object.
fn permission_for(event: &Value) -> Permission {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let mut resource = text(&object["resource"]);
    if let Some(subresource) = object["subresource"].as_str() {
        resource = format!("{resource}/{subresource}");
    }
    Permission {
        namespace: object["namespace"].as_str().map(str::to_owned),
        group: text(&object["apiGroup"]),
        resource,
        verb: text(&event["verb"]),
        name: object["name"].as_str().map(str::to_owned),
    }
}
