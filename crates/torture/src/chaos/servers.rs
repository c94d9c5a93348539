//! The API server is restarted.

use anyhow::Result;

use crate::arena::Arena;
use crate::plan::Restart;

pub(super) async fn carry_out(arena: &Arena, order: Restart) -> Result<()> {
    let control_plane = &arena.control_plane;
    control_plane.check()?;
    if order.kill {
        control_plane.kill_apiserver().await?;
    } else {
        control_plane.stop_apiserver().await?;
    }
    arena.counts.restarts.up();
    tokio::time::sleep(order.down).await;
    Ok(control_plane.start_apiserver().await?)
}
