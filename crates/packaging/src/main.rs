//! `make manifests`: writes anew what is generated from the chart.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use packaging::{Files, Helm, chart_files, checkout, deploy_files};

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "packaging: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The chart first: the manifests are rendered from it.
fn write() -> Result<()> {
    let checkout = checkout();
    store(&checkout, chart_files(&checkout)?)?;
    store(&checkout, deploy_files(&checkout, &Helm::find()?)?)
}

fn store(checkout: &Path, files: Files) -> Result<()> {
    for (path, text) in files {
        let path = checkout.join(path);
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            continue;
        }
        let wrong = || format!("can't write {}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(wrong)?;
        }
        fs::write(&path, text).with_context(wrong)?;
    }
    Ok(())
}
