//! Injects faults of Auth0.

use std::sync::Arc;

use anyhow::Result;
use auth0_simulator::{Action, Fault, InjectedFault, Operation};
use rotation::{Phase, Strategy};
use testkit::status::phase;

use crate::{context::Context, fault_schedule::Auth0Fault};

/// Number of faults that may wait for a matching request.
const MAX_PENDING: usize = 24;

pub(super) async fn inject(context: Arc<Context>, fault: Auth0Fault) -> Result<()> {
    let faults = context.simulator.faults();
    remove_old_rejections(&context);
    let fault = match fault {
        Auth0Fault::Injected(fault) => fault,
        Auth0Fault::LostThenRejected => return lose_then_reject(&context),
    };
    let fault = match fault.action {
        Action::InvalidBody => match rejection(&context, fault) {
            Some(rejection) => rejection,
            None => return Ok(()),
        },
        _ => fault,
    };
    if is_delay(&fault) {
        // Delays of the same operation would add up to more than Auth0 ever takes.
        for old in faults.list() {
            if is_delay(&old.fault) && old.fault.on.operation == fault.on.operation {
                faults.remove(old.id);
            }
        }
    }
    // The oldest faults without a matching request make room.
    let mut pending = faults.list();
    pending.retain(|pending| !is_rejection(pending));
    let surplus = (pending.len() + 1).saturating_sub(MAX_PENDING);
    for old in pending.iter().take(surplus) {
        faults.remove(old.id);
    }
    faults.inject(fault).map(drop).map_err(anyhow::Error::msg)
}

fn is_delay(fault: &Fault) -> bool {
    matches!(fault.action, Action::Delay { .. })
}

fn is_rejection(ordered: &InjectedFault) -> bool {
    ordered.fault.action == Action::InvalidBody
}

/// Returns a fault that rejects the next value of a client.
///
/// Auth0 rejects a value because of the value: each time, and never after it has accepted it.
/// Therefore the rejection begins before the value is sent for the first time, and takes precedence
/// over all other faults of the operation.
fn rejection(context: &Context, fault: Fault) -> Option<Fault> {
    let client = client_with_unsent_value(context)?;
    let faults = context.simulator.faults();
    for other in faults.list() {
        if !is_rejection(&other) && other.fault.on.operation == Some(Operation::UpdateClient) {
            faults.remove(other.id);
        }
    }
    Some(fault.client(&context.clients()[client].name).unlimited())
}

/// Loses the response to a client's next value, and rejects one retry, as a proxy in front of Auth0
/// may do.
fn lose_then_reject(context: &Context) -> Result<()> {
    let Some(client) = client_with_unsent_value(context) else { return Ok(()) };
    let name = &context.clients()[client].name;
    for fault in [Fault::cut_after(), Fault::new(Action::InvalidBody)] {
        let fault = fault.on(Operation::UpdateClient).client(name);
        context.simulator.faults().inject(fault).map_err(anyhow::Error::msg)?;
    }
    context.counts.lost_then_rejected.increment();
    Ok(())
}

fn client_with_unsent_value(context: &Context) -> Option<usize> {
    let mut clients = 0..context.clients().len();
    clients.find(|client| has_unsent_value(context, *client))
}

fn has_unsent_value(context: &Context, client: usize) -> bool {
    let history = context.history.of(client);
    history.status.rotation.as_ref().is_some_and(|rotation| {
        rotation.strategy == Strategy::Staged
            && rotation.phase == Phase::Staging
            && rotation.attempts == 0
            && !rotation.skip_staging
    })
}

/// Removes the rejections of rotations that have ended, because Auth0 accepts the next value.
fn remove_old_rejections(context: &Context) {
    let faults = context.simulator.faults();
    for rejection in faults.list() {
        if !is_rejection(&rejection) {
            continue;
        }
        let client_id = rejection.fault.on.client_id.as_deref();
        let client = client_id.and_then(|client_id| context.history.find(client_id));
        let phase = client.and_then(|client| phase(&context.history.of(client).status));
        if !matches!(phase, Some(Phase::Staging | Phase::Activating)) {
            faults.remove(rejection.id);
        }
    }
}
