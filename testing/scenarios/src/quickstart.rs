//! The manifests of `examples/quickstart`, patched where a scenario needs it.

use anyhow::{Context as _, Result, bail};
use auth0_simulator::{ClientSeed, Simulator, SimulatorBuilder};
use rotation::Strategy;
use secrecy::SecretString;
use serde_json::{Value, json};
use testkit::{
    auth0::{self, SCOPES},
    manifests,
};

/// Application whose secret is rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Name of its ClientSecretRotation.
    pub name: String,
    pub client_id: String,
    pub strategy: Strategy,
    /// Name of its target Secret.
    pub secret: String,
}

/// The manifests, and the values in them that the simulated Auth0 needs.
#[derive(Clone, Debug)]
pub struct Quickstart {
    pub manifests: Vec<Value>,
    pub namespace: String,
    /// Domain of the tenant.
    pub domain: String,
    /// Client ID of the operator's management client.
    pub manager: String,
    pub applications: Vec<Application>,
}

impl Quickstart {
    /// Reads the manifests of the checkout.
    pub fn read() -> Result<Self> {
        let folder = "examples/quickstart";
        Self::new(manifests::read(folder)?).with_context(|| format!("in {folder}"))
    }

    fn new(manifests: Vec<Value>) -> Result<Self> {
        let first = |kind: &str| {
            let manifest = manifests.iter().find(|manifest| manifest["kind"] == kind);
            manifest.with_context(|| format!("there is no {kind}"))
        };
        let mut quickstart = Self {
            namespace: text(first("Namespace")?, "/metadata/name")?,
            domain: text(first("Auth0Tenant")?, "/spec/domain")?,
            manager: text(first("Secret")?, "/stringData/client_id")?,
            manifests: Vec::new(),
            applications: Vec::new(),
        };
        quickstart.add(manifests)?;
        if quickstart.applications.is_empty() {
            bail!("there is no ClientSecretRotation");
        }
        Ok(quickstart)
    }

    /// Adds manifests of another example for the same tenant and namespace.
    pub fn add(&mut self, manifests: Vec<Value>) -> Result<()> {
        for manifest in &manifests {
            if manifest["kind"] == "ClientSecretRotation" {
                self.applications.push(Application {
                    name: text(manifest, "/metadata/name")?,
                    client_id: text(manifest, "/spec/clientId")?,
                    strategy: match manifest["spec"]["strategy"].as_str() {
                        Some("Staged") => Strategy::Staged,
                        _ => Strategy::Rotate,
                    },
                    secret: text(manifest, "/spec/target/name")?,
                });
            }
        }
        self.manifests.extend(manifests);
        Ok(())
    }

    /// Applies a patch and returns its description.
    pub fn patch(&mut self, patch: &Patch) -> Result<String> {
        let Patch { kind, name, path, value, description } = patch;
        let manifest = self
            .manifests
            .iter_mut()
            .find(|manifest| manifest["kind"] == **kind && manifest["metadata"]["name"] == **name)
            .with_context(|| format!("the quickstart has no {kind} {name}"))?;
        let before = set(manifest, path, value.clone());
        let field = format!("{kind} {name}: {}", path.join("."));
        Ok(match (description, before) {
            (Some(description), _) => format!("{field} is {description}"),
            (None, Some(before)) => {
                format!("{field} is {} instead of {}", yaml(value), yaml(&before))
            }
            (None, None) => format!("{field} is {}", yaml(value)),
        })
    }

    /// Returns a builder of the tenant with all clients of the manifests, each with a secret of its
    /// own.
    pub fn tenant(&self, seed: u64) -> SimulatorBuilder {
        let manager = ClientSeed::new(&self.manager).scopes(SCOPES);
        let mut builder = Simulator::builder().domain(&self.domain).seed(seed).client(manager);
        for application in &self.applications {
            builder = builder.client(auth0::application(&application.client_id));
        }
        builder
    }

    /// Returns the secret of the operator's management client.
    pub fn manager_secret(&self, simulator: &Simulator) -> Result<SecretString> {
        let secret = simulator.client_secret(&self.manager);
        secret.context("the simulated Auth0 has no management client")
    }
}

