//! The API server is restarted.

use std::sync::Arc;

use anyhow::Result;
use tokio::runtime::Handle;

use crate::arena::Arena;
use crate::plan::Restart;

pub(super) async fn carry_out(arena: Arc<Arena>, order: Restart) -> Result<()> {
    arena.control_plane.check()?;
    // What waits for the API server can't be sent from thread to thread.
    let now = Handle::current();
    tokio::task::block_in_place(|| now.block_on(restart(&arena, order)))?;
    arena.counts.restarts.up();
    Ok(())
}

async fn restart(arena: &Arena, order: Restart) -> Result<()> {
    let control_plane = &arena.control_plane;
    if order.kill {
        arena.watch.hold();
        control_plane.kill_apiserver().await?;
    } else {
        control_plane.stop_apiserver().await?;
    }
    tokio::time::sleep(order.down).await;
    control_plane.start_apiserver().await?;
    if order.kill {
        arena.watch.release();
    }
    Ok(())
}
