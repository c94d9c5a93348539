//! In-memory state of one kind of object, by UID. Losing it costs a request or two, never a secret:
//! state that must not be lost is in the status and in the target Secret.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// The state of each object, by its UID. It is boxed because a map has room for up to twice its entries,
/// and for three times as many while it grows.
pub(crate) struct StateMap<S>(Mutex<HashMap<Box<str>, Box<S>>>);

impl<S> Default for StateMap<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Default> StateMap<S> {
    /// Reads or changes the state of an object, which begins as the default.
    pub(crate) fn with<T>(&self, uid: &str, access: impl FnOnce(&mut S) -> T) -> T {
        let mut states = self.0.lock();
        if let Some(state) = states.get_mut(uid) {
            return access(state);
        }
        access(states.entry(uid.into()).or_default())
    }

    /// Drops the state of an object that is gone.
    pub(crate) fn remove(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// Drops the state of all objects for which `exists` is false.
    pub(crate) fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.0.lock().retain(|uid, _| exists(uid));
    }

    /// Returns the UIDs of the objects whose state matches.
    pub(crate) fn uids_where(&self, matches: impl Fn(&S) -> bool) -> Vec<String> {
        let states = self.0.lock();
        states.iter().filter(|(_, state)| matches(state)).map(|(uid, _)| uid.to_string()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// A background task that is aborted when this is dropped.
pub(crate) struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
