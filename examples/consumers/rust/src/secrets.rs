//! List of client secrets in a mounted Secret, kept up to date.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use secrecy::{ExposeSecret as _, SecretString};

/// Why there is no valid list. The error omits the content of the file, which may contain secrets.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("client_secrets: {0}")]
    Io(#[from] io::Error),
    #[error("client_secrets is not a JSON array of one or more secrets")]
    Invalid,
}

/// The list of client secrets, in the order in which to try them.
pub struct Secrets {
    path: PathBuf,
    list: RwLock<Arc<[SecretString]>>,
    /// Locked while the file is read, so that an older version never replaces a newer one.
    refreshing: Mutex<()>,
    on_change: fn(usize),
}

impl Secrets {
    /// Reads the file `client_secrets` in the directory of a mounted Secret. `on_change` is called
    /// with the length of each new list, including the first.
    pub fn load(directory: &Path, on_change: fn(usize)) -> Result<Self, ListError> {
        let secrets = Self {
            path: directory.join("client_secrets"),
            list: RwLock::default(),
            refreshing: Mutex::default(),
            on_change,
        };
        secrets.refresh()?;
        Ok(secrets)
    }

    /// Returns the list that was read last.
    pub fn list(&self) -> Arc<[SecretString]> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the list again. If it returns an error, it keeps the previous list.
    pub fn refresh(&self) -> Result<(), ListError> {
        let _refreshing = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let new = parse_list(&fs::read(&self.path)?)?;
        if !has_same_values(&new, &self.list()) {
            (self.on_change)(new.len());
            *self.list.write().unwrap_or_else(PoisonError::into_inner) = new.into();
        }
        Ok(())
    }

    pub fn refresh_or_log(&self) {
        if let Err(error) = self.refresh() {
            eprintln!("consumer: keeping the previous list: {error}");
        }
    }

    /// Refreshes the list whenever the directory changes, until the returned watcher is dropped.
    /// Watches the directory, not the file, because the kubelet replaces the symbolic link `..data`
    /// in it.
    pub fn watch(self: &Arc<Self>) -> notify::Result<RecommendedWatcher> {
        let secrets = Arc::clone(self);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            match event {
                // Reading a file causes events too, but changes nothing.
                Ok(Event { kind: EventKind::Access(_), .. }) => {}
                // After an error, events may have been lost.
                Ok(_) | Err(_) => secrets.refresh_or_log(),
            }
        })?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        // The file may have changed before the watch started.
        self.refresh_or_log();
        Ok(watcher)
    }
}

fn parse_list(text: &[u8]) -> Result<Vec<SecretString>, ListError> {
    // The error of serde_json is dropped, because it would quote the text.
    let values: Vec<String> = serde_json::from_slice(text).map_err(|_| ListError::Invalid)?;
    if values.is_empty() || values.iter().any(String::is_empty) {
        return Err(ListError::Invalid);
    }
    Ok(values.into_iter().map(SecretString::from).collect())
}

fn has_same_values(a: &[SecretString], b: &[SecretString]) -> bool {
    a.iter().map(|secret| secret.expose_secret()).eq(b.iter().map(|secret| secret.expose_secret()))
}
