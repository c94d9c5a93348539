//! Restarts the API server.

use std::sync::Arc;

use anyhow::Result;
use tokio::runtime::Handle;

use crate::{context::Context, fault_schedule::ApiServerRestart};

pub(super) async fn inject(context: Arc<Context>, fault: ApiServerRestart) -> Result<()> {
    context.control_plane.check()?;
    // The future that waits for the API server is not Send.
    let runtime = Handle::current();
    tokio::task::block_in_place(|| runtime.block_on(restart(&context, fault)))?;
    context.counts.api_server_restarts.increment();
    Ok(())
}

async fn restart(context: &Context, fault: ApiServerRestart) -> Result<()> {
    let control_plane = &context.control_plane;
    if fault.kill {
        context.checker.record_api_server_kill();
        control_plane.kill_apiserver().await?;
    } else {
        control_plane.stop_apiserver().await?;
    }
    tokio::time::sleep(fault.down).await;
    control_plane.start_apiserver().await?;
    if fault.kill {
        context.checker.record_api_server_start();
    }
    Ok(())
}