/// Field that a scenario sets to another value than the example.
#[derive(Clone, Debug)]
pub struct Patch {
    kind: &'static str,
    name: String,
    path: Vec<&'static str>,
    value: Value,
    /// Printed instead of the values.
    description: Option<String>,
}

impl Patch {
    /// Sets the field at `path`, whose parts are separated by dots.
    pub fn set(
        kind: &'static str,
        name: &str,
        path: &'static str,
        value: impl Into<Value>,
    ) -> Self {
        let path = path.split('.').collect();
        Self { kind, name: name.into(), path, value: value.into(), description: None }
    }

    /// Prints a description instead of the values, for example of a secret.
    pub fn described_as(self, description: &str) -> Self {
        Self { description: Some(description.into()), ..self }
    }
}

fn text(manifest: &Value, pointer: &str) -> Result<String> {
    let found = manifest.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.with_context(|| format!("a {} has no {pointer}", manifest["kind"]))
}

/// Sets a field, creating its parents, and returns the previous value.
fn set(manifest: &mut Value, path: &[&str], value: Value) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let mut parent = manifest;
    for name in parents {
        parent = &mut parent[*name];
    }
    if !parent.is_object() {
        *parent = json!({});
    }
    parent.as_object_mut()?.insert((*last).to_owned(), value)
}

/// Formats a value as in one line of YAML.
fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name}: {}", yaml(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quickstart_of_this_checkout_is_complete() {
        let quickstart = Quickstart::read().unwrap();
        let names: Vec<_> = quickstart.applications.iter().map(|app| app.name.as_str()).collect();
        assert_eq!(names, ["checkout", "billing", "reports"]);
        for manifest in &quickstart.manifests {
            let namespace = manifest["metadata"]["namespace"].as_str();
            let is_namespace = manifest["kind"] == "Namespace";
            assert!(is_namespace || namespace == Some(&quickstart.namespace), "{manifest}");
        }
        assert!(manifests::read("crds").unwrap().len() >= 2);
    }

    #[test]
    fn adds_another_example() {
        let mut quickstart = Quickstart::read().unwrap();
        let example = manifests::read("examples/consumers/restarted.yaml").unwrap();
        let manifests = quickstart.manifests.len() + example.len();
        quickstart.add(example).unwrap();
        assert_eq!(quickstart.manifests.len(), manifests);
        assert_eq!(quickstart.applications.last().unwrap().name, "legacy");
        for manifest in &quickstart.manifests[1..] {
            assert_eq!(manifest["metadata"]["namespace"], "shop", "{manifest}");
        }
        assert!(quickstart.add(vec![json!({"kind": "ClientSecretRotation"})]).is_err());
    }

    #[test]
    fn description_has_the_previous_value() {
        let mut quickstart = Quickstart::read().unwrap();
        let kind = "ClientSecretRotation";
        let every = Patch::set(kind, "checkout", "spec.schedule", json!({"every": "20s"}));
        assert_eq!(
            quickstart.patch(&every).unwrap(),
            "ClientSecretRotation checkout: spec.schedule is {every: 20s} instead of \
             {every: 720h, jitter: 30m}"
        );
        let value = Patch::set("Secret", "auth0-management", "stringData.client_secret", "hush");
        let description = quickstart.patch(&value.described_as("the simulator's")).unwrap();
        assert!(description.ends_with("client_secret is the simulator's"), "{description}");
        let unknown = Patch::set(kind, "unknown", "spec.gracePeriod", "8s");
        assert!(quickstart.patch(&unknown).is_err());
    }

    #[test]
    fn set_creates_missing_parents() {
        let mut manifest = json!({"spec": {}});
        assert_eq!(set(&mut manifest, &["spec", "staging", "period"], json!("6s")), None);
        assert_eq!(manifest, json!({"spec": {"staging": {"period": "6s"}}}));
        let before = set(&mut manifest, &["spec", "staging", "period"], json!("7s"));
        assert_eq!(before, Some(json!("6s")));
    }
}
