//! Secrets on the API server.

use http::{Method, Request};
use k8s_openapi::api::core::v1::Secret;
use kube::{Client, Resource as _, core::Status};
use rotation::{Failure, Reason};
use serde_json::json;
use zeroize::Zeroizing;

use super::{read::Snapshot, render::Rendered};
use crate::{
    api::{FIELD_MANAGER, PREPARE_FIELD_MANAGER},
    controller::{KUBE_DEADLINE, trouble},
    telemetry,
};
use leader_election::WriteFence;

const JSON: &str = "application/json";
const APPLY: &str = "application/apply-patch+yaml";

/// Secrets on the API server, read and written without a type that could print them.
#[derive(Clone)]
pub(crate) struct SecretStore {
    client: Client,
}

impl SecretStore {
    pub(crate) fn new(client: Client) -> SecretStore {
        SecretStore { client }
    }

    /// Reads a Secret, live.
    pub(crate) async fn get(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Snapshot>, Failure> {
        let what = format!("reading the Secret {name}");
        let request =
            self.request(Method::GET, namespace, Some(name), "", "", Vec::new(), &what)?;
        match self.send(request, &what).await {
            Ok(text) => parse(&text, &what).map(Some),
            Err(CallError::Status(status)) if status.code == 404 => Ok(None),
            Err(failure) => Err(failure.trouble(&what)),
        }
    }

    /// Creates a Secret. Fails with a conflict when there is one already.
    pub(crate) async fn create(
        &self,
        namespace: &str,
        name: &str,
        rendered: &Rendered,
        right: WriteFence<'_>,
    ) -> Result<Snapshot, Failure> {
        let what = format!("creating the Secret {name}");
        let query = format!("fieldManager={FIELD_MANAGER}");
        let body = rendered.json(None).to_vec();
        let request = self.request(Method::POST, namespace, None, &query, JSON, body, &what)?;
        trouble::check(right)?;
        let text = self.send(request, &what).await.map_err(|failure| failure.trouble(&what))?;
        parse(&text, &what)
    }

    /// Applies a Secret over the version that was read. Fails with a conflict when there is
    /// another one by now.
    pub(crate) async fn apply(
        &self,
        namespace: &str,
        name: &str,
        rendered: &Rendered,
        over: &Snapshot,
        right: WriteFence<'_>,
    ) -> Result<Snapshot, Failure> {
        let what = format!("writing the Secret {name}");
        let mut version = over.version().to_owned();
        let preparation = preparation(rendered, over);
        if !preparation.is_empty() {
            trouble::check(right)?;
            version = self.prepare(namespace, name, &version, preparation).await?;
        }
        let query = format!("fieldManager={FIELD_MANAGER}&force=true");
        let body = rendered.json(Some(&version)).to_vec();
        let request =
            self.request(Method::PATCH, namespace, Some(name), &query, APPLY, body, &what)?;
        trouble::check(right)?;
        let text = self.send(request, &what).await.map_err(|failure| failure.trouble(&what))?;
        parse(&text, &what)
    }

    /// Asks whether a Secret would be taken, without writing it.
    pub(crate) async fn rehearse(
        &self,
        namespace: &str,
        name: &str,
        rendered: &Rendered,
        over: Option<&Snapshot>,
    ) -> Result<(), Failure> {
        let what = format!("rehearsing the write of the Secret {name}");
        let request = match over {
            None => {
                let query = format!("fieldManager={FIELD_MANAGER}&dryRun=All");
                let body = rendered.json(None).to_vec();
                self.request(Method::POST, namespace, None, &query, JSON, body, &what)?
            }
            Some(over) => {
                let query = format!("fieldManager={FIELD_MANAGER}&force=true&dryRun=All");
                let body = rendered.json(Some(over.version())).to_vec();
                self.request(Method::PATCH, namespace, Some(name), &query, APPLY, body, &what)?
            }
        };
        self.send(request, &what).await.map(drop).map_err(|failure| failure.trouble(&what))
    }

    /// Changes what server-side apply can't.
    async fn prepare(
        &self,
        namespace: &str,
        name: &str,
        version: &str,
        changes: Vec<serde_json::Value>,
    ) -> Result<String, Failure> {
        let what = format!("preparing the Secret {name}");
        // With the version in it the patch fails with a conflict when there is another one by now.
        let over =
            json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version });
        let patch: Vec<_> = std::iter::once(over).chain(changes).collect();
        let body = json!(patch).to_string().into_bytes();
        let kind = "application/json-patch+json";
        let query = format!("fieldManager={PREPARE_FIELD_MANAGER}");
        let request =
            self.request(Method::PATCH, namespace, Some(name), &query, kind, body, &what)?;
        let text = self.send(request, &what).await.map_err(|failure| failure.trouble(&what))?;
        Ok(parse(&text, &what)?.version().to_owned())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a request, used in this file only")]
    fn request(
        &self,
        method: Method,
        namespace: &str,
        name: Option<&str>,
        query: &str,
        content_type: &str,
        body: Vec<u8>,
        what: &str,
    ) -> Result<Request<Vec<u8>>, Failure> {
        let mut uri = Secret::url_path(&(), Some(namespace));
        if let Some(name) = name {
            uri = format!("{uri}/{name}");
        }
        let mut request = Request::builder().method(method).uri(format!("{uri}?{query}"));
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        request.body(body).map_err(|_| trouble::invalid(Reason::InvalidName, what))
    }

