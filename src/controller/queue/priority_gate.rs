//! Priority at the API server for the response of `rotate-secret`.
//!
//! From Auth0's response until the target Secret is written, consumers have nothing that works for
//! long. Calls of other reconciles that have not started wait for that write, so that it does not
//! queue behind a burst of our own making.

use std::sync::Arc;

use tokio::sync::watch;

/// Lets urgent calls go before all others.
#[derive(Clone)]
pub(crate) struct PriorityGate {
    urgent: Arc<watch::Sender<usize>>,
}

/// Keeps the gate closed to other calls until it is dropped.
pub(crate) struct UrgentGuard(Arc<watch::Sender<usize>>);

impl PriorityGate {
    pub(crate) fn new() -> Self {
        Self { urgent: Arc::new(watch::Sender::new(0)) }
    }

    /// Closes the gate to other calls.
    pub(crate) fn enter_urgent(&self) -> UrgentGuard {
        self.urgent.send_modify(|count| *count += 1);
        UrgentGuard(self.urgent.clone())
    }

    /// Waits until nothing urgent is in progress. Urgent calls have deadlines, so this ends.
    pub(crate) async fn wait_ordinary(&self) {
        // The only error is a dropped sender, and this owns one.
        drop(self.urgent.subscribe().wait_for(|count| *count == 0).await);
    }
}

impl Drop for UrgentGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn ordinary_calls_wait_for_all_urgent_ones() {
        let gate = PriorityGate::new();
        assert!(gate.wait_ordinary().now_or_never().is_some());
        let (one, two) = (gate.enter_urgent(), gate.enter_urgent());
        assert!(gate.wait_ordinary().now_or_never().is_none());
        drop(one);
        assert!(gate.wait_ordinary().now_or_never().is_none());
        drop(two);
        assert!(gate.wait_ordinary().now_or_never().is_some());
    }
}
