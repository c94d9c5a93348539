//! Bounds how much of one kind happens at a time in each namespace.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits per namespace: a namespace whose calls hang delays no other namespace.
pub(crate) struct NamespaceLimit {
    permits: usize,
    /// Of the namespaces in which something happens or waits.
    namespaces: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// A permit; dropping it returns it.
pub(crate) struct NamespacePermit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl NamespaceLimit {
    /// Returns a limit of `permits` for each namespace.
    pub(crate) fn new(permits: usize) -> Self {
        Self { permits, namespaces: Mutex::default() }
    }

    /// Waits for a permit of a namespace.
    pub(crate) async fn acquire(&self, namespace: &str) -> NamespacePermit {
        let semaphore = self.semaphore(namespace);
        // The only error is a closed semaphore, which nothing closes.
        NamespacePermit { _permit: semaphore.acquire_owned().await.ok() }
    }

    fn semaphore(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock();
        if let Some(known) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return known;
        }
        // A permit keeps its semaphore: the others are not used any more.
        namespaces.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(self.permits));
        namespaces.insert(namespace.to_owned(), Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn limits_each_namespace_on_its_own() {
        let limit = NamespaceLimit::new(2);
        let held = [limit.acquire("slow").await, limit.acquire("slow").await];
        assert!(limit.acquire("slow").now_or_never().is_none());
        assert!(limit.acquire("other").now_or_never().is_some());
        drop(held);
        assert!(limit.acquire("slow").now_or_never().is_some());
        assert!(limit.namespaces.lock().len() <= 2);
    }
}
