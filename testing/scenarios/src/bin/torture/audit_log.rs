//! Writes to resources and Secrets with the stored objects, from the API server's audit log.
//!
//! The log continues after a restart of the API server and has every version of an object, unlike a
//! watch. It contains secrets, and is in the control plane's directory, which is removed at the end.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use auth0_rotator::api::ClientSecretRotation;
use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use rotation::Status;
use serde::Deserialize;
use serde_json::Value;
use testkit::{cluster::OPERATOR_USER, target_secret::TargetSecret};

use crate::clients::NAMESPACE;

/// Returns the audit policy: writes of resources and Secrets, with the stored objects.
pub(crate) fn policy() -> String {
    format!(
        "apiVersion: audit.k8s.io/v1\n\
         kind: Policy\n\
         omitStages: [RequestReceived]\n\
         omitManagedFields: true\n\
         rules:\n\
         - {{level: None, verbs: [get, list, watch]}}\n\
         - level: RequestResponse\n\
         \x20 namespaces: [{NAMESPACE}]\n\
         \x20 resources:\n\
         \x20 - {{group: '', resources: [secrets]}}\n\
         \x20 - {{group: auth0-rotator.dev, resources: [clientsecretrotations/status]}}\n\
         - {{level: None}}\n"
    )
}

/// Write that succeeded.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// When the API server received the request. The object was stored later.
    pub(crate) requested_at: DateTime<Utc>,
    /// When the API server had responded. The object was stored earlier.
    pub(crate) completed_at: DateTime<Utc>,
    pub(crate) by_operator: bool,
    /// Name of the resource or Secret.
    pub(crate) name: String,
    /// The object's resource version; 0 if it was deleted.
    pub(crate) version: u64,
    pub(crate) stored: Stored,
}

/// Object that a write stored.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    Status(Box<Status>),
    Secret(TargetSecret),
    SecretDeleted,
}

impl Write {
    /// Returns the write of a resource that was read, as if the operator had just made it. Its own
    /// audit event is missing.
    pub(crate) fn from_resource(at: DateTime<Utc>, resource: &ClientSecretRotation) -> Self {
        let status = resource.status.clone().unwrap_or_default();
        let version = parse_version(resource.resource_version());
        Self::found(at, resource.name_any(), version, Stored::Status(Box::new(status)))
    }

    /// Returns the write of a Secret that was read, likewise.
    pub(crate) fn from_secret(at: DateTime<Utc>, secret: &Secret) -> Self {
        let stored = Stored::Secret(TargetSecret::parse(secret));
        Self::found(at, secret.name_any(), parse_version(secret.resource_version()), stored)
    }

    fn found(at: DateTime<Utc>, name: String, version: u64, stored: Stored) -> Self {
        Self { requested_at: at, completed_at: at, by_operator: true, name, version, stored }
    }
}

fn parse_version(text: Option<String>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Reader of the audit log as it grows.
pub(crate) struct AuditLog {
    path: PathBuf,
    offset: u64,
    /// The beginning of a line that isn't complete yet.
    partial_line: Vec<u8>,
    /// Since when there are writes of which it is unknown whether they were stored.
    uncertain_since: Option<DateTime<Utc>>,
}

impl AuditLog {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.into(), offset: 0, partial_line: Vec::new(), uncertain_since: None }
    }

    /// Returns the writes since the last call.
    pub(crate) fn read(&mut self) -> Result<Vec<Write>> {
        let mut file = File::open(&self.path).context("the API server has no audit log")?;
        file.seek(SeekFrom::Start(self.offset))?;
        self.offset += file.read_to_end(&mut self.partial_line)? as u64;
        let last_newline = self.partial_line.iter().rposition(|byte| *byte == b'\n');
        let Some(last_newline) = last_newline else { return Ok(Vec::new()) };
        let lines: Vec<u8> = self.partial_line.drain(..=last_newline).collect();
        let mut writes = Vec::new();
        for line in lines.split(|byte| *byte == b'\n') {
            let Some(event) = parse_event(line) else { continue };
            if event.is_uncertain() {
                let at = event.request_received_timestamp;
                self.uncertain_since = Some(self.uncertain_since.map_or(at, |since| since.min(at)));
            }
            writes.extend(event.into_write());
        }
        Ok(writes)
    }

    /// Returns since when there were writes, since the last call, of which it is unknown whether they
    /// were stored: their client was killed before the response.
    pub(crate) fn take_uncertain_since(&mut self) -> Option<DateTime<Utc>> {
        self.uncertain_since.take()
    }
}

/// The beginning of each event.
const EVENT_START: &[u8] = br#"{"kind":"Event","#;

