//! What happened, as the tenant's log would tell it: a bounded ring with sequence numbers.
//!
//! It holds no secret and no token.

use std::collections::VecDeque;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::operation::Operation;

/// The longest text of a request that is kept: ids, `Auth0-Client`, `User-Agent`.
const LONGEST: usize = 1_024;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditKind {
    /// A client was given a token (`seccft` in Auth0's log).
    Login,
    /// A token was refused (`feccft`).
    FailedLogin,
    /// A revocation by a client that proved itself.
    Revocation,
    /// A revocation by one that did not.
    FailedRevocation,
    /// A GET of the Management API whose answer held a client secret.
    MgmtApiRead,
    /// Any other call of the Management API that was answered 2xx (`sapi`).
    ApiOperation,
    /// A call of the Management API that was refused or went wrong (`fapi`).
    FailedApiOperation,
    /// A change made at the dashboard, through the library or the admin interface.
    Dashboard,
    /// A path that Auth0 doesn't have.
    NotFound,
    /// A request that a fault ended before the tenant looked at it.
    Faulted,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// When the answer was ready, RFC 3339 with microseconds, UTC.
    pub time: String,
    /// Its kind.
    pub kind: AuditKind,
    /// The operation.
    pub operation: Operation,
    /// The client the request was about: the one in the path, or the one that logged in.
    pub client_id: Option<String>,
    /// The client that the bearer token was minted for.
    pub token_client_id: Option<String>,
    /// The HTTP status that was sent; `None` when the connection was cut.
    pub status: Option<u16>,
    /// `error` or `errorCode` of a refusal.
    pub error: Option<String>,
    /// Whether something changed at the tenant.
    pub effect: bool,
    /// Whether the tenant's answer held a client secret, even if a fault kept it back.
    pub shows_secret: bool,
    /// The faults that struck, joined by `+`.
    pub fault: Option<String>,
    /// The `Auth0-Client` header, decoded from base64 and JSON.
    pub auth0_client: Option<Value>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
}

impl AuditEntry {
    /// An entry about which nothing more is known; number and time are filled in by the log.
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

/// The ring.
pub(crate) struct AuditLog {
    entries: VecDeque<AuditEntry>,
    capacity: usize,
    last: u64,
}

impl AuditLog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::new(), capacity: capacity.max(1), last: 0 }
    }

    pub(crate) fn push(&mut self, mut entry: AuditEntry, now: SystemTime) {
        self.last += 1;
        entry.seq = self.last;
        entry.time = crate::clock::rfc3339(now);
        if self.entries.len() >= self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The entries after number `since` that are still in the ring, oldest first.
    pub(crate) fn since(&self, since: u64) -> impl Iterator<Item = &AuditEntry> {
        self.entries.iter().filter(move |entry| entry.seq > since)
    }

    /// The number of the last entry.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }
}

/// Decodes an `Auth0-Client` header: base64 of `{"name","version","env"}`.
pub(crate) fn decode_auth0_client(header: &str) -> Option<Value> {
    if header.len() > LONGEST {
        return None;
    }
    let bytes = STANDARD
        .decode(header)
        .or_else(|_| URL_SAFE_NO_PAD.decode(header.trim_end_matches('=')))
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// What a request said as it is kept: cut to a bounded length.
pub(crate) fn bounded(text: &str) -> String {
    text.chars().take(LONGEST).collect()
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
    fn numbers_go_on_when_old_entries_make_room() {
        let log = log(3, 5);
        let numbers: Vec<u64> = log.since(0).map(|entry| entry.seq).collect();
        assert_eq!(numbers, [3, 4, 5]);
        assert_eq!(log.since(4).count(), 1);
        assert_eq!(log.since(5).count(), 0);
        assert_eq!(log.last(), 5);
    }

    #[test]
    fn the_auth0_client_header_is_decoded_in_either_alphabet() {
        let value = json!({"name": "auth0-rotator", "version": "0.1.0", "env": {"x": "ÿ?>"}});
        let text = value.to_string();
        assert_eq!(decode_auth0_client(&STANDARD.encode(&text)).as_ref(), Some(&value));
        assert_eq!(decode_auth0_client(&URL_SAFE_NO_PAD.encode(&text)).as_ref(), Some(&value));
        for bad in ["", "%%%", "bm90IGpzb24=", &"A".repeat(5_000)] {
            assert_eq!(decode_auth0_client(bad), None, "{bad}");
        }
    }
}
