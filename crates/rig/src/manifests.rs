//! Manifests of the checkout.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize as _;
use serde_json::Value;

/// A folder or file of the checkout that this program was built from.
#[must_use]
pub fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// All documents of a YAML file, or of the YAML files of a folder in the order of their names.
///
/// # Errors
///
/// When a file can't be read or isn't YAML.
pub fn read(place: &Path) -> Result<Vec<Value>> {
    let wrong = || format!("can't read {}", place.display());
    let mut paths = if place.is_dir() {
        let entries = fs::read_dir(place).with_context(wrong)?;
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![place.to_owned()]
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let mut manifests = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(wrong)?;
        let documents = parse(&text);
        manifests.extend(documents.with_context(|| format!("can't parse {}", path.display()))?);
    }
    Ok(manifests)
}

fn parse(text: &str) -> Result<Vec<Value>> {
    serde_norway::Deserializer::from_str(text)
        .map(|document| Ok(Value::deserialize(document)?))
        .collect()
}
