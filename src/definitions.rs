//! Whether the custom resource definitions that are installed are those of this version.
//!
//! The API server drops the fields that a definition doesn't have. So an operator whose definitions
//! are missing or older than itself doesn't begin: what it records would not be there. Later ones are
//! no danger, for they only have more: it is told which fields this version doesn't know.
//!
//! It is read from the API server's description of itself, which everybody may read.

use std::time::Duration;

use http::Request;
use kube::Client;
use serde_json::Value;

use crate::{
    api::{GROUP, crds},
    controller::KUBE_DEADLINE,
};

/// How long after a look the next one is, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// How many fields are named in a message.
const NAMED: usize = 5;

/// What is wrong with the definitions.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// They have all that this version needs, and these fields, which it doesn't know.
    Good(Vec<String>),
    /// These are not installed.
    Missing(Vec<String>),
    /// They lack these fields, or values of them.
    Older(Vec<String>),
    /// They could not be looked at.
    Unreadable(String),
    /// They may not be looked at.
    Forbidden,
}

/// Waits until the definitions are good. What they lack is logged when it changes, and told through
/// `waiting`.
pub async fn wait(client: &Client, cluster_tenants: bool, waiting: impl Fn(&str)) {
    let mut told = String::new();
    let mut pause = PAUSES[0];
    loop {
        let problem = match look(client, cluster_tenants).await {
            Found::Good(unknown) => {
                if !unknown.is_empty() {
                    let fields = listed(&unknown);
                    tracing::warn!(
                        "the installed definitions are later than this operator, which doesn't \
                         know {fields}; it ignores what is set there"
                    );
                }
                return;
            }
            Found::Forbidden => {
                tracing::warn!("the API server doesn't let the definitions be looked at");
                return;
            }
            Found::Missing(names) => format!(
                "these definitions are not installed: {}; {}",
                names.join(", "),
                what_to_do()
            ),
            Found::Older(fields) => format!(
                "the installed definitions are older than this operator, and lack {}; {}",
                listed(&fields),
                what_to_do()
            ),
            Found::Unreadable(why) => format!("{why}; it is tried again"),
        };
        if problem != told {
            tracing::error!("waiting: {problem}");
            waiting(&problem);
            told = problem;
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
        pause = (pause * 2).min(PAUSES[1]);
    }
}

fn what_to_do() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "install those of version {version}: helm upgrade with crds.install=true, or kubectl apply \
         -f crds/"
    )
}

fn listed(fields: &[String]) -> String {
    let more = fields.len().saturating_sub(NAMED);
    let named = fields[..fields.len() - more].join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

/// Looks at what the API server says of our group.
async fn look(client: &Client, cluster_tenants: bool) -> Found {
    let path = format!("/openapi/v3/apis/{GROUP}/v1alpha1");
    let Ok(request) = Request::get(path).body(Vec::new()) else {
        return unreadable("the request can't be made");
    };
    let answer = tokio::time::timeout(KUBE_DEADLINE, client.request_text(request)).await;
    match answer {
        Ok(Ok(text)) => match serde_json::from_str(&text) {
            Ok(document) => judge(&document, cluster_tenants),
            Err(error) => unreadable(&format!("the definitions are not described: {error}")),
        },
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            judge(&Value::Null, cluster_tenants)
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Found::Forbidden,
        Ok(Err(kube::Error::Api(status))) => {
            unreadable(&format!("the API server doesn't describe the definitions: {status}"))
        }
        Ok(Err(error)) => unreadable(&format!("the API server can't be reached: {error}")),
        Err(_) => {
            unreadable(&format!("the API server can't be reached: no answer in {KUBE_DEADLINE:?}"))
        }
    }
}

fn unreadable(why: &str) -> Found {
    Found::Unreadable(why.to_owned())
}

/// Compares what the API server says with what this version has.
fn judge(document: &Value, cluster_tenants: bool) -> Found {
    let (mut missing, mut older, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for crd in crds() {
        let names = &crd.spec.names;
        let is_needed = cluster_tenants || crd.spec.scope == "Namespaced";
        let Some(theirs) = described(document, &names.kind) else {
            if is_needed {
                missing.push(format!("{}.{GROUP}", names.plural));
            }
            continue;
        };
        let ours = serde_json::to_value(&crd).unwrap_or_default();
        let ours = &ours["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            let (ours, theirs) = (&ours["properties"][part], &theirs["properties"][part]);
            let path = format!("{}.{part}", names.kind);
            lacks(theirs, ours, &path, &mut older);
            lacks(ours, theirs, &path, &mut unknown);
        }
    }
    match (missing.is_empty(), older.is_empty()) {
        (false, _) => Found::Missing(missing),
        (true, false) => Found::Older(older),
        (true, true) => Found::Good(unknown),
    }
}

/// What the API server says of a kind.
fn described<'a>(document: &'a Value, kind: &str) -> Option<&'a Value> {
    let schemas = document["components"]["schemas"].as_object()?;
    schemas.values().find(|schema| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| {
            kinds.iter().any(|found| found["group"] == GROUP && found["kind"] == kind)
        })
    })
}

