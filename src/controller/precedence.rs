//! Who goes first at the API server: the answer of `rotate-secret`.
//!
//! From the moment Auth0 has answered until the target Secret is written, consumers have nothing
//! that works for long. Calls of other passes that have not begun wait for that write, so that it
//! doesn't queue behind a burst of our own making.

use std::sync::Arc;

use tokio::sync::watch;

/// Lets urgent calls go before ordinary ones.
#[derive(Clone)]
pub(crate) struct Precedence {
    urgent: Arc<watch::Sender<usize>>,
}

/// While this lives, ordinary calls don't begin.
pub(crate) struct Urgent(Arc<watch::Sender<usize>>);

impl Precedence {
    pub(crate) fn new() -> Precedence {
        Precedence { urgent: Arc::new(watch::Sender::new(0)) }
    }

    /// Begins something urgent.
    pub(crate) fn urgent(&self) -> Urgent {
        self.urgent.send_modify(|count| *count += 1);
        Urgent(self.urgent.clone())
    }

    /// Waits until nothing urgent is under way. What is urgent has a deadline, so has this.
    pub(crate) async fn ordinary(&self) {
        // An error would mean that there is no sender, and this has one.
        drop(self.urgent.subscribe().wait_for(|count| *count == 0).await);
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn ordinary_calls_wait_for_all_that_is_urgent() {
        let precedence = Precedence::new();
        assert!(precedence.ordinary().now_or_never().is_some());
        let (one, two) = (precedence.urgent(), precedence.urgent());
        assert!(precedence.ordinary().now_or_never().is_none());
        drop(one);
        assert!(precedence.ordinary().now_or_never().is_none());
        drop(two);
        assert!(precedence.ordinary().now_or_never().is_some());
    }
}
