//! The operator is killed, and stopped while another one takes over.

use std::sync::Arc;

use anyhow::Result;

use crate::arena::Arena;
use crate::plan::ToOperator;

pub(super) async fn carry_out(arena: Arc<Arena>, order: ToOperator) -> Result<()> {
    let operators = &arena.operators;
    operators.check()?;
    match order {
        ToOperator::Kill { down } => {
            blocking(|| operators.kill());
            arena.counts.kills.up();
            tokio::time::sleep(down).await;
            blocking(|| operators.first())?;
        }
        ToOperator::Stop { after, stopped, beside, kill_second } => {
            operators.pause()?;
            arena.counts.stops.up();
            tokio::time::sleep(after.min(stopped)).await;
            blocking(|| operators.second())?;
            tokio::time::sleep(stopped.saturating_sub(after)).await;
            arena.watch.resumed();
            operators.go_on()?;
            // From here on both believe that they are the only one.
            tokio::time::sleep(beside).await;
            operators.check()?;
            blocking(|| operators.kill_one_of_two(kill_second));
            arena.counts.kills.up();
        }
    }
    Ok(())
}

/// Starting and ending a process takes some milliseconds.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}
