//! `make manifests`: writes anew what is generated from the chart.

use std::fs;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use packaging::{Helm, checkout, generate};

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "packaging: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Twice: the manifests are rendered from the values and definitions that are written.
fn write() -> Result<()> {
    let (checkout, helm) = (checkout(), Helm::find()?);
    for _ in 0..2 {
        for (path, text) in generate(&checkout, &helm)? {
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
    }
    Ok(())
}
