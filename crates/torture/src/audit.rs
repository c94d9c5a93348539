//! What the API server writes down about each write: the exact record of what was stored, and when.
//!
//! It goes on through restarts of the API server and has every version of an object, which a watch
//! has not. It holds secrets, and stays in the control plane's own folder, which goes at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rotation::Status;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::fleet::NAMESPACE;

/// The user that `deploy/operator.yaml` makes the operator.
pub(crate) const OPERATOR: &str = "system:serviceaccount:auth0-rotator:auth0-rotator";

/// Writes of resources and target Secrets, with what was stored.
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

/// A write that succeeded.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// When the API server got the request: it was stored after that.
    pub(crate) asked_at: DateTime<Utc>,
    /// When the API server had answered: it was stored before that.
    pub(crate) done_at: DateTime<Utc>,
    pub(crate) by_operator: bool,
    pub(crate) name: String,
    /// The object's resource version, which grows; 0 when it is gone.
    pub(crate) version: u64,
    pub(crate) what: What,
}

impl Written {
    /// What the API server has of a resource or Secret, as if the operator had just written it at
    /// `at`: that write itself was not written down.
    pub(crate) fn found(at: DateTime<Utc>, object: &Value, is_secret: bool) -> Option<Self> {
        Some(Self {
            asked_at: at,
            done_at: at,
            by_operator: true,
            name: object.pointer("/metadata/name")?.as_str()?.to_owned(),
            version: version(object),
            what: if is_secret {
                What::Secret(copy(object))
            } else {
                What::Status(status(object)?)
            },
        })
    }
}

fn version(object: &Value) -> u64 {
    let text = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn status(object: &Value) -> Option<Box<Status>> {
    let status = object.get("status").cloned().unwrap_or_else(|| Value::Object(<_>::default()));
    serde_json::from_value(status).ok()
}

/// What was stored.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Status(Box<Status>),
    Secret(Copy),
    SecretGone,
}

/// What a target Secret holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copy {
    /// The values in the order to try.
    pub(crate) list: Vec<SecretString>,
    /// Their numbers.
    pub(crate) numbers: Vec<u64>,
}

/// Reads the audit log as it grows.
pub(crate) struct Tail {
    path: PathBuf,
    offset: u64,
    /// The beginning of a line whose end isn't written yet.
    rest: Vec<u8>,
    /// Since when there is a write of which it isn't known whether it was stored.
    unsure: Option<DateTime<Utc>>,
}

impl Tail {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.into(), offset: 0, rest: Vec::new(), unsure: None }
    }

    /// What was written since the last time.
    pub(crate) fn read(&mut self) -> Result<Vec<Written>> {
        let mut file = File::open(&self.path).context("the API server's audit log is gone")?;
        file.seek(SeekFrom::Start(self.offset))?;
        let read = file.read_to_end(&mut self.rest)?;
        self.offset += read as u64;
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..end).collect();
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines = lines.filter_map(event);
        let mut written = Vec::new();
        for line in lines {
            if line.is_unsure() {
                let at = line.request_received_timestamp;
                self.unsure = Some(self.unsure.map_or(at, |unsure| unsure.min(at)));
            }
            written.extend(parse(line));
        }
        Ok(written)
    }

    /// Since when there were writes, since the last time, of which it isn't known whether they were
    /// stored: who sent them was killed and didn't wait for the answer.
    pub(crate) fn take_unsure(&mut self) -> Option<DateTime<Utc>> {
        self.unsure.take()
    }
}

/// How each event begins.
const BEGINNING: &[u8] = br#"{"kind":"Event","#;

