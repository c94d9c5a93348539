//! Executes the steps that concern consumers: restart workloads, read how far they are, and find Pods
//! that no update reaches.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rotation::{Phase, Rollout, RolloutState, UnreachedPods, must_restart};

use super::{
    pods,
    reconcile::Reconciliation,
    restarts,
    state::{RestartKey, RestartMade},
    taken_values::PublishedSecret,
    workloads::{self, Workloads},
};
use crate::{
    controller::{error::Error, server_time::now, state::AbortOnDrop},
    failpoint::failpoint,
};

/// How long workloads are watched at a time.
const ROLLOUT_WATCH_TIMEOUT: Duration = Duration::from_secs(1800);

fn workloads<'r>(reconciliation: &'r Reconciliation<'_>) -> Workloads<'r> {
    let context = &reconciliation.controller.context;
    let resource = &reconciliation.resource;
    Workloads {
        client: &context.client,
        namespace: &reconciliation.key.namespace,
        restart: &resource.spec.consumers.restart,
        is_enabled: context.settings.restarts,
        may_list_pods: context.settings.pod_detection,
        uid: &reconciliation.uid,
        secret: PublishedSecret::new(&resource.spec.target),
        others: restarts::others(&context.stores, resource, now()),
    }
}

/// Returns the values that workloads are restarted for now. Without a rotation, those of the last one.
pub(super) fn restart_key(reconciliation: &Reconciliation<'_>) -> Option<RestartKey> {
    let Some(rotation) = reconciliation.rotation() else {
        let number = reconciliation.status().current?;
        return Some(RestartKey { number, is_promoted: true });
    };
    let is_promoted = match rotation.phase {
        Phase::Staging => false,
        Phase::Confirming | Phase::Grace => true,
        Phase::Started | Phase::Activating | Phase::Withdrawing => return None,
    };
    Some(RestartKey { number: rotation.number, is_promoted })
}

/// Returns whether this process restarted the workloads for the values that are published now.
pub(super) fn is_attempted(reconciliation: &Reconciliation<'_>) -> bool {
    let key = restart_key(reconciliation);
    reconciliation.with_state(|state| {
        let made = state.restart.as_ref().map(|made| made.key);
        made.is_some() && made == key
    })
}

/// Restarts the workloads that have to be.
pub(super) async fn restart_workloads(
    reconciliation: &mut Reconciliation<'_>,
) -> Result<(), Error> {
    failpoint!("before-restart");
    let status = reconciliation.status().clone();
    let recorded = status.rotation.as_ref().filter(|rotation| rotation.restart_at.is_some());
    let (Some(rotation), Some(key)) = (recorded, restart_key(reconciliation)) else {
        return Err(Error::Conflict("no restart is recorded"));
    };
    let now = now();
    let params = reconciliation.policy(now).params().clone();
    let rollouts = reconciliation.readings.rollouts.take().unwrap_or_default();
    let names: Vec<String> = rollouts
        .into_iter()
        .filter(|rollout| must_restart(rotation, &rollout.state, now, &params))
        .map(|rollout| rollout.name)
        .collect();
    let fence = reconciliation.controller.context.fence();
    let rejections = workloads(reconciliation).restart(&names, &status, now, fence).await?;
    failpoint!("after-restart");
    reconciliation
        .with_state(|state| state.restart = Some(Box::new(RestartMade { key, rejections })));
    Ok(())
}

/// Reads how far the workloads are, and watches them until they are ready.
pub(super) async fn read_rollouts(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    let key = restart_key(reconciliation);
    let generation = reconciliation.resource.metadata.generation;
    let restart = &reconciliation.resource.spec.consumers.restart;
    if reconciliation.rotation().is_some()
        && reconciliation.with_state(|state| match (state.rolled_out, key) {
            // New Pods never become old ones.
            (Some(done), Some(key)) => done == (key, generation),
            _ => false,
        })
    {
        let complete = |reference| Rollout {
            name: workloads::describe(reference),
            state: RolloutState::Complete,
        };
        reconciliation.readings.rollouts = Some(restart.iter().map(complete).collect());
        return Ok(());
    }
    let rejections = reconciliation.with_state(|state| match (&state.restart, key) {
        (Some(made), Some(key)) if made.key == key => made.rejections.clone(),
        _ => BTreeMap::new(),
    });
    let status = reconciliation.status().clone();
    let rollouts = workloads(reconciliation).rollouts(&status, &rejections).await?;
    let is_complete = rollouts.iter().all(|rollout| rollout.state == RolloutState::Complete);
    let is_waiting = rollouts
        .iter()
        .any(|rollout| !matches!(rollout.state, RolloutState::Complete | RolloutState::Blocked(_)));
    reconciliation.readings.rollouts = Some(rollouts);
    let rolled_out = key.filter(|_| is_complete).map(|key| (key, generation));
    reconciliation.with_state(|state| state.rolled_out = rolled_out);
    if is_waiting && status.rotation.is_some() {
        watch_workloads(reconciliation);
    } else {
        reconciliation.with_state(|state| state.rollout_watch = None);
    }
    Ok(())
}

fn watch_workloads(reconciliation: &Reconciliation<'_>) {
    let context = &reconciliation.controller.context;
    let (client, trigger) = (context.client.clone(), context.trigger.clone());
    let states = Arc::clone(&reconciliation.controller.states);
    let (uid, key) = (reconciliation.uid.clone(), reconciliation.key.clone());
    let restart = reconciliation.resource.spec.consumers.restart.clone();
    let limit = Arc::clone(&reconciliation.controller.rollout_watches);
    reconciliation.with_state(|state| {
        if state.rollout_watch.as_ref().is_some_and(|watch| !watch.is_finished()) {
            return;
        }
        let namespace = key.namespace.clone();
        let changed = move || {
            states.with(&uid, |state| state.is_triggered = true);
            trigger.rotation(&key);
        };
        let watch = async move {
            let _permit = limit.acquire(&namespace).await;
            // Its first event is the present state, which may have changed while this waited.
            workloads::watch(client, namespace, restart, ROLLOUT_WATCH_TIMEOUT, changed).await;
        };
        state.rollout_watch = Some(AbortOnDrop::spawn(watch));
    });
}

/// Finds Pods that no update reaches.
pub(super) async fn find_unreached_pods(
    reconciliation: &mut Reconciliation<'_>,
) -> Result<(), Error> {
    let checked_at = now();
    if !reconciliation.controller.context.settings.pod_detection {
        reconciliation.readings.unreached_pods = UnreachedPods::Disabled;
    } else {
        let generation = reconciliation.resource.metadata.generation;
        let previous =
            reconciliation.with_state(|state| state.unreached_search.as_deref().cloned());
        let workloads = workloads(reconciliation);
        let lists = &reconciliation.controller.pod_lists;
        let search = pods::find_unreached(&workloads, lists, generation, previous).await?;
        reconciliation.readings.unreached_pods = search.found.clone();
        reconciliation.with_state(|state| state.unreached_search = Some(search.into()));
    }
    reconciliation.with_state(|state| state.consumers_checked_at = Some(checked_at));
    Ok(())
}
