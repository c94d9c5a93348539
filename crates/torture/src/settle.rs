//! The end: nothing disturbs any more, and everything has to come to rest.

use std::time::{Duration, Instant};

use anyhow::Result;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::arena::Arena;
use crate::fleet::NAMESPACE;
use crate::stage::resources;
use crate::watch::Breach;

/// The longest that it may take: a rotation, and the longest pause after failures.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Ends all faults and starts no more rotations, then waits until everything rests. What doesn't
/// is a broken promise.
pub(crate) async fn settle(arena: &Arena) -> Result<Vec<Breach>> {
    arena.simulator.faults().clear();
    arena.control_plane.start_apiserver().await?;
    tokio::task::block_in_place(|| arena.operators.renew())?;
    let api: Api<DynamicObject> =
        Api::namespaced_with(arena.client.clone(), NAMESPACE, &resources());
    let suspend = Patch::Merge(json!({"spec": {"suspend": true}}));
    for member in arena.members() {
        api.patch(&member.name, &PatchParams::default(), &suspend).await?;
    }
    let since = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        arena.operators.check()?;
        let restless = restless(arena);
        if restless.is_empty() || since.elapsed() > DEADLINE {
            return Ok(restless);
        }
    }
}

fn restless(arena: &Arena) -> Vec<Breach> {
    let breach = |(member, detail)| Breach { promise: "everything comes to rest", member, detail };
    let members = 0..arena.members().len();
    members.filter_map(|member| Some((member, unrest(arena, member)?))).map(breach).collect()
}

/// What is not as it should be of a client, if anything.
fn unrest(arena: &Arena, member: usize) -> Option<String> {
    if let Err(detail) = arena.watch.rest(member) {
        return Some(detail);
    }
    let name = &arena.members()[member].name;
    let page = arena.book.page(member);
    let list = page.list()?;
    let shown = arena.simulator.client_secret(name);
    let [only] = &list[..] else { return Some(format!("the Secret has {} values", list.len())) };
    if shown.is_none_or(|shown| shown.expose_secret() != only.expose_secret()) {
        return Some("the Secret's value is not Auth0's".into());
    }
    if !arena.simulator.accepts(name, only.expose_secret()) {
        return Some("Auth0 doesn't accept the Secret's value".into());
    }
    None
}
