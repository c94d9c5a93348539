//! Sets the clock of an API server wrong, for a while.

use std::sync::Arc;

use anyhow::Result;
use chrono::TimeDelta;

use crate::{context::Context, fault_schedule::ClockJump};

pub(super) async fn inject(context: Arc<Context>, jump: ClockJump) -> Result<()> {
    context.api_proxy.set_clock_offset(jump.server, jump.ahead);
    context.counts.clock_jumps.increment();
    tokio::time::sleep(jump.duration).await;
    context.api_proxy.set_clock_offset(jump.server, TimeDelta::zero());
    Ok(())
}
