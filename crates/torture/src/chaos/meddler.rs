//! People who do what they should not.

use std::sync::Arc;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::json;

use super::insist;
use crate::arena::Arena;
use crate::fleet::NAMESPACE;
use crate::plan::Meddling;
use crate::stage::resources;

pub(super) async fn carry_out(arena: Arc<Arena>, order: Option<Meddling>) -> Result<()> {
    let Some(order) = order else { return Ok(()) };
    let secrets: Api<Secret> = Api::namespaced(arena.client.clone(), NAMESPACE);
    let params = PatchParams::default();
    match order {
        Meddling::Dashboard(member) => {
            arena.book.page(member).note(Utc::now(), "somebody: rotates in the dashboard");
            arena.simulator.dashboard_rotate(&arena.members()[member].name)?;
            arena.counts.dashboard.up();
        }
        Meddling::Delete(member) => {
            let name = arena.members()[member].secret();
            let delete = DeleteParams::default();
            insist(|| async { unless_gone(secrets.delete(&name, &delete).await) }).await;
            arena.counts.deletions.up();
        }
        Meddling::Edit(member) => {
            let name = arena.members()[member].secret();
            let junk = STANDARD.encode("pasted by mistake");
            let list = STANDARD.encode("[\"pasted by mistake\"]");
            let edit = json!({"data": {"client_secret": junk, "client_secrets": list}});
            let edit = Patch::Merge(edit);
            insist(|| async { unless_gone(secrets.patch(&name, &params, &edit).await) }).await;
            arena.counts.edits.up();
        }
        Meddling::Wipe(member) => {
            let name = &arena.members()[member].name;
            let api: Api<DynamicObject> =
                Api::namespaced_with(arena.client.clone(), NAMESPACE, &resources());
            let nothing = Patch::Merge(json!({"status": null}));
            insist(|| api.patch_status(name, &params, &nothing)).await;
            arena.counts.wipes.up();
        }
    }
    Ok(())
}

/// Somebody else was faster, and it will be put right all the same.
fn unless_gone<T>(done: kube::Result<T>) -> kube::Result<()> {
    match done {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        done => done.map(drop),
    }
}
