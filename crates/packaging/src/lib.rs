//! What is installed, from one source.
//!
//! The source is the chart `charts/auth0-rotator`: its templates, and the schema of its values. From
//! the schema come `values.yaml` and the table in the chart's README; from the chart, rendered by
//! Helm, come the manifests in `deploy/`; the definitions in `crds/` are copied into the chart.
//! `make manifests` writes all of that anew, and a test tells when it is out of date.

mod deploy;
mod helm;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub use helm::Helm;

/// The chart, in the checkout.
pub const CHART: &str = "charts/auth0-rotator";

/// Files by their path in the checkout.
pub type Files = BTreeMap<PathBuf, String>;

/// The checkout that this was built from.
#[must_use]
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What is generated in the chart: its definitions, values and README.
///
/// # Errors
///
/// When a source can't be read.
pub fn chart_files(checkout: &Path) -> Result<Files> {
    let mut files = definitions(checkout)?;
    let chart = checkout.join(CHART);
    let schema = read(&chart.join("values.schema.json"))?;
    let schema = serde_norway::from_str(&schema).context("the schema of the values is no JSON")?;
    files.insert(Path::new(CHART).join("values.yaml"), values::yaml(&schema)?);
    let readme = read(&chart.join("README.md"))?;
    files.insert(Path::new(CHART).join("README.md"), values::readme(&readme, &schema)?);
    Ok(files)
}

/// What is generated from the chart as it is now: the manifests in `deploy/`.
///
/// # Errors
///
/// When Helm refuses the chart.
pub fn deploy_files(checkout: &Path, helm: &Helm) -> Result<Files> {
    deploy::manifests(checkout, helm)
}

/// The definitions, where the chart needs them: Helm reads nothing that is outside of it.
fn definitions(checkout: &Path) -> Result<Files> {
    let folder = checkout.join("crds");
    let wrong = || format!("can't read {}", folder.display());
    let mut files = Files::new();
    for entry in fs::read_dir(&folder).with_context(wrong)? {
        let path = entry.with_context(wrong)?.path();
        let name = path.file_name().unwrap_or_default();
        files.insert(Path::new(CHART).join("files/crds").join(name), read(&path)?);
    }
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}
