//! Compatibility of the installed CRDs with this version of the operator.
//!
//! The API server drops fields that a CRD doesn't have. If the CRDs are missing or older than the
//! operator, the operator therefore waits: fields that it writes to a status would be lost. Newer
//! CRDs are safe, because they only add fields; the operator logs the fields that it doesn't know.
//!
//! The check reads the OpenAPI document of the API server, which needs no permission.

use std::time::Duration;

use http::Request;
use kube::Client;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    api::{GROUP, crds},
    controller::KUBE_DEADLINE,
};

/// First pause between two checks. It doubles after each check.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause between two checks.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How many fields a message lists.
const MAX_LISTED: usize = 5;

/// Result of comparing the installed CRDs with those of this version.
#[derive(Debug, PartialEq, Eq)]
enum CheckResult {
    /// The CRDs have every field that this version needs.
    Compatible {
        /// Fields that this version doesn't know.
        unknown_fields: Vec<String>,
    },
    /// These CRDs are not installed.
    NotInstalled(Vec<String>),
    /// The CRDs lack these fields or enum values.
    Outdated(Vec<String>),
    /// The OpenAPI document can't be read.
    Unreadable(String),
    /// The operator may not read the OpenAPI document.
    Forbidden,
}

/// Waits until the CRDs are compatible. Calls `report` with each new problem, and logs it.
pub async fn wait(client: &Client, uses_cluster_tenants: bool, report: impl Fn(&str)) {
    wait_until_compatible(client, uses_cluster_tenants, "waiting to start", report).await;
}

/// Reports the CRDs that are gone, or were replaced by older ones, while the operator runs. Checks when
/// `not_served` changes.
pub async fn monitor(
    client: Client,
    uses_cluster_tenants: bool,
    mut not_served: watch::Receiver<u64>,
    problem: watch::Sender<Option<String>>,
) {
    while not_served.changed().await.is_ok() {
        let report = |text: &str| {
            problem.send_replace(Some(text.to_owned()));
        };
        let consequence = "their resources are not reconciled";
        wait_until_compatible(&client, uses_cluster_tenants, consequence, report).await;
        problem.send_replace(None);
    }
}

async fn wait_until_compatible(
    client: &Client,
    uses_cluster_tenants: bool,
    consequence: &str,
    report: impl Fn(&str),
) {
    let mut reported = String::new();
    let mut pause = MIN_PAUSE;
    loop {
        let problem = match check(client, uses_cluster_tenants).await {
            CheckResult::Compatible { unknown_fields } => {
                if !unknown_fields.is_empty() {
                    let fields = list(&unknown_fields);
                    tracing::warn!(
                        "the installed CRDs are newer than this operator, which ignores unknown \
                         fields: {fields}"
                    );
                }
                return;
            }
            CheckResult::Forbidden => {
                tracing::warn!(
                    "can't check the CRDs: reading the OpenAPI document of the API server is \
                     forbidden"
                );
                return;
            }
            CheckResult::NotInstalled(names) => {
                format!("CRDs are not installed: {}; {}", names.join(", "), how_to_install())
            }
            CheckResult::Outdated(fields) => format!(
                "the installed CRDs are older than this operator and lack {}; {}",
                list(&fields),
                how_to_install()
            ),
            CheckResult::Unreadable(reason) => format!("{reason}; retrying"),
        };
        if problem != reported {
            tracing::error!("{consequence}: {problem}");
            report(&problem);
            reported = problem;
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

fn how_to_install() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "install the CRDs of version {version}: helm upgrade with crds.install=true, or kubectl \
         apply -f crds/"
    )
}

fn list(fields: &[String]) -> String {
    let omitted = fields.len().saturating_sub(MAX_LISTED);
    let listed = fields[..fields.len() - omitted].join(", ");
    if omitted == 0 { listed } else { format!("{listed} and {omitted} more") }
}

/// Reads the OpenAPI document of the group and compares it.
async fn check(client: &Client, uses_cluster_tenants: bool) -> CheckResult {
    let path = format!("/openapi/v3/apis/{GROUP}/v1alpha1");
    let request = match Request::get(path).body(Vec::new()) {
        Ok(request) => request,
        Err(error) => return CheckResult::Unreadable(format!("can't create the request: {error}")),
    };
    let response = tokio::time::timeout(KUBE_DEADLINE, client.request_text(request)).await;
    let unreadable = match response {
        Ok(Ok(text)) => match serde_json::from_str(&text) {
            Ok(document) => return compare(&document, uses_cluster_tenants),
            Err(error) => format!("can't parse the OpenAPI document of the API server: {error}"),
        },
        Ok(Err(kube::Error::Api(status))) => match status.code {
            403 => return CheckResult::Forbidden,
            // No CRD of the group is installed.
            404 => return compare(&Value::Null, uses_cluster_tenants),
            _ => format!("can't read the OpenAPI document of the API server: {status}"),
        },
        Ok(Err(error)) => format!("can't reach the API server: {error}"),
        Err(_) => format!("can't reach the API server: no response within {KUBE_DEADLINE:?}"),
    };
    CheckResult::Unreadable(unreadable)
}

/// Compares the OpenAPI document with the CRDs of this version.
fn compare(document: &Value, uses_cluster_tenants: bool) -> CheckResult {
    let (mut not_installed, mut lacking, mut unknown_fields) = (Vec::new(), Vec::new(), Vec::new());
    for crd in crds() {
        let names = &crd.spec.names;
        let is_needed = uses_cluster_tenants || crd.spec.scope == "Namespaced";
        let Some(installed) = schema_of(document, &names.kind) else {
            if is_needed {
                not_installed.push(format!("{}.{GROUP}", names.plural));
            }
            continue;
        };
        let own = serde_json::to_value(&crd).unwrap_or_default();
        let own = &own["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            let (own, installed) = (&own["properties"][part], &installed["properties"][part]);
            let path = format!("{}.{part}", names.kind);
            collect_missing(installed, own, &path, &mut lacking);
            collect_missing(own, installed, &path, &mut unknown_fields);
        }
    }
    if !not_installed.is_empty() {
        CheckResult::NotInstalled(not_installed)
    } else if !lacking.is_empty() {
        CheckResult::Outdated(lacking)
    } else {
        CheckResult::Compatible { unknown_fields }
    }
}

/// Returns the schema of a kind in the OpenAPI document.
fn schema_of<'a>(document: &'a Value, kind: &str) -> Option<&'a Value> {
    let schemas = document["components"]["schemas"].as_object()?;
    schemas.values().find(|schema| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.into_iter().flatten().any(|found| found["group"] == GROUP && found["kind"] == kind)
    })
}

