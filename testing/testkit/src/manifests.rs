//! Manifests of this checkout.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize as _;
use serde_json::Value;

/// Returns the path of a file or directory of the checkout that this program was built from.
pub fn checkout_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// Reads all documents of a YAML file of the checkout, or of the YAML files of a directory in the
/// order of their names.
pub fn read(name: &str) -> Result<Vec<Value>> {
    let path = checkout_path(name);
    let mut files = vec![path.clone()];
    if path.is_dir() {
        let entries = fs::read_dir(&path)?.collect::<Result<Vec<_>, _>>()?;
        files = entries.into_iter().map(|entry| entry.path()).collect();
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut manifests = Vec::new();
    for file in files {
        let text =
            fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
        for document in serde_norway::Deserializer::from_str(&text) {
            let manifest = Value::deserialize(document);
            manifests.push(manifest.with_context(|| format!("can't parse {}", file.display()))?);
        }
    }
    Ok(manifests)
}

/// Parses all documents of a YAML text, except empty ones.
pub fn parse(text: &str) -> Result<Vec<Value>> {
    let mut manifests = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let manifest = Value::deserialize(document)?;
        if !manifest.is_null() {
            manifests.push(manifest);
        }
    }
    Ok(manifests)
}

/// Merges `overrides` into a JSON value. `null` removes a member of an object.
pub fn merge(into: &mut Value, overrides: Value) {
    match (into, overrides) {
        (Value::Object(into), Value::Object(overrides)) => {
            for (key, value) in overrides {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, overrides) => *into = overrides,
    }
}
