//! People ask for rotations, and for other things.

use std::sync::Arc;

use anyhow::Result;
use chrono::Utc;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::json;

use super::insist;
use crate::arena::Arena;
use crate::fleet::NAMESPACE;
use crate::plan::Ask;
use crate::stage::resources;

const ANNOTATION: &str = "auth0-rotator.dev/request";
const JUNK: [&str; 5] = ["", "rotate", "rotate/", "dance/now", "/"];

pub(super) async fn carry_out(arena: Arc<Arena>, order: Ask) -> Result<()> {
    let Ask { member, verb, text } = order;
    let request = match verb {
        "junk" => JUNK[usize::try_from(text)? % JUNK.len()].to_owned(),
        verb => format!("{verb}/{text}"),
    };
    {
        let mut page = arena.book.page(member);
        // Another request would take its place before it is seen, and it would never be over.
        if page.is_revoking() {
            return Ok(());
        }
        page.note(Utc::now(), &format!("somebody: requests {request:?}"));
        if verb == "revoke" {
            page.revoke(&request, Utc::now());
            arena.counts.revocations.up();
        }
    }
    arena.counts.requests.up();
    arena.watch.requested(member, &request);
    let api: Api<DynamicObject> =
        Api::namespaced_with(arena.client.clone(), NAMESPACE, &resources());
    let patch = Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION: request}}}));
    let name = &arena.members()[member].name;
    let params = PatchParams::default();
    insist(|| api.patch(name, &params, &patch)).await;
    Ok(())
}
