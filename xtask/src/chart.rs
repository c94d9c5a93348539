//! Generated files of the chart: CRDs, `values.yaml` and the values table in the README.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{GeneratedFiles, chart_values, files::read};

/// Folder of the chart, relative to the workspace root.
pub const CHART_DIR: &str = "charts/auth0-rotator";

/// Generates the chart's CRDs, `values.yaml` and README.
///
/// # Errors
///
/// When `crds/`, `values.schema.json` or the README can't be read, or the schema lacks a type or a
/// description.
pub fn chart_files(root: &Path) -> Result<GeneratedFiles> {
    let mut files = crd_copies(root)?;
    let chart = root.join(CHART_DIR);
    let schema = read(&chart.join("values.schema.json"))?;
    let schema = serde_norway::from_str(&schema).context("values.schema.json is invalid JSON")?;
    files.insert(Path::new(CHART_DIR).join("values.yaml"), chart_values::yaml(&schema)?);
    let readme = read(&chart.join("README.md"))?;
    files.insert(Path::new(CHART_DIR).join("README.md"), chart_values::readme(&readme, &schema)?);
    Ok(files)
}

/// Copies `crds/` into the chart, because a template can read only files inside the chart.
fn crd_copies(root: &Path) -> Result<GeneratedFiles> {
    let folder = root.join("crds");
    let context = || format!("can't read {}", folder.display());
    let mut files = GeneratedFiles::new();
    for entry in fs::read_dir(&folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let name = path.file_name().unwrap_or_default();
        files.insert(Path::new(CHART_DIR).join("files/crds").join(name), read(&path)?);
    }
    Ok(files)
}
