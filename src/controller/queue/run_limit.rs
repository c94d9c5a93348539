//! Bounds how many reconciles work at a time: use the CPU and call the API server.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits to work. A reconcile returns its permit while it waits for Auth0, so that tenants that
/// respond slowly do not keep others from working. Permits are granted in the order of arrival.
#[derive(Clone)]
pub(crate) struct RunLimit(Arc<Semaphore>);

/// The permit of one reconcile, which it may have returned for a while.
pub(crate) struct RunPermit {
    limit: RunLimit,
    permit: Option<OwnedSemaphorePermit>,
}

impl RunLimit {
    pub(crate) fn new(concurrency: u16) -> Self {
        Self(Arc::new(Semaphore::new(usize::from(concurrency.max(1)))))
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(&self) -> RunPermit {
        let mut permit = self.exempt();
        permit.resume().await;
        permit
    }

    /// Returns a permit that is not counted, for a reconcile that must not wait.
    pub(crate) fn exempt(&self) -> RunPermit {
        RunPermit { limit: self.clone(), permit: None }
    }
}

impl RunPermit {
    /// Waits for `call` without a permit, and then for a permit.
    pub(crate) async fn suspended<T>(&mut self, call: impl Future<Output = T>) -> T {
        self.suspend();
        let result = call.await;
        self.resume().await;
        result
    }

    /// Returns the permit.
    pub(crate) fn suspend(&mut self) {
        self.permit = None;
    }

    async fn resume(&mut self) {
        // The only error is a closed semaphore, which nothing closes.
        self.permit = Arc::clone(&self.limit.0).acquire_owned().await.ok();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn suspended_reconcile_leaves_its_permit_to_others() {
        let limit = RunLimit::new(1);
        let mut permit = limit.acquire().await;
        assert!(limit.acquire().now_or_never().is_none());
        let other = async { drop(limit.acquire().await) };
        permit.suspended(other).now_or_never().expect("both resume");
    }

    #[tokio::test]
    async fn exempt_reconcile_does_not_wait() {
        let limit = RunLimit::new(1);
        let _permit = limit.acquire().await;
        drop(limit.exempt());
    }
}
