//! The applications: Deployments whose pods take their Secret, as the examples' manifests have it.

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use rig::{cluster, manifests};
use serde_json::{Value, json};
use testbed::manifests::Application;

use crate::languages::{self, LANGUAGES};
use crate::operator::available;
use crate::script::{RESTARTED, ROTATED, STAGED};

/// The example of an application that mounts its Secret.
const MOUNTED: &str = "examples/consumers/mounted.yaml";
/// The example of one that has it in its environment, and of its ClientSecretRotation.
const FROM_ENVIRONMENT: &str = "examples/consumers/restarted.yaml";

/// The labels of pods: whose Secret they take, and which consumer they are.
pub(crate) const APPLICATION: &str = "example.com/application";
pub(crate) const CONSUMER: &str = "example.com/consumer";

const AUTHORITY: &str = "auth0-ca";
const AUTHORITY_FOLDER: &str = "/etc/auth0";
const LOGIN_EVERY: &str = "0.5";

/// What the applications log in to.
pub(crate) struct Place<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
    pub(crate) url: &'a str,
    /// The certificate to trust, PEM.
    pub(crate) authority: &'a str,
}

/// The ClientSecretRotation of the application that takes its Secret from the environment.
pub(crate) fn restarted() -> Result<Vec<Value>> {
    let mut all = manifests::read(&manifests::place(FROM_ENVIRONMENT))?;
    all.retain(|manifest| manifest["kind"] != "Deployment");
    Ok(all)
}

/// Creates the Deployments, and waits until their pods run. Returns how many pods they have.
pub(crate) async fn start(place: &Place<'_>, applications: &[Application]) -> Result<i64> {
    let mut all = Vec::new();
    for application in applications {
        for consumer in consumers(application) {
            all.push(deployment(place, application, &consumer)?);
        }
    }
    let pods = all.iter().filter_map(|deployment| deployment["spec"]["replicas"].as_i64()).sum();
    cluster::apply(place.client, &[authority(place)]).await?;
    cluster::apply(place.client, &all).await?;
    for deployment in &all {
        let api: Api<Deployment> = Api::namespaced(place.client.clone(), place.namespace);
        available(api, deployment["metadata"]["name"].as_str().unwrap_or_default()).await?;
    }
    Ok(pods)
}

/// The names of all consumers, with their languages.
pub(crate) fn names(applications: &[Application]) -> Vec<(String, &'static str)> {
    let all = applications.iter().flat_map(consumers);
    all.map(|(name, _, language)| (name, language)).collect()
}

/// The names of an application's consumers, each with its example and language. Each language
/// follows rotations of both strategies; nothing happens to the other application, and the one that
/// is restarted has the example that can be.
fn consumers(application: &Application) -> Vec<(String, &'static str, &'static str)> {
    let mounted = |language| (format!("{}-{language}", application.name), MOUNTED, language);
    match application.name.as_str() {
        ROTATED | STAGED => LANGUAGES.into_iter().map(mounted).collect(),
        RESTARTED => vec![(RESTARTED.to_owned(), FROM_ENVIRONMENT, "go")],
        _ => vec![mounted("rust")],
    }
}

/// The Deployment of an example, changed for an application.
fn deployment(
    place: &Place<'_>,
    application: &Application,
    (name, example, language): &(String, &str, &str),
) -> Result<Value> {
    let all = manifests::read(&manifests::place(example))?;
    let found = all.into_iter().find(|manifest| manifest["kind"] == "Deployment");
    let mut deployment = found.with_context(|| format!("{example} has no Deployment"))?;
    deployment["metadata"] = json!({"name": name, "namespace": place.namespace});
    let spec = &mut deployment["spec"];
    if name != RESTARTED {
        spec["replicas"] = json!(1);
    }
    spec["selector"]["matchLabels"]["app"] = json!(name);
    let labels = &mut spec["template"]["metadata"]["labels"];
    labels["app"] = json!(name);
    labels[APPLICATION] = json!(application.name);
    labels[CONSUMER] = json!(name);
    let pod = &mut spec["template"]["spec"];
    pod["automountServiceAccountToken"] = json!(false);
    pod["securityContext"] = json!({"runAsNonRoot": true, "runAsUser": 65532});
    pod["terminationGracePeriodSeconds"] = json!(5);
    for volume in items(&mut pod["volumes"]) {
        volume["secret"]["secretName"] = json!(application.secret);
    }
    items(&mut pod["volumes"]).push(json!({"name": "ca", "configMap": {"name": AUTHORITY}}));
    let container = &mut pod["containers"][0];
    container["image"] = json!(languages::image(language));
    let mount = json!({"name": "ca", "mountPath": AUTHORITY_FOLDER, "readOnly": true});
    items(&mut container["volumeMounts"]).push(mount);
    let authority = format!("{AUTHORITY_FOLDER}/ca.crt");
    // Node has a variable of its own for what others call SSL_CERT_FILE.
    for (name, value) in [
        ("AUTH0_ENDPOINT", place.url),
        ("LOGIN_EVERY", LOGIN_EVERY),
        ("SSL_CERT_FILE", &authority),
        ("NODE_EXTRA_CA_CERTS", &authority),
    ] {
        items(&mut container["env"]).push(json!({"name": name, "value": value}));
    }
    Ok(deployment)
}

/// The items of a list, which may be missing.
fn items(list: &mut Value) -> &mut Vec<Value> {
    if !list.is_array() {
        *list = json!([]);
    }
    match list {
        Value::Array(items) => items,
        _ => unreachable!("it was made one"),
    }
}

fn authority(place: &Place<'_>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": AUTHORITY, "namespace": place.namespace},
        "data": {"ca.crt": place.authority},
    })
}
