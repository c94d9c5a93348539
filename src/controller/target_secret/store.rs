//! Secrets on the API server.

use http::{Method, Request};
use k8s_openapi::api::core::v1::Secret;
use kube::{Client, Resource as _};
use leader_election::WriteFence;
use rotation::{Reason, Rejection};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{render::Rendered, snapshot::Snapshot};
use crate::{
    api::{FIELD_MANAGER, PREPARE_FIELD_MANAGER},
    controller::{
        denial::Denial,
        error::{Error, KubeFailure},
        kube_call::{check_fence, kube_call},
        object_key::ObjectKey,
    },
};

const JSON: &str = "application/json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Secrets on the API server, read and written without a type that could print them.
#[derive(Clone)]
pub(crate) struct SecretStore {
    client: Client,
}

/// The parts of a write request.
struct Write {
    method: Method,
    /// The path of the Secret, or of the collection to create one.
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
}

impl SecretStore {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Reads a Secret, live.
    pub(crate) async fn get(&self, key: &ObjectKey) -> Result<Option<Snapshot>, Error> {
        let action = format!("reading the Secret {}", key.name);
        let request = Request::get(secret_path(key)).body(Vec::new());
        let request = request.map_err(|_| invalid_name(&action))?;
        match kube_call(&action, self.client.request_text(request)).await {
            Ok(text) => parse(Zeroizing::new(text), &action).map(Some),
            // A GET conflicts with nothing: this is 404.
            Err(Error::Kube { failure: KubeFailure::Conflict, .. }) => Ok(None),
            Err(error) => Err(without_quotes(error)),
        }
    }

    /// Creates a Secret.
    ///
    /// # Errors
    /// A conflict if it exists.
    pub(crate) async fn create(
        &self,
        key: &ObjectKey,
        rendered: &Rendered,
        fence: WriteFence<'_>,
    ) -> Result<Snapshot, Error> {
        let action = format!("creating the Secret {}", key.name);
        check_fence(fence)?;
        self.send(create(key, rendered, ""), &action).await
    }

    /// Applies a Secret over the version that was read.
    ///
    /// # Errors
    /// A conflict if the Secret has another version by now.
    pub(crate) async fn apply(
        &self,
        key: &ObjectKey,
        rendered: &Rendered,
        over: &Snapshot,
        fence: WriteFence<'_>,
    ) -> Result<Snapshot, Error> {
        let action = format!("writing the Secret {}", key.name);
        let mut version = over.resource_version().to_owned();
        let operations = preparation(rendered, over);
        if !operations.is_empty() {
            check_fence(fence)?;
            version = self.prepare(key, &version, operations).await?;
        }
        check_fence(fence)?;
        self.send(apply(key, rendered, &version, ""), &action).await
    }

    /// Asks the API server whether it would accept a Secret, without writing it. Returns the Secret that
    /// it would store.
    pub(crate) async fn dry_run(
        &self,
        key: &ObjectKey,
        rendered: &Rendered,
        over: Option<&Snapshot>,
    ) -> Result<Snapshot, Error> {
        let action = format!("dry run of the write of the Secret {}", key.name);
        let write = match over {
            None => create(key, rendered, "&dryRun=All"),
            Some(over) => apply(key, rendered, over.resource_version(), "&dryRun=All"),
        };
        self.send(write, &action).await
    }

    /// Changes what server-side apply cannot. Returns the new version.
    async fn prepare(
        &self,
        key: &ObjectKey,
        version: &str,
        operations: Vec<Value>,
    ) -> Result<String, Error> {
        let action = format!("preparing the write of the Secret {}", key.name);
        // With the version in it, the patch conflicts if the Secret has another one by now.
        let over =
            json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version });
        let patch: Vec<Value> = std::iter::once(over).chain(operations).collect();
        let write = Write {
            method: Method::PATCH,
            path: format!("{}?fieldManager={PREPARE_FIELD_MANAGER}", secret_path(key)),
            content_type: JSON_PATCH,
            body: json!(patch).to_string().into_bytes(),
        };
        Ok(self.send(write, &action).await?.resource_version().to_owned())
    }

    async fn send(&self, write: Write, action: &str) -> Result<Snapshot, Error> {
        let Write { method, path, content_type, body } = write;
        let request =
            Request::builder().method(method).uri(path).header("content-type", content_type);
        let request = request.body(body).map_err(|_| invalid_name(action))?;
        match kube_call(action, self.client.request_text(request)).await {
            Ok(text) => parse(Zeroizing::new(text), action),
            Err(error) => Err(without_quotes(error)),
        }
    }
}

