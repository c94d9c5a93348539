//! Command line of the generators: `make crds`, `make manifests` and `make reasons` call it.

use std::{io::Write as _, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{
    Helm, chart_files, crd_files, deploy_files, large_installations, reason_files, workspace_root,
    write_files,
};

/// Generates the files in the repository that have another source.
#[derive(Debug, Parser)]
#[command(name = "xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Task {
    /// Write crds/*.yaml from the Rust types in src/api.
    Crds,
    /// Write the chart's CRDs, values.yaml and README, and deploy/. The first run builds Helm,
    /// which takes minutes.
    Manifests,
    /// Write docs/reasons.md from the enum of reasons in crates/rotation.
    Reasons,
    /// Calculate the table in docs/performance/large-installations.md from the results of make bench.
    LargeInstallations,
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Crds => write_crds(),
        Task::Manifests => write_manifests(),
        Task::Reasons => write_files(&workspace_root(), &reason_files()),
        Task::LargeInstallations => write_large_installations(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write_large_installations() -> Result<()> {
    let root = workspace_root();
    write_files(&root, &large_installations(&root)?)
}

fn write_crds() -> Result<()> {
    write_files(&workspace_root(), &crd_files()?)
}

/// Writes the chart first, because Helm renders deploy/ from it.
fn write_manifests() -> Result<()> {
    let root = workspace_root();
    write_files(&root, &chart_files(&root)?)?;
    write_files(&root, &deploy_files(&root, &Helm::find_or_build()?)?)
}
