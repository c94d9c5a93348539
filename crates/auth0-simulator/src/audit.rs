//! Audit log of the tenant: a bounded ring buffer with sequence numbers.
//!
//! It contains no secret and no token.

use std::{collections::VecDeque, time::SystemTime};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::operation::Operation;

/// Maximum length of text that the log copies from a request: ids, `Auth0-Client`, `User-Agent`.
const MAX_TEXT_LENGTH: usize = 1_024;

/// Kind of an audit entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditKind {
    /// A client received a token (`seccft` in Auth0's log).
    Login,
    /// A token request was rejected (`feccft`).
    FailedLogin,
    /// A revocation by an authenticated client.
    Revocation,
    /// A revocation by a client that could not be authenticated.
    FailedRevocation,
    /// A GET of the Management API whose response contained a client secret.
    MgmtApiRead,
    /// Any other successful call (2xx) of the Management API (`sapi`).
    ApiOperation,
    /// A rejected or failed call of the Management API (`fapi`).
    FailedApiOperation,
    /// A change at the dashboard, made through the library or the admin interface.
    Dashboard,
    /// A request to a path that Auth0 doesn't have.
    NotFound,
    /// A request that a fault ended before it reached the tenant.
    Faulted,
}

/// One entry of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Sequence number, from 1, without gaps.
    pub seq: u64,
    /// Time at which the response was ready: RFC 3339 in UTC with microseconds.
    pub time: String,
    /// Kind of the entry.
    pub kind: AuditKind,
    /// Operation that was requested.
    pub operation: Operation,
    /// Client that the request was about: the one in the path, or the one that logged in.
    pub client_id: Option<String>,
    /// Client that the bearer token was issued to.
    pub token_client_id: Option<String>,
    /// HTTP status of the response. `None` if the connection was cut.
    pub status: Option<u16>,
    /// `error` or `errorCode` of an error response.
    pub error: Option<String>,
    /// Whether the request changed something in the tenant.
    pub effect: bool,
    /// Whether the tenant's response contained a client secret, even if a fault removed it.
    pub shows_secret: bool,
    /// Names of the injected faults, joined by `+`.
    pub fault: Option<String>,
    /// The `Auth0-Client` header, decoded from base64 and JSON.
    pub auth0_client: Option<Value>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
}

impl AuditEntry {
    /// Creates an entry without details. The log sets the number and the time.
    pub(crate) fn new(kind: AuditKind, operation: Operation) -> Self {
        Self {
            seq: 0,
            time: String::new(),
            kind,
            operation,
            client_id: None,
            token_client_id: None,
            status: None,
            error: None,
            effect: false,
            shows_secret: false,
            fault: None,
            auth0_client: None,
            user_agent: None,
        }
    }
}

/// Ring buffer of audit entries.
pub(crate) struct AuditLog {
    entries: VecDeque<AuditEntry>,
    capacity: usize,
    last_seq: u64,
}

impl AuditLog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::new(), capacity: capacity.max(1), last_seq: 0 }
    }

    pub(crate) fn push(&mut self, mut entry: AuditEntry, now: SystemTime) {
        self.last_seq += 1;
        entry.seq = self.last_seq;
        entry.time = crate::clock::rfc3339(now);
        if self.entries.len() >= self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Returns the entries after number `since` that are still in the buffer, oldest first.
    pub(crate) fn since(&self, since: u64) -> impl Iterator<Item = &AuditEntry> {
        self.entries.iter().filter(move |entry| entry.seq > since)
    }

    /// Returns the number of the last entry, or 0 for an empty log.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }
}

/// Decodes an `Auth0-Client` header: base64 of `{"name","version","env"}`.
pub(crate) fn decode_auth0_client(header: &str) -> Option<Value> {
    if header.len() > MAX_TEXT_LENGTH {
        return None;
    }
    let bytes = STANDARD
        .decode(header)
        .or_else(|_| URL_SAFE_NO_PAD.decode(header.trim_end_matches('=')))
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Truncates text from a request to the length that the log keeps.
pub(crate) fn truncated(text: &str) -> String {
    text.chars().take(MAX_TEXT_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(capacity: usize, entries: usize) -> AuditLog {
        let mut log = AuditLog::new(capacity);
        for _ in 0..entries {
            let entry = AuditEntry::new(AuditKind::Login, Operation::Token);
            log.push(entry, SystemTime::UNIX_EPOCH);
        }
        log
    }

    #[test]
    fn numbering_continues_after_old_entries_are_evicted() {
        let log = log(3, 5);
        let numbers: Vec<u64> = log.since(0).map(|entry| entry.seq).collect();
        assert_eq!(numbers, [3, 4, 5]);
        assert_eq!(log.since(4).count(), 1);
        assert_eq!(log.since(5).count(), 0);
        assert_eq!(log.last_seq(), 5);
    }

    #[test]
    fn decodes_auth0_client_header_in_both_base64_alphabets() {
        let value = json!({"name": "auth0-rotator", "version": "0.1.0", "env": {"x": "ÿ?>"}});
        let text = value.to_string();
        assert_eq!(decode_auth0_client(&STANDARD.encode(&text)).as_ref(), Some(&value));
        assert_eq!(decode_auth0_client(&URL_SAFE_NO_PAD.encode(&text)).as_ref(), Some(&value));
        for bad in ["", "%%%", "bm90IGpzb24=", &"A".repeat(5_000)] {
            assert_eq!(decode_auth0_client(bad), None, "{bad}");
        }
    }
}
