//! Generated files, and writing them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Contents of generated files, keyed by path relative to the workspace root.
pub type GeneratedFiles = BTreeMap<PathBuf, String>;

/// Writes the files below `root`. Skips files that are up to date, which keeps their modification
/// time.
///
/// # Errors
///
/// When a file or its folder can't be written.
pub fn write_files(root: &Path, files: &GeneratedFiles) -> Result<()> {
    for (path, text) in files {
        let path = root.join(path);
        if fs::read_to_string(&path).is_ok_and(|present| present == *text) {
            continue;
        }
        let context = || format!("can't write {}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(context)?;
        }
        fs::write(&path, text).with_context(context)?;
    }
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

/// Replaces the text between two markers of a file.
pub(crate) fn replace_between(text: &str, begin: &str, end: &str, content: &str) -> Result<String> {
    let missing = || format!("the file lacks the markers {begin}{end}");
    let (before, rest) = text.split_once(begin).with_context(missing)?;
    let (_, after) = rest.split_once(end).with_context(missing)?;
    Ok(format!("{before}{begin}{content}\n{end}{after}"))
}
