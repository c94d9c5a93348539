//! Polling with a deadline.

use std::time::{Duration, Instant};

/// Time in which what a test waits for has to happen.
pub const DEADLINE: Duration = Duration::from_secs(40);
const INTERVAL: Duration = Duration::from_millis(50);

/// Polls until `check` returns a value. Returns `None` after [`DEADLINE`].
pub async fn poll<T>(check: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    poll_within(DEADLINE, check).await
}

/// Polls until `check` returns a value. Returns `None` after `limit`.
pub async fn poll_within<T>(
    limit: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = check().await {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Polls until `check` returns true. Returns false after [`DEADLINE`].
pub async fn poll_until(mut check: impl AsyncFnMut() -> bool) -> bool {
    poll(async || check().await.then_some(())).await.is_some()
}
