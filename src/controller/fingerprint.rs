//! Fingerprints of facts that are not secret.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rotation::{Settled, Status};
use serde::Serialize;

/// Length of a fingerprint in bytes, before it is encoded.
const LENGTH: usize = 16;

/// Returns the fingerprint of facts, none of which may be secret.
pub(crate) fn fingerprint(facts: &impl Serialize) -> Option<String> {
    let text = serde_json::to_vec(facts).ok()?;
    let hash = digest(&SHA256, &text);
    hash.as_ref().get(..LENGTH).map(|start| BASE64_URL_SAFE_NO_PAD.encode(start))
}

/// Removes the marker of a status, unless the rest of the status is as it was when it was made.
pub(crate) fn check_settled(status: &mut Status) {
    let Some(settled) = status.settled.take() else { return };
    if fingerprint(status).as_ref() == Some(&settled.status) {
        status.settled = Some(settled);
    }
}

/// Adds a marker to a status.
pub(crate) fn set_settled(status: &mut Status, settled: Option<Settled>) {
    status.settled = None;
    let Some(mut settled) = settled else { return };
    let Some(fingerprint) = fingerprint(status) else { return };
    settled.status = fingerprint;
    status.settled = Some(Box::new(settled));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(status: Status) -> Status {
        let mut status = status;
        let settled = Settled {
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            until: None,
            target_version: "7".into(),
            facts: "facts".into(),
            status: String::new(),
        };
        set_settled(&mut status, Some(settled));
        status
    }

    /// Returns whether a marker survives a round trip through the API server and this change.
    fn survives(change: impl FnOnce(&mut Status)) -> bool {
        let status = settled(Status { current: Some(3), ..Status::default() });
        let text = serde_json::to_string(&status).unwrap();
        let mut status: Status = serde_json::from_str(&text).unwrap();
        change(&mut status);
        check_settled(&mut status);
        status.settled.is_some()
    }

    #[test]
    fn marker_belongs_to_one_status() {
        assert!(survives(|_| {}));
        assert!(!survives(|status| status.current = Some(4)));
        assert!(!survives(|status| status.last_handled_request = Some("rotate/1".into())));
        assert!(!survives(|status| status.next_rotation_time = Some(chrono::Utc::now())));
        assert!(!survives(|status| status.history.push(
            serde_json::from_value(serde_json::json!({
                "number": 2, "cause": "Request", "startedAt": "2026-01-01T00:00:00Z",
                "outcome": "Completed",
            }))
            .unwrap()
        )));
    }

    #[test]
    fn marker_is_replaced() {
        let mut status = settled(Status::default());
        set_settled(&mut status, None);
        assert_eq!(status, Status::default());
    }
}
