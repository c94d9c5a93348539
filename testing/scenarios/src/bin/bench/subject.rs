//! What is measured: the operator, and External Secrets Operator for comparison. Both keep one Secret
//! per resource in sync with the same simulated Auth0.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use auth0_rotator::api::ENDPOINT_ANNOTATION;
use auth0_simulator::Simulator;
use kube::Client;
use local_cluster::supervised::SupervisedDir;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::{
    auth0::MANAGER,
    cluster::{self, OPERATOR_USER},
    manifests,
    operator::OperatorCommand,
};

/// Namespace of the resources.
pub(crate) const NAMESPACE: &str = "bench";
const OPERATOR_NAMESPACE: &str = "auth0-rotator";
const ESO_USER: &str = "system:serviceaccount:external-secrets:external-secrets";

/// External Secrets Operator with ten workers, a client that is hardly limited, and a cache of Secrets.
const ESO_TUNED: [&str; 4] = [
    "--concurrent=10",
    "--client-qps=1000",
    "--client-burst=1000",
    "--enable-secrets-caching=true",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Rotator,
    EsoDefaults,
    EsoTuned,
}

impl Subject {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Rotator => "auth0-rotator",
            Self::EsoDefaults => "External Secrets Operator, defaults",
            Self::EsoTuned => "External Secrets Operator, tuned",
        }
    }

    /// Returns the key of the subject in JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Rotator => "auth0-rotator",
            Self::EsoDefaults => "eso-defaults",
            Self::EsoTuned => "eso-tuned",
        }
    }

    /// Returns the user as which the controller uses the API server.
    pub(crate) fn user(self) -> &'static str {
        if self == Self::Rotator { OPERATOR_USER } else { ESO_USER }
    }

    /// Returns the API path of its resources.
    pub(crate) fn collection(self) -> String {
        let (group, plural) = match self {
            Self::Rotator => ("auth0-rotator.dev/v1alpha1", "clientsecretrotations"),
            Self::EsoDefaults | Self::EsoTuned => ("external-secrets.io/v1", "externalsecrets"),
        };
        format!("/apis/{group}/namespaces/{NAMESPACE}/{plural}")
    }

    /// Returns the manifest of a resource, with `overrides` merged into its spec.
    pub(crate) fn manifest(self, number: usize, overrides: &Value) -> Value {
        let name = name(number);
        let mut manifest = match self {
            Self::Rotator => json!({
                "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
                "metadata": {"name": name},
                "spec": {
                    "clientId": name,
                    "tenantRef": {"name": "acme"},
                    "schedule": {"every": "720h"},
                    "target": {"name": format!("{name}-auth0")},
                },
            }),
            Self::EsoDefaults | Self::EsoTuned => json!({
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
                "metadata": {"name": name},
                "spec": {
                    "refreshInterval": "1h",
                    "secretStoreRef": {"kind": "SecretStore", "name": "auth0"},
                    "target": {"name": format!("{name}-auth0")},
                    "data": [{"secretKey": "client_secret", "remoteRef": {"key": name}}],
                },
            }),
        };
        manifests::merge(&mut manifest["spec"], overrides.clone());
        manifest
    }

    /// Returns the command that runs the controller. Only what the environment requires differs from
    /// the defaults: addresses, plain HTTP to the simulator, and the leader election of a Pod.
    pub(crate) fn command(
        self,
        executable: &Path,
        kubeconfig: &Path,
        log_dir: Arc<SupervisedDir>,
    ) -> OperatorCommand {
        let mut command =
            OperatorCommand::new(executable.to_owned(), kubeconfig.to_owned(), log_dir);
        match self {
            Self::Rotator => command.args([
                "--operator-namespace",
                OPERATOR_NAMESPACE,
                "--leader-elect",
                "--allow-http-endpoints",
            ]),
            Self::EsoDefaults | Self::EsoTuned => {
                command.arguments = vec!["--metrics-addr=127.0.0.1:0".to_owned()];
                if self == Self::EsoTuned {
                    command = command.args(ESO_TUNED);
                }
                command
            }
        }
    }

    /// Installs the definitions, the permissions, and the connection to Auth0.
    pub(crate) async fn install(
        self,
        client: &Client,
        simulator: &Simulator,
        eso_crds: Option<&Path>,
    ) -> Result<()> {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE},
        });
        cluster::apply(client, &[namespace]).await?;
        if self == Self::Rotator {
            cluster::install_operator_manifests(client).await?;
            return cluster::apply(client, &tenant(simulator)?).await;
        }
        let crds = eso_crds.context("ESO_CRDS is not set")?;
        cluster::install_crds(client, &read_crds(crds)?).await?;
        cluster::apply(client, &secret_store(simulator).await?).await
    }
}

