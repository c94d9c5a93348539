//! The list of a mounted Secret, read again when it changes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use secrecy::{ExposeSecret as _, SecretString};

/// Why a list can't be used. It says nothing of what the file has: that is secret.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("client_secrets: {0}")]
    Unreadable(#[from] io::Error),
    #[error("client_secrets is not a JSON list of one or more secrets")]
    NoList,
}

/// The values to try, in their order.
pub struct Secrets {
    path: PathBuf,
    list: RwLock<Arc<[SecretString]>>,
    /// Held while the file is read, so that an older reading never replaces a newer one.
    reading: Mutex<()>,
    changed: fn(usize),
}

impl Secrets {
    /// Reads `client_secrets` in `folder`. `changed` is told the length of each new list.
    pub fn read(folder: &Path, changed: fn(usize)) -> Result<Self, Unusable> {
        let secrets = Self {
            path: folder.join("client_secrets"),
            list: RwLock::default(),
            reading: Mutex::default(),
            changed,
        };
        secrets.refresh()?;
        Ok(secrets)
    }

    /// What was read last.
    pub fn list(&self) -> Arc<[SecretString]> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the list anew. What can't be read leaves it as it was.
    pub fn refresh(&self) -> Result<(), Unusable> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let new = parse(&fs::read(&self.path)?)?;
        if !new
            .iter()
            .map(|it| it.expose_secret())
            .eq(self.list().iter().map(|it| it.expose_secret()))
        {
            (self.changed)(new.len());
            *self.list.write().unwrap_or_else(PoisonError::into_inner) = new.into();
        }
        Ok(())
    }

    pub fn refresh_or_complain(&self) {
        if let Err(error) = self.refresh() {
            eprintln!("consumer: the list stays as it was: {error}");
        }
    }

    /// Refreshes the list when the folder changes, until the returned watcher is dropped. The folder
    /// is watched, not the file: the kubelet replaces the link `..data` in it.
    pub fn watch(self: &Arc<Self>) -> notify::Result<RecommendedWatcher> {
        let secrets = Arc::clone(self);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // That a file is read is told, too; after an error, events may have been lost.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                secrets.refresh_or_complain();
            }
        })?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        // What changed before it was watched.
        self.refresh_or_complain();
        Ok(watcher)
    }
}

fn parse(text: &[u8]) -> Result<Vec<SecretString>, Unusable> {
    // serde_json's message would quote the text.
    let values: Vec<String> = serde_json::from_slice(text).map_err(|_| Unusable::NoList)?;
    if values.is_empty() || values.iter().any(String::is_empty) {
        return Err(Unusable::NoList);
    }
    Ok(values.into_iter().map(SecretString::from).collect())
}
