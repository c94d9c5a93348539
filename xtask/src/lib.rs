//! Generators for the CRDs, the chart and the manifests.
//!
//! | generated | source | written by |
//! | --- | --- | --- |
//! | `crds/` | Rust types in `src/api` | `make crds` |
//! | `charts/auth0-rotator/files/crds/` | `crds/` | `make manifests` |
//! | `charts/auth0-rotator/values.yaml`, the values table in the chart's README | `values.schema.json` | `make manifests` |
//! | `docs/reasons.md` | `crates/rotation/src/reason.rs` | `make reasons` |
//! | table in `docs/performance/large-installations.md` | `docs/performance/results.json` | `make large-installations` |
//! | `deploy/` | the chart, rendered by Helm | `make manifests` |
//!
//! The tests in `tests/chart` fail when a generated file is out of date.

mod chart;
mod chart_values;
mod crds;
mod deploy;
mod files;
mod helm;
mod large_installations;
mod reasons;

use std::path::{Path, PathBuf};

pub use chart::{CHART_DIR, chart_files};
pub use crds::crd_files;
pub use deploy::deploy_files;
pub use files::{GeneratedFiles, write_files};
pub use helm::Helm;
pub use large_installations::{BENCH_RESULTS, large_installations};
pub use reasons::reason_files;

/// Root of the workspace that this binary was built from.
#[must_use]
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