/// Parses the event of a line. An API server that is killed may leave an incomplete event, and the
/// next API server continues in the same line with a complete one.
fn parse_event(line: &[u8]) -> Option<Event> {
    if let Ok(event) = serde_json::from_slice(line) {
        return Some(event);
    }
    let last = (1..line.len()).rev().find(|at| line[*at..].starts_with(EVENT_START))?;
    serde_json::from_slice(&line[last..]).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    #[serde(rename = "requestURI")]
    request_uri: String,
    object_ref: ObjectRef,
    response_status: Option<ResponseStatus>,
    response_object: Option<Value>,
    request_received_timestamp: DateTime<Utc>,
    stage_timestamp: DateTime<Utc>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct ObjectRef {
    resource: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

impl Event {
    fn is_dry_run(&self) -> bool {
        self.request_uri.contains("dryRun=All")
    }

    /// Returns whether it is unknown if the write was stored.
    fn is_uncertain(&self) -> bool {
        if self.is_dry_run() {
            return false;
        }
        match self.response_status.as_ref().and_then(|status| status.code) {
            Some(400..499) => false,
            Some(200..300) => self.response_object.is_none(),
            _ => true,
        }
    }

    fn into_write(self) -> Option<Write> {
        let code = self.response_status.as_ref()?.code?;
        if !(200..300).contains(&code) || self.is_dry_run() {
            return None;
        }
        let object = self.response_object?;
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let name = self.object_ref.name.or_else(|| text("/metadata/name"))?;
        let version = parse_version(text("/metadata/resourceVersion"));
        let stored = match (self.object_ref.resource.as_str(), self.verb.as_str()) {
            ("secrets", "delete") => Stored::SecretDeleted,
            ("secrets", _) => {
                let secret: Secret = serde_json::from_value(object).ok()?;
                Stored::Secret(TargetSecret::parse(&secret))
            }
            _ => match object.get("status") {
                Some(status) => Stored::Status(serde_json::from_value(status.clone()).ok()?),
                None => Stored::Status(Box::default()),
            },
        };
        Some(Write {
            requested_at: self.request_received_timestamp,
            completed_at: self.stage_timestamp,
            by_operator: self.user.username == OPERATOR_USER,
            name,
            version,
            stored,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;

    fn line(resource: &str, verb: &str, uri: &str, object: Value) -> String {
        json!({
            "verb": verb, "user": {"username": OPERATOR_USER}, "requestURI": uri,
            "objectRef": {"resource": resource, "name": "a"},
            "responseStatus": {"code": 200}, "responseObject": object,
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000001Z",
            "stageTimestamp": "2026-01-01T00:00:01Z",
        })
        .to_string()
    }

    #[test]
    fn parses_an_event_after_an_incomplete_one() {
        let complete =
            line("secrets", "patch", "/x", json!({})).replacen('{', r#"{"kind":"Event","#, 1);
        for cut in [1, 20, complete.len() / 2, complete.len() - 1] {
            let torn = format!("{}{complete}", &complete[..cut]);
            assert!(parse_event(torn.as_bytes()).is_some(), "{cut}");
        }
        assert!(parse_event(&complete.as_bytes()[..40]).is_none());
    }

    #[test]
    fn reads_lines_as_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut file = File::create(&path).unwrap();
        let mut log = AuditLog::new(&path);
        // ["b","a"]
        let secret = json!({
            "metadata": {"annotations": {"auth0-rotator.dev/current": "2"}},
            "data": {"client_secrets": "WyJiIiwiYSJd"},
        });
        let complete = line("secrets", "patch", "/x", secret.clone());
        let (begin, end) = complete.split_at(20);
        write!(file, "{begin}").unwrap();
        assert!(log.read().unwrap().is_empty());
        writeln!(file, "{end}").unwrap();
        let writes = log.read().unwrap();
        let Stored::Secret(target) = &writes[0].stored else { panic!("{writes:?}") };
        assert_eq!((target.values[1].expose_secret(), &target.numbers[..]), ("a", &[2][..]));
        assert!(writes[0].by_operator && writes[0].requested_at < writes[0].completed_at);

        writeln!(file, "{}", line("secrets", "patch", "/x?dryRun=All", secret)).unwrap();
        writeln!(file, "{}", line("secrets", "delete", "/x", json!({}))).unwrap();
        let status = json!({"status": {"current": 3}});
        writeln!(file, "{}", line("clientsecretrotations", "update", "/x", status)).unwrap();
        let writes = log.read().unwrap();
        assert_eq!(writes.len(), 2, "a dry run is no write");
        assert!(matches!(writes[0].stored, Stored::SecretDeleted));
        assert!(matches!(&writes[1].stored, Stored::Status(status) if status.current == Some(3)));

        assert_eq!(log.take_uncertain_since(), None);
        let rejected = line("secrets", "patch", "/x", json!({})).replace("200", "409");
        writeln!(file, "{rejected}").unwrap();
        assert!(log.read().unwrap().is_empty() && log.take_uncertain_since().is_none());
        let cut = line("secrets", "patch", "/x", json!({})).replace("200", "504");
        writeln!(file, "{cut}").unwrap();
        assert!(log.read().unwrap().is_empty());
        assert!(log.take_uncertain_since().is_some() && log.take_uncertain_since().is_none());
    }
}
