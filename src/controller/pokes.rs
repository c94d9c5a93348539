//! Reasons to look at a resource that no watch tells of.

use futures::channel::mpsc;
use kube::runtime::reflector::ObjectRef;

use super::cache::Guarded;

/// Puts resources into the queue of their scope.
#[derive(Clone)]
pub(super) struct Pokes {
    /// The queue of each namespace; of all when there is no name.
    queues: Vec<(Option<String>, mpsc::Sender<ObjectRef<Guarded>>)>,
}

impl Pokes {
    pub(super) fn new(queues: Vec<(Option<String>, mpsc::Sender<ObjectRef<Guarded>>)>) -> Pokes {
        Pokes { queues }
    }

    /// Has a resource looked at. Each poke has a sender of its own, and so its own room in the
    /// queue: none is lost. Their number is bounded by that of the resources: the queue's reader
    /// keeps each name once.
    pub(super) fn poke(&self, namespace: &str, name: &str) {
        let has = |scope: &Option<String>| scope.as_deref().is_none_or(|scope| scope == namespace);
        if let Some((_, queue)) = self.queues.iter().find(|(scope, _)| has(scope)) {
            let reference = ObjectRef::new(name).within(namespace);
            drop(queue.clone().try_send(reference));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn no_poke_is_lost() {
        let (to, queue) = mpsc::channel(1);
        let pokes = Pokes::new(vec![(None, to)]);
        for number in 0..100 {
            pokes.poke("shop", &number.to_string());
        }
        drop(pokes);
        assert_eq!(queue.count().await, 100);
    }
}
