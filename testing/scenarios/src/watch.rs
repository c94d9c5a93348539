//! Watches of Kubernetes objects.

use std::{fmt::Debug, pin::pin};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

/// Change of an object.
#[derive(Debug)]
pub enum Change<K> {
    Applied(K),
    Deleted(K),
}

/// Watches objects until the future is dropped. After an error the watch starts again with the
/// objects that exist then.
pub async fn watch_objects<K>(api: Api<K>, mut handle: impl FnMut(Change<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => handle(Change::Applied(object)),
            Ok(Event::Delete(object)) => handle(Change::Deleted(object)),
            Ok(Event::Init | Event::InitDone) | Err(_) => {}
        }
    }
}