/// Returns the name of a resource, which is also the ID of its client.
pub(crate) fn name(number: usize) -> String {
    format!("app-{number:05}")
}

/// Returns the tenant with its credentials. Its rate limit is out of the way.
fn tenant(simulator: &Simulator) -> Result<[Value; 2]> {
    let secret = simulator.client_secret(MANAGER).context("there is no management client")?;
    Ok([
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": "auth0-management", "namespace": NAMESPACE,
                "annotations": {ENDPOINT_ANNOTATION: simulator.url()},
            },
            "stringData": {"client_id": MANAGER, "client_secret": secret.expose_secret()},
        }),
        json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "Auth0Tenant",
            "metadata": {"name": "acme", "namespace": NAMESPACE},
            "spec": {
                "domain": simulator.domain(),
                "endpoint": simulator.url(),
                "credentials": {"clientSecret": {"secretRef": {"name": "auth0-management"}}},
                "rateLimit": {"requestsPerSecond": 1000, "burst": 1000},
            },
        }),
    ])
}

/// Returns a SecretStore that reads clients from the Management API with a token, and the permissions
/// of External Secrets Operator.
async fn secret_store(simulator: &Simulator) -> Result<[Value; 2]> {
    let secret = simulator.client_secret(MANAGER).context("there is no management client")?;
    let request = json!({
        "grant_type": "client_credentials", "audience": simulator.audience(),
        "client_id": MANAGER, "client_secret": secret.expose_secret(),
    });
    let http = reqwest::Client::builder().no_proxy().build()?;
    let url = simulator.url();
    let response = http.post(format!("{url}/oauth/token")).json(&request).send().await?;
    let response: Value = response.error_for_status()?.json().await?;
    let token = response["access_token"].as_str().context("the response has no token")?;
    Ok([
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "external-secrets"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": "cluster-admin",
            },
            "subjects": [{
                "kind": "ServiceAccount", "name": "external-secrets",
                "namespace": "external-secrets",
            }],
        }),
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
            "metadata": {"name": "auth0", "namespace": NAMESPACE},
            "spec": {"provider": {"webhook": {
                "url": format!("{url}/api/v2/clients/{{{{ .remoteRef.key }}}}"),
                "headers": {"Authorization": format!("Bearer {token}")},
                "result": {"jsonPath": "$.client_secret"},
            }}},
        }),
    ])
}

/// Reads the definitions, without the conversion webhooks that aren't running here.
fn read_crds(path: &Path) -> Result<Vec<Value>> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = scenarios::environment::files_in(path)?;
        files.sort();
    }
    let mut crds = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("can't read {}", file.display()))?;
        for mut crd in manifests::parse(&text)? {
            if crd["kind"] != "CustomResourceDefinition" {
                continue;
            }
            if let Some(spec) = crd["spec"].as_object_mut() {
                spec.remove("conversion");
            }
            if let Some(crd) = crd.as_object_mut() {
                crd.remove("status");
            }
            crds.push(crd);
        }
    }
    Ok(crds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_have_no_conversion_webhook() {
        let dir = tempfile::tempdir().unwrap();
        let text = "kind: CustomResourceDefinition\nspec: {group: a, conversion: {}}\n---\n\
                    kind: Kustomization\n";
        std::fs::write(dir.path().join("crds.yaml"), text).unwrap();
        let crds = read_crds(dir.path()).unwrap();
        assert_eq!(crds, [json!({"kind": "CustomResourceDefinition", "spec": {"group": "a"}})]);
    }
}
