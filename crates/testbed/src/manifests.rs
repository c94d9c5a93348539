//! Manifests: read from the checkout, changed where a trial needs it, and told what was changed.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rig::manifests::read;
use serde_json::{Value, json};

/// An application whose secret is rotated, as its manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The name of its ClientSecretRotation.
    pub name: String,
    pub client_id: String,
    pub strategy: String,
    /// The name of its Secret.
    pub secret: String,
}

/// What the simulated Auth0 has to know from the manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub domain: String,
    /// The client ID of the operator itself.
    pub manager: String,
}

/// The manifests of the quickstart.
#[derive(Clone, Debug)]
pub struct Quickstart {
    pub manifests: Vec<Value>,
    pub namespace: String,
    pub tenant: Tenant,
    pub applications: Vec<Application>,
}

impl Quickstart {
    pub fn read(folder: &Path) -> Result<Self> {
        Self::of(read(folder)?).with_context(|| format!("in {}", folder.display()))
    }

    fn of(manifests: Vec<Value>) -> Result<Self> {
        let of_kind = |kind: &'static str| manifests.iter().filter(move |m| m["kind"] == kind);
        let first = |kind| of_kind(kind).next().with_context(|| format!("there is no {kind}"));
        let namespace = text(first("Namespace")?, "/metadata/name")?;
        let tenant = Tenant {
            domain: text(first("Auth0Tenant")?, "/spec/domain")?,
            manager: text(first("Secret")?, "/stringData/client_id")?,
        };
        let applications: Vec<_> =
            of_kind("ClientSecretRotation").map(application).collect::<Result<_>>()?;
        if applications.is_empty() {
            bail!("there is no ClientSecretRotation");
        }
        Ok(Self { manifests, namespace, tenant, applications })
    }

    /// Adds manifests of another example, for the same tenant and namespace.
    pub fn add(&mut self, manifests: Vec<Value>) -> Result<()> {
        for manifest in &manifests {
            if manifest["kind"] == "ClientSecretRotation" {
                self.applications.push(application(manifest)?);
            }
        }
        self.manifests.extend(manifests);
        Ok(())
    }

    /// Makes a change and returns what to tell of it.
    pub fn change(&mut self, change: &Change) -> Result<String> {
        let Change { kind, name, path, value, shown } = change;
        let manifest = self
            .manifests
            .iter_mut()
            .find(|m| m["kind"] == **kind && m["metadata"]["name"] == **name)
            .with_context(|| format!("the quickstart has no {kind} {name}"))?;
        let before = set(manifest, path, value.clone());
        let after = shown.clone().unwrap_or_else(|| brief(value));
        let before = before.filter(|_| shown.is_none());
        let before = before.map(|before| format!(" instead of {}", brief(&before)));
        let field = path.join(".");
        Ok(format!("{kind} {name}: {field} is {after}{}", before.unwrap_or_default()))
    }
}

/// A field that a trial needs to be otherwise than a user would have it.
#[derive(Clone, Debug)]
pub struct Change {
    kind: &'static str,
    name: String,
    path: Vec<&'static str>,
    value: Value,
    /// Told instead of the value.
    shown: Option<String>,
}

impl Change {
    /// Sets the field at `path`, its members separated by dots.
    pub fn set(
        kind: &'static str,
        name: &str,
        path: &'static str,
        value: impl Into<Value>,
    ) -> Self {
        let path = path.split('.').collect();
        Self { kind, name: name.into(), path, value: value.into(), shown: None }
    }

    /// Tells `text` instead of the values before and after.
    pub fn shown_as(self, text: &str) -> Self {
        Self { shown: Some(text.into()), ..self }
    }
}

fn application(manifest: &Value) -> Result<Application> {
    Ok(Application {
        name: text(manifest, "/metadata/name")?,
        client_id: text(manifest, "/spec/clientId")?,
        strategy: text(manifest, "/spec/strategy").unwrap_or_else(|_| "Rotate".into()),
        secret: text(manifest, "/spec/target/name")?,
    })
}

fn text(manifest: &Value, pointer: &str) -> Result<String> {
    let found = manifest.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.with_context(|| format!("a {} has no {pointer}", manifest["kind"]))
}

/// Sets a field, making the objects that it is in, and returns what it was.
fn set(manifest: &mut Value, path: &[&str], value: Value) -> Option<Value> {
    let (last, way) = path.split_last()?;
    let mut at = manifest;
    for member in way {
        at = &mut at[*member];
    }
    if !at.is_object() {
        *at = json!({});
    }
    at.as_object_mut()?.insert((*last).to_owned(), value)
}

/// A value as a person would write it in a line of YAML.
fn brief(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{name}: {}", brief(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rig::manifests::place;

    use super::*;

    #[test]
    fn the_quickstart_of_this_checkout_is_complete() {
        let quickstart = Quickstart::read(&place("examples/quickstart")).unwrap();
        let names: Vec<_> = quickstart.applications.iter().map(|app| app.name.as_str()).collect();
        assert_eq!(names, ["checkout", "billing", "reports"]);
        for manifest in &quickstart.manifests {
            let namespace = manifest["metadata"]["namespace"].as_str();
            let is_namespace = manifest["kind"] == "Namespace";
            assert!(is_namespace || namespace == Some(&quickstart.namespace), "{manifest}");
        }
        assert!(read(&place("crds")).unwrap().len() >= 2);
    }

    #[test]
    fn an_example_is_added_to_the_quickstart() {
        let mut quickstart = Quickstart::read(&place("examples/quickstart")).unwrap();
        let example = read(&place("examples/consumers/restarted.yaml")).unwrap();
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
    fn a_change_says_what_it_was_before() {
        let mut quickstart = Quickstart::read(&place("examples/quickstart")).unwrap();
        let kind = "ClientSecretRotation";
        let every = Change::set(kind, "checkout", "spec.schedule", json!({"every": "20s"}));
        assert_eq!(
            quickstart.change(&every).unwrap(),
            "ClientSecretRotation checkout: spec.schedule is {every: 20s} instead of \
             {every: 720h, jitter: 30m}"
        );
        let value = Change::set("Secret", "auth0-management", "stringData.client_secret", "hush");
        let told = quickstart.change(&value.shown_as("the simulator's")).unwrap();
        assert!(told.ends_with("client_secret is the simulator's"), "{told}");
        let nobody = Change::set(kind, "nobody", "spec.gracePeriod", "8s");
        assert!(quickstart.change(&nobody).is_err());
    }

    #[test]
    fn a_field_is_set_where_its_parents_are_missing() {
        let mut manifest = json!({"spec": {}});
        assert_eq!(set(&mut manifest, &["spec", "staging", "period"], json!("6s")), None);
        assert_eq!(manifest, json!({"spec": {"staging": {"period": "6s"}}}));
        let before = set(&mut manifest, &["spec", "staging", "period"], json!("7s"));
        assert_eq!(before, Some(json!("6s")));
    }
}
