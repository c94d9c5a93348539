//! Finds out what was stored without the API server having written it down: it was killed before it
//! could, or who sent the write was, and didn't wait for the answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DynamicObject, ListParams};

use crate::arena::Arena;
use crate::audit::Written;
use crate::chaos::insist;
use crate::fleet::NAMESPACE;
use crate::stage::resources;

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long after it was stored a write is known at the latest.
const KNOWN_AFTER: Duration = Duration::from_millis(300);

/// Looks at everything that there is each time that something may be missing.
pub(crate) async fn run(arena: Arc<Arena>) -> Result<()> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if arena.watch.may_miss() {
            catch_up(&arena).await;
        }
    }
}

async fn catch_up(arena: &Arena) {
    let secrets: Api<Secret> = Api::namespaced(arena.client.clone(), NAMESPACE);
    let all: Api<DynamicObject> =
        Api::namespaced_with(arena.client.clone(), NAMESPACE, &resources());
    let list = ListParams::default();
    // The resources first: what is in a record was written into the Secret before.
    let all = insist(|| all.list(&list)).await;
    let secrets = insist(|| secrets.list(&list)).await;
    // By then it is known what was written meanwhile.
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