/// Adds the fields, and the values of enumerations, that `whole` has and `part` doesn't.
fn lacks(part: &Value, whole: &Value, path: &str, fields: &mut Vec<String>) {
    for (name, inner) in whole["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match part["properties"].get(name) {
            None => fields.push(path),
            Some(part) => lacks(part, inner, &path, fields),
        }
    }
    for inner in ["items", "additionalProperties"] {
        if whole[inner].is_object() {
            lacks(&part[inner], &whole[inner], path, fields);
        }
    }
    if let (Some(part), Some(whole)) = (part["enum"].as_array(), whole["enum"].as_array()) {
        let values = whole.iter().filter(|value| !part.contains(value));
        fields.extend(values.filter_map(Value::as_str).map(|value| format!("{path}={value}")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What an API server with this version's definitions says.
    fn document() -> Value {
        let schemas = crds().into_iter().map(|crd| {
            let value = serde_json::to_value(&crd).unwrap();
            let mut schema = value["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
            schema["x-kubernetes-group-version-kind"] =
                json!([{ "group": GROUP, "kind": crd.spec.names.kind, "version": "v1alpha1" }]);
            (crd.spec.names.kind, schema)
        });
        json!({ "components": { "schemas": schemas.collect::<serde_json::Map<_, _>>() } })
    }

    fn rotation(document: &mut Value) -> &mut Value {
        &mut document["components"]["schemas"]["ClientSecretRotation"]["properties"]
    }

    fn remove(value: &mut Value, name: &str) {
        assert!(value.as_object_mut().unwrap().remove(name).is_some());
    }

    #[test]
    fn this_versions_definitions_are_good() {
        assert_eq!(judge(&document(), true), Found::Good(vec![]));
    }

    #[test]
    fn without_definitions_all_are_missing() {
        let Found::Missing(names) = judge(&Value::Null, true) else { panic!("not missing") };
        assert_eq!(names.len(), 3);
        assert!(names.contains(&"clientsecretrotations.auth0-rotator.dev".to_owned()), "{names:?}");
    }

    #[test]
    fn tenants_of_the_cluster_are_needed_where_they_may_be_used() {
        let mut document = document();
        remove(&mut document["components"]["schemas"], "ClusterAuth0Tenant");
        assert!(matches!(judge(&document, true), Found::Missing(names) if names.len() == 1));
        assert_eq!(judge(&document, false), Found::Good(vec![]));
    }

    #[test]
    fn a_field_or_a_value_that_is_missing_makes_them_older() {
        let mut document = document();
        let properties = rotation(&mut document);
        remove(&mut properties["status"]["properties"]["rotation"]["properties"], "stagedAt");
        remove(
            &mut properties["status"]["properties"]["history"]["items"]["properties"],
            "outcome",
        );
        let values = properties["spec"]["properties"]["strategy"]["enum"].as_array_mut().unwrap();
        values.retain(|value| value != "Staged");
        let Found::Older(fields) = judge(&document, true) else { panic!("not older") };
        let expected = [
            "ClientSecretRotation.spec.strategy=Staged",
            "ClientSecretRotation.status.history.outcome",
            "ClientSecretRotation.status.rotation.stagedAt",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn further_fields_are_told() {
        let mut document = document();
        rotation(&mut document)["spec"]["properties"]["pause"] = json!({ "type": "boolean" });
        let expected = Found::Good(vec!["ClientSecretRotation.spec.pause".to_owned()]);
        assert_eq!(judge(&document, true), expected);
    }

    #[test]
    fn a_long_list_is_cut() {
        let fields: Vec<_> = (0..7).map(|number| number.to_string()).collect();
        assert_eq!(listed(&fields), "0, 1, 2, 3, 4 and 2 more");
        assert_eq!(listed(&fields[..2]), "0, 1");
    }
}
