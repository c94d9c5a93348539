//! `crds/`: the CRDs, generated from the Rust types.

use std::path::Path;

use anyhow::{Context as _, Result};
use auth0_rotator::api::crds_yaml;

use crate::GeneratedFiles;

/// Generates `crds/*.yaml`.
///
/// # Errors
///
/// When a CRD can't be serialized as YAML.
pub fn crd_files() -> Result<GeneratedFiles> {
    let crds = crds_yaml().context("can't serialize a CRD as YAML")?;
    Ok(crds.into_iter().map(|(name, text)| (Path::new("crds").join(name), text)).collect())
}
