//! Counts of requests to the API server, from its audit log.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Large enough for a run, so that the log stays one file.
pub(crate) const MAX_SIZE: &str = "--audit-log-maxsize=200000";

/// Returns the audit policy: the requests of the measured controller, without bodies.
pub(crate) fn policy(user: &str) -> String {
    format!(
        "apiVersion: audit.k8s.io/v1\n\
         kind: Policy\n\
         omitStages: [RequestReceived]\n\
         rules:\n\
         - {{level: Metadata, users: ['{user}']}}\n\
         - {{level: None}}\n"
    )
}

/// Numbers of requests by verb and resource, for example `update clientsecretrotations/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Requests(BTreeMap<String, u64>);

impl Requests {
    pub(crate) fn count(&mut self, kind: String) {
        *self.0.entry(kind).or_default() += 1;
    }

    pub(crate) fn add(&mut self, kind: &str, count: u64) {
        if count > 0 {
            *self.0.entry(kind.to_owned()).or_default() += count;
        }
    }

    /// Returns the requests since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut difference = Self::default();
        for (kind, count) in &self.0 {
            let new = count - earlier.0.get(kind).copied().unwrap_or_default();
            if new > 0 {
                difference.0.insert(kind.clone(), new);
            }
        }
        difference
    }

    /// Returns the number of requests. Those for the Lease depend on the time alone, and don't count.
    pub(crate) fn total(&self) -> u64 {
        self.matching(|kind| !is_lease(kind))
    }

    /// Returns the number of requests that change something, except for the Lease.
    pub(crate) fn writes(&self) -> u64 {
        self.matching(|kind| {
            let verb = kind.split(' ').next().unwrap_or_default();
            !is_lease(kind) && ["create", "update", "patch", "delete"].contains(&verb)
        })
    }

    fn matching(&self, is_counted: impl Fn(&str) -> bool) -> u64 {
        let counted = self.0.iter().filter(|(kind, _)| is_counted(kind));
        counted.map(|(_, count)| count).sum()
    }

    /// Describes the requests, the most frequent first, divided by a number of objects.
    pub(crate) fn per_object(&self, objects: usize) -> String {
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let per_object = |count: u64| count as f64 / objects.max(1) as f64;
        let kinds = kinds.into_iter().filter(|(_, count)| per_object(**count) >= 0.01);
        let kinds = kinds.map(|(kind, count)| format!("{kind} {:.2}", per_object(*count)));
        kinds.collect::<Vec<_>>().join(", ")
    }
}

fn is_lease(kind: &str) -> bool {
    kind.ends_with(" leases")
}

/// Reader of an audit log that is being written.
#[derive(Debug)]
pub(crate) struct AuditLog {
    path: PathBuf,
    position: u64,
    requests: Requests,
    last_request: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    stage: &'a str,
    verb: &'a str,
    #[serde(borrow)]
    object_ref: Option<ObjectRef<'a>>,
    /// Contains escape sequences.
    #[serde(rename = "requestURI", borrow)]
    request_uri: Cow<'a, str>,
    stage_timestamp: DateTime<Utc>,
}

#[derive(Deserialize)]
struct ObjectRef<'a> {
    resource: Option<&'a str>,
    subresource: Option<&'a str>,
}

impl Event<'_> {
    fn kind(&self) -> String {
        let object = self.object_ref.as_ref();
        let Some(resource) = object.and_then(|object| object.resource) else {
            let path = self.request_uri.split('?').next().unwrap_or_default();
            return format!("{} {path}", self.verb);
        };
        match object.and_then(|object| object.subresource) {
            Some(subresource) => format!("{} {resource}/{subresource}", self.verb),
            None => format!("{} {resource}", self.verb),
        }
    }

    /// A watch counts when it starts, because it may not end.
    fn is_counted(&self) -> bool {
        let stage = if self.verb == "watch" { "ResponseStarted" } else { "ResponseComplete" };
        self.stage == stage
    }
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, position: 0, requests: Requests::default(), last_request: None }
    }

    /// Reads what was written since the last call, and returns all requests so far.
    pub(crate) fn read(&mut self) -> Result<&Requests> {
        // The file is missing until the first request.
        let Ok(mut file) = File::open(&self.path) else { return Ok(&self.requests) };
        file.seek(SeekFrom::Start(self.position))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in text[..complete].split(|byte| *byte == b'\n') {
            if !line.is_empty() {
                self.add(line)?;
            }
        }
        self.position += complete as u64;
        Ok(&self.requests)
    }

    fn add(&mut self, line: &[u8]) -> Result<()> {
        let event: Event<'_> =
            serde_json::from_slice(line).context("the audit log has an invalid line")?;
        if event.is_counted() {
            let kind = event.kind();
            if !is_lease(&kind) {
                self.last_request = self.last_request.max(Some(event.stage_timestamp));
            }
            self.requests.count(kind);
        }
        Ok(())
    }

    /// Returns when the last request that was read ended, except for the Lease.
    pub(crate) fn last_request(&self) -> Option<DateTime<Utc>> {
        self.last_request
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write as _};

    use super::*;

    fn line(stage: &str, verb: &str, resource: &str, second: u32) -> String {
        format!(
            "{{\"kind\":\"Event\",\"stage\":\"{stage}\",\"requestURI\":\"/api?a=1\\u0026b=2\",\"verb\":\"{verb}\",\
             \"objectRef\":{{\"resource\":\"{resource}\",\"apiVersion\":\"v1\"}},\
             \"stageTimestamp\":\"2026-11-30T00:00:{second:02}.000001Z\"}}\n"
        )
    }

    #[test]
    fn counts_what_is_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut log = AuditLog::new(path.clone());
        assert_eq!(log.read().unwrap().total(), 0);
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let update = line("ResponseComplete", "update", "leases", 9);
        let text = line("ResponseStarted", "watch", "secrets", 1)
            + &line("ResponseComplete", "watch", "secrets", 2)
            + &line("ResponseComplete", "create", "secrets", 3)
            + &update[..20];
        file.write_all(text.as_bytes()).unwrap();
        let earlier = log.read().unwrap().clone();
        assert_eq!((earlier.total(), earlier.writes()), (2, 1));
        file.write_all(&update.as_bytes()[20..]).unwrap();
        let new = log.read().unwrap().since(&earlier);
        assert_eq!((new.total(), new.per_object(1)), (0, "update leases 1.00".to_owned()));
        assert!(log.last_request().unwrap().to_rfc3339().contains(":03"));
    }
}
