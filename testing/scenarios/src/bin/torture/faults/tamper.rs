//! Changes what only the operator should change.

use std::sync::Arc;

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::Utc;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::retry;
use crate::{
    context::Context,
    fault_schedule::{TamperAction, Tampering},
};

pub(super) async fn inject(context: Arc<Context>, fault: Option<Tampering>) -> Result<()> {
    let Some(Tampering { client, action }) = fault else { return Ok(()) };
    let params = PatchParams::default();
    let name = &context.clients()[client].name;
    let secret = context.clients()[client].secret();
    let (secrets, rotations) = (context.secrets(), context.rotations());
    match action {
        TamperAction::RotateInDashboard => {
            let event = "user: rotates in the dashboard";
            context.history.of(client).record_event(Utc::now(), event);
            context.simulator.dashboard_rotate(name)?;
            context.counts.dashboard_rotations.increment();
        }
        TamperAction::DeleteSecret => {
            let params = DeleteParams::default();
            retry(async || ignore_missing(secrets.delete(&secret, &params).await)).await;
            context.counts.deletions.increment();
        }
        TamperAction::EditSecret => {
            let value = STANDARD.encode("pasted by mistake");
            let list = STANDARD.encode("[\"pasted by mistake\"]");
            let data = json!({"data": {"client_secret": value, "client_secrets": list}});
            let edit = Patch::Merge(data);
            retry(async || ignore_missing(secrets.patch(&secret, &params, &edit).await)).await;
            context.counts.edits.increment();
        }
        TamperAction::RemoveStatus => {
            let removal = Patch::Merge(json!({"status": null}));
            retry(|| rotations.patch_status(name, &params, &removal)).await;
            context.counts.wipes.increment();
        }
    }
    Ok(())
}

/// Accepts that the Secret doesn't exist at the moment. The operator restores it anyway.
fn ignore_missing<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop),
    }
}