/// The event of a line. An API server that is killed leaves its last one unfinished, and the next
/// one goes on in the same line: then it is that one's.
fn event(line: &[u8]) -> Option<Line> {
    let whole = serde_json::from_slice(line).ok();
    whole.or_else(|| {
        let begins = |at: &usize| line[*at..].starts_with(BEGINNING);
        let last = (1..line.len()).rev().find(begins)?;
        serde_json::from_slice(&line[last..]).ok()
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
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

impl Line {
    fn code(&self) -> Option<u16> {
        self.response_status.as_ref()?.code
    }

    fn is_rehearsal(&self) -> bool {
        self.request_uri.contains("dryRun=All")
    }

    fn is_unsure(&self) -> bool {
        let refused = self.code().is_some_and(|code| (400..499).contains(&code));
        let stored = self.code().is_some_and(|code| (200..300).contains(&code));
        let known = refused || stored && self.response_object.is_some();
        !known && !self.is_rehearsal()
    }
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

fn parse(line: Line) -> Option<Written> {
    let code = line.code()?;
    if !(200..300).contains(&code) || line.is_rehearsal() {
        return None;
    }
    let object = line.response_object?;
    let named = object.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    let name = line.object_ref.name.or(named)?;
    let what = match (line.object_ref.resource.as_str(), line.verb.as_str()) {
        ("secrets", "delete") => What::SecretGone,
        ("secrets", _) => What::Secret(copy(&object)),
        _ => What::Status(status(&object)?),
    };
    Some(Written {
        asked_at: line.request_received_timestamp,
        done_at: line.stage_timestamp,
        by_operator: line.user.username == OPERATOR,
        name,
        version: version(&object),
        what,
    })
}

/// Reads a target Secret's JSON as its consumers do.
pub(crate) fn copy(secret: &Value) -> Copy {
    let data: BTreeMap<String, String> = secret
        .get("data")
        .and_then(|data| serde_json::from_value(data.clone()).ok())
        .unwrap_or_default();
    let decoded = data.get("client_secrets").and_then(|list| STANDARD.decode(list).ok());
    let list: Vec<String> =
        decoded.and_then(|list| serde_json::from_slice(&list).ok()).unwrap_or_default();
    let number = |name: &str| {
        let path = format!("/metadata/annotations/auth0-rotator.dev~1{name}");
        secret.pointer(&path)?.as_str()?.parse().ok()
    };
    Copy {
        list: list.into_iter().map(SecretString::from).collect(),
        numbers: [number("current"), number("fallback")].into_iter().flatten().collect(),
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
            "verb": verb, "user": {"username": OPERATOR}, "requestURI": uri,
            "objectRef": {"resource": resource, "name": "a"},
            "responseStatus": {"code": 200}, "responseObject": object,
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000001Z",
            "stageTimestamp": "2026-01-01T00:00:01Z",
        })
        .to_string()
    }

    #[test]
    fn an_event_behind_an_unfinished_one_is_read() {
        let whole =
            line("secrets", "patch", "/x", json!({})).replacen('{', r#"{"kind":"Event","#, 1);
        for cut in [1, 20, whole.len() / 2, whole.len() - 1] {
            let torn = format!("{}{whole}", &whole[..cut]);
            assert!(event(torn.as_bytes()).is_some(), "{cut}");
        }
        assert!(event(&whole.as_bytes()[..40]).is_none());
    }

    #[test]
    fn lines_are_read_as_they_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = File::create(&path).unwrap();
        let mut tail = Tail::new(&path);
        // ["b","a"]
        let secret = json!({
            "metadata": {"annotations": {"auth0-rotator.dev/current": "2"}},
            "data": {"client_secrets": "WyJiIiwiYSJd"},
        });
        let whole = line("secrets", "patch", "/x", secret.clone());
        let (begin, end) = whole.split_at(20);
        write!(file, "{begin}").unwrap();
        assert!(tail.read().unwrap().is_empty());
        writeln!(file, "{end}").unwrap();
        let read = tail.read().unwrap();
        let What::Secret(copy) = &read[0].what else { panic!("{read:?}") };
        assert_eq!((copy.list[1].expose_secret(), &copy.numbers[..]), ("a", &[2][..]));
        assert!(read[0].by_operator && read[0].asked_at < read[0].done_at);

        writeln!(file, "{}", line("secrets", "patch", "/x?dryRun=All", secret)).unwrap();
        writeln!(file, "{}", line("secrets", "delete", "/x", json!({}))).unwrap();
        let status = json!({"status": {"current": 3}});
        writeln!(file, "{}", line("clientsecretrotations", "update", "/x", status)).unwrap();
        let read = tail.read().unwrap();
        assert_eq!(read.len(), 2, "a rehearsal is no write");
        assert!(matches!(read[0].what, What::SecretGone));
        assert!(matches!(&read[1].what, What::Status(status) if status.current == Some(3)));

        assert_eq!(tail.take_unsure(), None);
        let refused = line("secrets", "patch", "/x", json!({})).replace("200", "409");
        writeln!(file, "{refused}").unwrap();
        assert!(tail.read().unwrap().is_empty() && tail.take_unsure().is_none());
        let cut = line("secrets", "patch", "/x", json!({})).replace("200", "504");
        writeln!(file, "{cut}").unwrap();
        assert!(tail.read().unwrap().is_empty());
        assert!(tail.take_unsure().is_some() && tail.take_unsure().is_none());
    }
}