    async fn send(
        &self,
        request: Request<Vec<u8>>,
        what: &str,
    ) -> Result<Zeroizing<String>, CallError> {
        let call = async {
            match tokio::time::timeout(KUBE_DEADLINE, self.client.request_text(request)).await {
                Ok(Ok(text)) => Ok(Zeroizing::new(text)),
                Ok(Err(kube::Error::Api(status))) => Err(CallError::Status(status)),
                Ok(Err(error)) => Err(CallError::Failed(Box::new(trouble::of_kube(what, &error)))),
                Err(_) => Err(CallError::Failed(Box::new(trouble::of_timeout(what)))),
            }
        };
        let word = |failure: &CallError| match failure {
            CallError::Status(_) => "Refused",
            CallError::Failed(trouble) => trouble.reason.as_str(),
        };
        telemetry::trace_request(telemetry::kubernetes_span(what), word, call).await
    }
}

/// What has to be changed by JSON patch before a Secret can be applied: the entry that creation left
/// in `managedFields` becomes one of server-side apply, as kubectl does with its own; and keys of
/// ours that someone else has put there go.
fn preparation(rendered: &Rendered, over: &Snapshot) -> Vec<serde_json::Value> {
    let claim = over.created_by_us().map(|entry| {
        let path = format!("/metadata/managedFields/{entry}/operation");
        json!({ "op": "replace", "path": path, "value": "Apply" })
    });
    let strays = rendered.strays(over);
    let removals = strays.into_iter().map(|path| json!({ "op": "remove", "path": path }));
    claim.into_iter().chain(removals).collect()
}

enum CallError {
    Status(Box<Status>),
    Failed(Box<Failure>),
}

impl CallError {
    /// The API server's own words are left out: an admission webhook could have put into them what
    /// it was sent.
    fn trouble(self, what: &str) -> Failure {
        match self {
            CallError::Failed(trouble) => *trouble,
            CallError::Status(status) => match status.code {
                404 | 409 => trouble::conflict(&format!("{what}: it changed meanwhile")),
                429 | 500.. => trouble::of_timeout(what),
                403 => trouble::invalid(
                    Reason::SecretForbidden,
                    format!(
                        "{what}: refused with status 403: the operator needs get, create and patch on \
                         secrets in this namespace, and the namespace must not be terminating"
                    ),
                ),
                code => trouble::invalid(
                    Reason::SecretRejected,
                    format!(
                        "{what}: refused with status {code} ({}): look at admission webhooks and \
                         quotas, and at spec.target's labels and annotations",
                        reason_word(&status)
                    ),
                ),
            },
        }
    }
}

fn reason_word(status: &Status) -> String {
    status.reason.chars().filter(char::is_ascii_alphanumeric).take(40).collect()
}

fn parse(text: &str, what: &str) -> Result<Snapshot, Failure> {
    Snapshot::parse(text).ok_or_else(|| {
        trouble::invalid(Reason::SecretUnreadable, format!("{what}: it can't be parsed"))
    })
}
