//! The end of the test: without faults, every client has to become idle.

use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::TimeDelta;
use kube::api::{Patch, PatchParams};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::{checker::Violation, context::Context};

/// Time in which every client has to become idle: a rotation, and the longest backoff.
const DEADLINE: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Ends all faults and schedules, and waits until every client is idle. Returns a violation for each
/// client that isn't.
pub(crate) async fn end_faults_and_wait(context: &Context) -> Result<Vec<Violation>> {
    context.simulator.faults().clear();
    context.api_proxy.set_clock_offsets(TimeDelta::zero());
    context.control_plane.start_apiserver().await?;
    tokio::task::block_in_place(|| context.operators.restart())?;
    let rotations = context.rotations();
    let suspend = Patch::Merge(json!({"spec": {"suspend": true}}));
    for client in context.clients() {
        rotations.patch(&client.name, &PatchParams::default(), &suspend).await?;
    }
    wait_until_idle(context).await
}

/// Waits until every client is idle. Returns a violation for each client that isn't in time.
pub(crate) async fn wait_until_idle(context: &Context) -> Result<Vec<Violation>> {
    let since = Instant::now();
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        context.operators.check()?;
        let violations = not_idle(context);
        if violations.is_empty() || since.elapsed() > DEADLINE {
            return Ok(violations);
        }
    }
}

fn not_idle(context: &Context) -> Vec<Violation> {
    let mut violations = Vec::new();
    for client in 0..context.clients().len() {
        if let Err(detail) = check_idle(context, client) {
            violations.push(Violation { invariant: "every client becomes idle", client, detail });
        }
    }
    violations
}

/// Checks that a client is idle, and that its Secret has only the value that Auth0 has and accepts.
fn check_idle(context: &Context, client: usize) -> Result<(), String> {
    context.checker.check_idle(client)?;
    let name = &context.clients()[client].name;
    let Some(list) = context.history.of(client).list() else { return Ok(()) };
    let [value] = &list[..] else { return Err(format!("the Secret has {} values", list.len())) };
    let at_auth0 = context.simulator.client_secret(name);
    if at_auth0.is_none_or(|at_auth0| at_auth0.expose_secret() != value.expose_secret()) {
        return Err("Auth0 has another value than the Secret".into());
    }
    if !context.simulator.accepts(name, value.expose_secret()) {
        return Err("Auth0 rejects the value of the Secret".into());
    }
    Ok(())
}
