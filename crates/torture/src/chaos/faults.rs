//! Auth0 fails.

use std::sync::Arc;

use anyhow::Result;
use auth0_simulator::{Action, Fault, InjectedFault, Operation};
use rotation::{Phase, Strategy};

use crate::arena::Arena;

/// How many faults may wait for a request that they are for.
const MOST: usize = 24;

pub(super) async fn carry_out(arena: Arc<Arena>, fault: Fault) -> Result<()> {
    let faults = arena.simulator.faults();
    forget_old_refusals(&arena);
    let fault = match fault.action {
        Action::InvalidBody => match refusal(&arena, fault) {
            Some(refusal) => refusal,
            None => return Ok(()),
        },
        _ => fault,
    };
    // Delays of the same call would add up to more than Auth0 takes.
    let is_delay = |fault: &Fault| matches!(fault.action, Action::Delay { .. });
    if is_delay(&fault) {
        for old in faults.list().iter().filter(|old| is_delay(&old.fault)) {
            if old.fault.on.operation == fault.on.operation {
                faults.remove(old.id);
            }
        }
    }
    // Faults that nothing was there for make room.
    let waiting: Vec<_> = faults.list().into_iter().filter(|old| !is_refusal(old)).collect();
    for old in waiting.iter().take((waiting.len() + 1).saturating_sub(MOST)) {
        faults.remove(old.id);
    }
    faults.inject(fault).map(drop).map_err(anyhow::Error::msg)
}

fn is_refusal(ordered: &InjectedFault) -> bool {
    ordered.fault.action == Action::InvalidBody
}

/// Auth0 refuses a value because of the value: each time that it is asked, and never after it has
/// taken it. So it is decided before it was ever asked, and comes before all other faults.
fn refusal(arena: &Arena, fault: Fault) -> Option<Fault> {
    let member = (0..arena.members().len()).find(|&member| is_staging(arena, member))?;
    let faults = arena.simulator.faults();
    for other in faults.list().iter().filter(|it| !is_refusal(it)) {
        if other.fault.on.operation == Some(Operation::UpdateClient) {
            faults.remove(other.id);
        }
    }
    Some(fault.client(&arena.members()[member].name).unlimited())
}

fn is_staging(arena: &Arena, member: usize) -> bool {
    let page = arena.book.page(member);
    page.status.rotation.as_ref().is_some_and(|rotation| {
        rotation.strategy == Strategy::Staged
            && rotation.phase == Phase::Staging
            && rotation.attempts == 0
            && !rotation.skip_staging
    })
}

/// The next value is another one, and is taken.
fn forget_old_refusals(arena: &Arena) {
    let faults = arena.simulator.faults();
    for refusal in faults.list().iter().filter(|it| is_refusal(it)) {
        let client = refusal.fault.on.client_id.as_deref();
        let member = client.and_then(|name| arena.book.find(name));
        let over = member.is_none_or(|member| {
            let page = arena.book.page(member);
            !page.status.rotation.as_ref().is_some_and(|rotation| {
                matches!(rotation.phase, Phase::Staging | Phase::Activating)
            })
        });
        if over {
            faults.remove(refusal.id);
        }
    }
}
