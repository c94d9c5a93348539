//! Carries out the orders of the plan.

mod faults;
mod meddler;
mod operator;
mod requests;
mod servers;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use crate::arena::Arena;
use crate::plan::{Plan, Track};

/// The longest that one write of ours may take.
const WRITE_DEADLINE: Duration = Duration::from_secs(3);
/// Between a write of ours that failed and the next try.
const AGAIN: Duration = Duration::from_millis(300);
/// Starts all tracks. They end with the returned set; one that ends by itself has failed.
pub(crate) fn start(arena: &Arc<Arena>, plan: &Plan) -> JoinSet<Result<()>> {
    let mut tracks = JoinSet::new();
    tracks.spawn(follow(arena.clone(), plan.operator(), operator::carry_out));
    tracks.spawn(follow(arena.clone(), plan.server(), servers::carry_out));
    tracks.spawn(follow(arena.clone(), plan.requests(), requests::carry_out));
    tracks.spawn(follow(arena.clone(), plan.meddling(), meddler::carry_out));
    tracks.spawn(follow(arena.clone(), plan.faults(), faults::carry_out));
    tracks
}

async fn follow<T, F>(
    arena: Arc<Arena>,
    track: Track<T>,
    carry_out: impl Fn(Arc<Arena>, T) -> F + Send,
) -> Result<()>
where
    T: Send,
    F: Future<Output = Result<()>> + Send,
{
    for (after, order) in track {
        tokio::time::sleep(after).await;
        carry_out(arena.clone(), order).await?;
    }
    Ok(())
}

/// Repeats a write of ours until it is taken: the API server may be away.
pub(crate) async fn insist<T, E, F>(write: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, E>>,
{
    loop {
        if let Ok(Ok(written)) = tokio::time::timeout(WRITE_DEADLINE, write()).await {
            return written;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
