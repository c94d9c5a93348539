//! Sets request annotations.

use std::sync::Arc;

use anyhow::Result;
use auth0_rotator::api::REQUEST_ANNOTATION;
use chrono::Utc;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::retry;
use crate::{context::Context, fault_schedule::Request};

const INVALID: [&str; 5] = ["", "rotate", "rotate/", "dance/now", "/"];

pub(super) async fn inject(context: Arc<Context>, fault: Request) -> Result<()> {
    let Request { client, verb, number } = fault;
    let request = match verb {
        "invalid" => INVALID[usize::try_from(number)? % INVALID.len()].to_owned(),
        verb => format!("{verb}/{number}"),
    };
    {
        let mut history = context.history.of(client);
        // Another request could replace the revoke before it is handled, and it would never end.
        if history.is_revoking() {
            return Ok(());
        }
        history.record_event(Utc::now(), &format!("user: requests {request:?}"));
        if verb == "revoke" {
            history.begin_revocation(&request, Utc::now());
            context.counts.revocations.increment();
        }
    }
    context.counts.requests.increment();
    context.checker.record_request(client, &request);
    let rotations = context.rotations();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {REQUEST_ANNOTATION: request}}}));
    let name = &context.clients()[client].name;
    let params = PatchParams::default();
    retry(|| rotations.patch(name, &params, &patch)).await;
    Ok(())
}
