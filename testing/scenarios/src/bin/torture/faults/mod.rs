//! Injects the faults of the schedule.

mod api_server;
mod auth0;
mod clock;
mod controller;
mod operator;
mod requests;
mod tamper;

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::{
    context::Context,
    fault_schedule::{FaultSchedule, Track},
};

/// Time in which a request of the test has to succeed.
const REQUEST_DEADLINE: Duration = Duration::from_secs(3);
const RETRY_INTERVAL: Duration = Duration::from_millis(300);

/// Starts all tracks. They end with the returned set. A track that ends by itself has failed.
pub(crate) fn start(context: &Arc<Context>, schedule: &FaultSchedule) -> JoinSet<Result<()>> {
    let mut tracks = JoinSet::new();
    tracks.spawn(follow(context.clone(), schedule.operator(), operator::inject));
    tracks.spawn(follow(context.clone(), schedule.api_server(), api_server::inject));
    tracks.spawn(follow(context.clone(), schedule.requests(), requests::inject));
    tracks.spawn(follow(context.clone(), schedule.tampering(), tamper::inject));
    tracks.spawn(follow(context.clone(), schedule.auth0(), auth0::inject));
    tracks.spawn(follow(context.clone(), schedule.fights(), controller::inject));
    tracks.spawn(follow(context.clone(), schedule.clock_jumps(), clock::inject));
    tracks
}

async fn follow<T, F>(
    context: Arc<Context>,
    track: Track<T>,
    inject: impl Fn(Arc<Context>, T) -> F + Send,
) -> Result<()>
where
    T: Send,
    F: Future<Output = Result<()>> + Send,
{
    for (delay, fault) in track {
        tokio::time::sleep(delay).await;
        inject(context.clone(), fault).await?;
    }
    Ok(())
}

/// Retries a request of the test until it succeeds, because the API server may be down.
pub(crate) async fn retry<T, E, F>(request: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, E>>,
{
    loop {
        if let Ok(Ok(response)) = tokio::time::timeout(REQUEST_DEADLINE, request()).await {
            return response;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}