fn create(key: &ObjectKey, rendered: &Rendered, query: &str) -> Write {
    let collection = Secret::url_path(&(), Some(&key.namespace));
    Write {
        method: Method::POST,
        path: format!("{collection}?fieldManager={FIELD_MANAGER}{query}"),
        content_type: JSON,
        body: rendered.json(None).to_vec(),
    }
}

fn apply(key: &ObjectKey, rendered: &Rendered, version: &str, query: &str) -> Write {
    Write {
        method: Method::PATCH,
        path: format!("{}?fieldManager={FIELD_MANAGER}&force=true{query}", secret_path(key)),
        content_type: APPLY_PATCH,
        body: rendered.json(Some(version)).to_vec(),
    }
}

fn secret_path(key: &ObjectKey) -> String {
    format!("{}/{}", Secret::url_path(&(), Some(&key.namespace)), key.name)
}

fn invalid_name(action: &str) -> Error {
    Error::rejected(Reason::InvalidName, format!("{action}: the name is not a valid URL path"))
}

/// Returns the JSON patch that a Secret needs before it can be applied. Fields that our create request
/// wrote and that go out of use become fields of server-side apply, which removes them; keys of ours
/// that another client added are removed.
fn preparation(rendered: &Rendered, over: &Snapshot) -> Vec<Value> {
    let mut operations = Vec::new();
    if over.created_fields().is_some_and(|created| !rendered.has_all(&created)) {
        operations = over.move_created_fields();
    }
    for pointer in rendered.foreign_leftovers(over) {
        operations.push(json!({ "op": "remove", "path": pointer }));
    }
    operations
}

/// Replaces the API server's own words: an admission webhook could quote the Secret in them.
fn without_quotes(error: Error) -> Error {
    let Error::Kube { action, failure } = error else { return error };
    let (denial, code) = match failure {
        KubeFailure::Forbidden { denial, .. } => (denial, 403),
        KubeFailure::Rejected { denial, code, reason, .. } => {
            if denial == Denial::Other {
                return rejected_otherwise(&action, code, &reason);
            }
            (denial, code)
        }
        other => return Error::Kube { action, failure: other },
    };
    let reason = match denial {
        Denial::Authorization | Denial::NamespaceTerminating => Reason::SecretForbidden,
        Denial::Other if code == 403 => Reason::SecretForbidden,
        Denial::OwnerReference => Reason::OwnerReferenceForbidden,
        _ => Reason::SecretRejected,
    };
    let (subject, remedy) = (denial.subject(), remedy(&denial));
    let message = format!("{action}: {subject} denies it (status {code}). {remedy}");
    Error::Denied(Rejection::new(reason, message))
}

/// Returns what a user can do about a denied write of a Secret.
fn remedy(denial: &Denial) -> &'static str {
    match denial {
        Denial::Authorization => {
            "Grant the operator get, create and patch on secrets in this namespace (with scope \
             selected: bind the ClusterRole auth0-rotator-namespace-access)"
        }
        Denial::OwnerReference => {
            "Grant the operator delete on secrets in this namespace, or restore \
             spec.target.deletionPolicy"
        }
        Denial::Quota => "Raise the quota, or delete other Secrets in this namespace",
        Denial::Policy(_) | Denial::Webhook(_) => {
            "Exempt the operator's service account or this Secret from it, or set the labels and \
             annotations in spec.target that it requires"
        }
        Denial::NamespaceTerminating => "Nothing can be published in it anymore",
        Denial::TooLarge => {
            "Remove keys of others from the Secret, or shorten spec.target.template: a Secret has at \
             most 1 MiB"
        }
        Denial::Other => "Check admission webhooks, quotas and the roles of the operator",
    }
}

fn rejected_otherwise(action: &str, code: u16, reason: &str) -> Error {
    let reason: String = reason.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    Error::Denied(Rejection::new(
        Reason::SecretRejected,
        format!(
            "{action}: rejected with status {code} ({reason}). Check admission webhooks and quotas, \
             and the labels and annotations of spec.target"
        ),
    ))
}

fn parse(text: Zeroizing<String>, action: &str) -> Result<Snapshot, Error> {
    Snapshot::parse(&text).ok_or_else(|| {
        Error::rejected(Reason::SecretUnreadable, format!("{action}: it cannot be parsed"))
    })
}
