//! The applications: Deployments whose Pods read their Secret, made from the examples' manifests.

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use scenarios::{environment::Environment, quickstart::Application};
use serde_json::{Value, json};
use testkit::{cluster, manifests};

use crate::{
    languages::{self, LANGUAGES},
    operator_pods::wait_until_available,
    scenario::{RESTARTED, ROTATED, STAGED},
};

/// Example of an application that mounts its Secret.
const MOUNTED: &str = "examples/consumers/mounted.yaml";
/// Example of an application that reads its Secret from its environment, with its
/// ClientSecretRotation.
const FROM_ENVIRONMENT: &str = "examples/consumers/restarted.yaml";

/// Label of Pods with the name of their application.
pub(crate) const APPLICATION_LABEL: &str = "example.com/application";
/// Label of Pods with the name of their consumer.
pub(crate) const CONSUMER_LABEL: &str = "example.com/consumer";

const CA_CONFIG_MAP: &str = "auth0-ca";
const CA_DIR: &str = "/etc/auth0";
const LOGIN_INTERVAL: &str = "0.5";

/// Returns the ClientSecretRotation of the application that reads its Secret from its environment.
pub(crate) fn restarted_rotation() -> Result<Vec<Value>> {
    let mut all = manifests::read(FROM_ENVIRONMENT)?;
    all.retain(|manifest| manifest["kind"] != "Deployment");
    Ok(all)
}

/// Creates the Deployments and waits until their Pods run. Returns the number of Pods.
/// `ca_certificate` (PEM) is the one that signed Auth0's certificate.
pub(crate) async fn start(env: &Environment, ca_certificate: &str) -> Result<i64> {
    let namespace = &env.quickstart.namespace;
    let ca = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CA_CONFIG_MAP, "namespace": namespace},
        "data": {"ca.crt": ca_certificate},
    });
    cluster::apply(&env.client, &[ca]).await?;
    let mut deployments = Vec::new();
    for consumer in all(&env.quickstart.applications) {
        deployments.push(consumer.deployment(namespace, env.simulator.url())?);
    }
    cluster::apply(&env.client, &deployments).await?;
    let mut pods = 0;
    for deployment in &deployments {
        let api: Api<Deployment> = Api::namespaced(env.client.clone(), namespace);
        wait_until_available(api, deployment["metadata"]["name"].as_str().unwrap_or_default())
            .await?;
        pods += deployment["spec"]["replicas"].as_i64().unwrap_or_default();
    }
    Ok(pods)
}

/// Deployment that logs in as an application.
pub(crate) struct Consumer {
    pub(crate) name: String,
    pub(crate) language: &'static str,
    application: Application,
}

/// Returns the consumers of all applications. Each language follows a rotation of both strategies.
/// The application that isn't rotated has one, and so has the application that is restarted, for
/// which there is one example.
pub(crate) fn all(applications: &[Application]) -> Vec<Consumer> {
    let mut consumers = Vec::new();
    for application in applications {
        let languages = match application.name.as_str() {
            ROTATED | STAGED => LANGUAGES.to_vec(),
            RESTARTED => vec!["go"],
            _ => vec!["rust"],
        };
        for language in languages {
            let name = match application.name.as_str() {
                RESTARTED => RESTARTED.to_owned(),
                name => format!("{name}-{language}"),
            };
            consumers.push(Consumer { name, language, application: application.clone() });
        }
    }
    consumers
}

impl Consumer {
    fn is_restarted(&self) -> bool {
        self.application.name == RESTARTED
    }

    /// Returns the Deployment of an example, changed for this consumer.
    fn deployment(&self, namespace: &str, endpoint: &str) -> Result<Value> {
        let example = if self.is_restarted() { FROM_ENVIRONMENT } else { MOUNTED };
        let manifests = manifests::read(example)?;
        let deployment = manifests.into_iter().find(|manifest| manifest["kind"] == "Deployment");
        let mut deployment = deployment.with_context(|| format!("{example} has no Deployment"))?;
        deployment["metadata"] = json!({"name": self.name, "namespace": namespace});
        let spec = &mut deployment["spec"];
        if !self.is_restarted() {
            spec["replicas"] = json!(1);
        }
        spec["selector"]["matchLabels"]["app"] = json!(self.name);
        let labels = &mut spec["template"]["metadata"]["labels"];
        labels["app"] = json!(self.name);
        labels[APPLICATION_LABEL] = json!(self.application.name);
        labels[CONSUMER_LABEL] = json!(self.name);
        let pod = &mut spec["template"]["spec"];
        pod["automountServiceAccountToken"] = json!(false);
        pod["securityContext"] = json!({"runAsNonRoot": true, "runAsUser": 65532});
        pod["terminationGracePeriodSeconds"] = json!(5);
        for volume in items(&mut pod["volumes"]) {
            volume["secret"]["secretName"] = json!(self.application.secret);
        }
        let ca = json!({"name": "ca", "configMap": {"name": CA_CONFIG_MAP}});
        items(&mut pod["volumes"]).push(ca);
        let container = &mut pod["containers"][0];
        container["image"] = json!(languages::image(self.language));
        let mount = json!({"name": "ca", "mountPath": CA_DIR, "readOnly": true});
        items(&mut container["volumeMounts"]).push(mount);
        let ca_file = format!("{CA_DIR}/ca.crt");
        // Node uses NODE_EXTRA_CA_CERTS instead of SSL_CERT_FILE.
        for (name, value) in [
            ("AUTH0_ENDPOINT", endpoint),
            ("LOGIN_EVERY", LOGIN_INTERVAL),
            ("SSL_CERT_FILE", &ca_file),
            ("NODE_EXTRA_CA_CERTS", &ca_file),
        ] {
            items(&mut container["env"]).push(json!({"name": name, "value": value}));
        }
        Ok(deployment)
    }
}

/// Returns the items of a list, which is created if it is missing.
fn items(list: &mut Value) -> &mut Vec<Value> {
    if !list.is_array() {
        *list = json!([]);
    }
    match list {
        Value::Array(items) => items,
        _ => unreachable!("the value is a list"),
    }
}
