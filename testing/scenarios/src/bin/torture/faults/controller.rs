//! Fights with the operator as another controller does: it rewrites a target Secret whenever the
//! operator has repaired it.

use std::{sync::Arc, time::Instant};

use anyhow::Result;
use auth0_rotator::api::MANAGED_LABEL;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::REQUEST_DEADLINE;
use crate::{
    context::Context,
    fault_schedule::{Fight, Rewrite},
};

const FIELD_MANAGER: &str = "rewriting-controller";

pub(super) async fn inject(context: Arc<Context>, fight: Fight) -> Result<()> {
    let name = context.clients()[fight.client].secret();
    let secrets = context.secrets();
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
    let rewrite = match fight.rewrite {
        Rewrite::Labels => json!({"metadata": {"labels": {
            MANAGED_LABEL: null,
            "app.kubernetes.io/managed-by": FIELD_MANAGER,
        }}}),
        Rewrite::Values => json!({"data": {"client_secret": STANDARD.encode("rewritten")}}),
    };
    let rewrite = Patch::Merge(rewrite);
    context.counts.fights.increment();
    let since = Instant::now();
    while since.elapsed() < fight.duration {
        // The API server may be down, and the Secret may be deleted: the controller tries again.
        let patch = secrets.patch(&name, &params, &rewrite);
        let _ = tokio::time::timeout(REQUEST_DEADLINE, patch).await;
        tokio::time::sleep(fight.interval).await;
    }
    Ok(())
}
