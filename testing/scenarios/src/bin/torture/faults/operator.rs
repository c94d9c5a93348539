//! Kills the operator, or pauses it while another process takes over.

use std::sync::Arc;

use anyhow::Result;
use tokio::task::block_in_place;

use crate::{context::Context, fault_schedule::OperatorFault};

pub(super) async fn inject(context: Arc<Context>, fault: OperatorFault) -> Result<()> {
    let operators = &context.operators;
    operators.check()?;
    match fault {
        OperatorFault::Kill { down } => {
            block_in_place(|| operators.kill_first());
            context.counts.kills.increment();
            tokio::time::sleep(down).await;
            block_in_place(|| operators.ensure_first())?;
        }
        OperatorFault::Pause { takeover_after, paused, overlap, kill_second } => {
            operators.pause_first()?;
            context.counts.pauses.increment();
            tokio::time::sleep(takeover_after.min(paused)).await;
            block_in_place(|| operators.start_second())?;
            tokio::time::sleep(paused.saturating_sub(takeover_after)).await;
            context.checker.record_resume();
            operators.resume_first()?;
            // From here on, each process acts as if it were the only one.
            tokio::time::sleep(overlap).await;
            operators.check()?;
            block_in_place(|| operators.kill_one_of_two(kill_second));
            context.counts.kills.increment();
        }
    }
    Ok(())
}
