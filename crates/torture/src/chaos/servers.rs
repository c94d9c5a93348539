//! The API server is restarted.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use tokio::runtime::Handle;

use super::insist;
use crate::arena::Arena;
use crate::audit::Written;
use crate::fleet::NAMESPACE;
use crate::plan::Restart;
use crate::stage::resources;

/// How long after it was stored a write is known at the latest.
const KNOWN_AFTER: Duration = Duration::from_millis(300);

pub(super) async fn carry_out(arena: Arc<Arena>, order: Restart) -> Result<()> {
    arena.control_plane.check()?;
    // What waits for the API server can't be sent from thread to thread.
    let now = Handle::current();
    tokio::task::block_in_place(|| now.block_on(restart(&arena, order)))?;
    arena.counts.restarts.up();
    Ok(())
}

async fn restart(arena: &Arena, order: Restart) -> Result<()> {
    let control_plane = &arena.control_plane;
    if order.kill {
        arena.watch.hold();
        control_plane.kill_apiserver().await?;
    } else {
        control_plane.stop_apiserver().await?;
    }
    tokio::time::sleep(order.down).await;
    control_plane.start_apiserver().await?;
    if order.kill {
        catch_up(arena).await;
    }
    Ok(())
}

/// Looks at everything that there is.
async fn catch_up(arena: &Arena) {
    let secrets: Api<Secret> = Api::namespaced(arena.client.clone(), NAMESPACE);
    let all: Api<DynamicObject> =
        Api::namespaced_with(arena.client.clone(), NAMESPACE, &resources());
    let list = ListParams::default();
    // The resources first: what is in a record was written into the Secret before.
    let all = insist(|| all.list(&list)).await;
    let secrets = insist(|| secrets.list(&list)).await;
    // By then it is known what was written since it is back.
    tokio::time::sleep(KNOWN_AFTER).await;
    arena.watch.catch_up(&arena.book, |at| {
        let found =
            |object: serde_json::Result<_>, is_secret| Written::found(at, &object.ok()?, is_secret);
        let secrets = secrets.items.iter().map(serde_json::to_value);
        let secrets = secrets.filter_map(|secret| found(secret, true));
        let all = all.items.iter().map(serde_json::to_value);
        secrets.chain(all.filter_map(|resource| found(resource, false))).collect()
    });
}