/// Adds the paths of fields and enum values that `expected` has and `schema` lacks to `missing`.
fn collect_missing(schema: &Value, expected: &Value, path: &str, missing: &mut Vec<String>) {
    for (name, expected) in expected["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match schema["properties"].get(name) {
            None => missing.push(path),
            Some(schema) => collect_missing(schema, expected, &path, missing),
        }
    }
    for nested in ["items", "additionalProperties"] {
        if expected[nested].is_object() {
            collect_missing(&schema[nested], &expected[nested], path, missing);
        }
    }
    let (Some(values), Some(expected)) = (schema["enum"].as_array(), expected["enum"].as_array())
    else {
        return;
    };
    for value in expected {
        if let Some(text) = value.as_str()
            && !values.contains(value)
        {
            missing.push(format!("{path}={text}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The OpenAPI document of an API server with the CRDs of this version.
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

    fn compatible(unknown_fields: &[&str]) -> CheckResult {
        let unknown_fields = unknown_fields.iter().map(|&field| field.to_owned()).collect();
        CheckResult::Compatible { unknown_fields }
    }

    #[test]
    fn accepts_the_crds_of_this_version() {
        assert_eq!(compare(&document(), true), compatible(&[]));
    }

    #[test]
    fn reports_that_no_crd_is_installed() {
        let CheckResult::NotInstalled(names) = compare(&Value::Null, true) else {
            panic!("must not be installed")
        };
        assert_eq!(names.len(), 3);
        assert!(names.contains(&"clientsecretrotations.auth0-rotator.dev".to_owned()), "{names:?}");
    }

    #[test]
    fn needs_cluster_auth0_tenants_only_if_they_are_used() {
        let mut document = document();
        remove(&mut document["components"]["schemas"], "ClusterAuth0Tenant");
        assert!(matches!(
            compare(&document, true),
            CheckResult::NotInstalled(names) if names.len() == 1
        ));
        assert_eq!(compare(&document, false), compatible(&[]));
    }

    #[test]
    fn crds_that_lack_a_field_or_an_enum_value_are_outdated() {
        let mut document = document();
        let properties = rotation(&mut document);
        remove(&mut properties["status"]["properties"]["rotation"]["properties"], "stagedAt");
        remove(
            &mut properties["status"]["properties"]["history"]["items"]["properties"],
            "outcome",
        );
        let values = properties["spec"]["properties"]["strategy"]["enum"].as_array_mut().unwrap();
        values.retain(|value| value != "Staged");
        let CheckResult::Outdated(fields) = compare(&document, true) else {
            panic!("must be outdated")
        };
        let expected = [
            "ClientSecretRotation.spec.strategy=Staged",
            "ClientSecretRotation.status.history.outcome",
            "ClientSecretRotation.status.rotation.stagedAt",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn accepts_newer_crds_and_lists_their_unknown_fields() {
        let mut document = document();
        rotation(&mut document)["spec"]["properties"]["pause"] = json!({ "type": "boolean" });
        assert_eq!(compare(&document, true), compatible(&["ClientSecretRotation.spec.pause"]));
    }

    #[test]
    fn abbreviates_a_long_list() {
        let fields: Vec<_> = (0..7).map(|number| number.to_string()).collect();
        assert_eq!(list(&fields), "0, 1, 2, 3, 4 and 2 more");
        assert_eq!(list(&fields[..2]), "0, 1");
    }
}
