//! Priority at the API server for the response of `rotate-secret`.
//!
//! From Auth0's response until the target Secret is written, consumers have nothing that works for
//! long. Calls of other reconciles that have not started wait for that write, so that it does not
//! queue behind a burst of our own making.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// How long a call waits for urgent ones: the responses of one namespace must not stop the others.
const MAX_WAIT: Duration = Duration::from_secs(1);

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

    /// Waits until nothing urgent is in progress, at most for [`MAX_WAIT`].
    pub(crate) async fn wait_ordinary(&self) {
        let mut urgent = self.urgent.subscribe();
        // The only other error is a dropped sender, and this owns one.
        drop(timeout(MAX_WAIT, urgent.wait_for(|count| *count == 0)).await);
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

    #[tokio::test(start_paused = true)]
    async fn urgent_calls_without_end_delay_others_for_a_bounded_time() {
        let gate = PriorityGate::new();
        let _urgent = gate.enter_urgent();
        let started = tokio::time::Instant::now();
        gate.wait_ordinary().await;
        assert!(started.elapsed() <= MAX_WAIT + Duration::from_millis(1));
    }
}
