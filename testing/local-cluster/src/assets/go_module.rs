//! Published Go modules that are read but not built, for example for the CRDs of other projects.

use std::path::PathBuf;

use super::go_toolchain::GoToolchain;
use crate::error::{AssetsError, FileContext as _};

/// Published Go module with a pinned version and checksum.
#[derive(Clone, Copy, Debug)]
pub struct GoModule {
    /// The module's path, for example `github.com/prometheus-operator/prometheus-operator`.
    pub path: &'static str,
    /// The module's version, for example `v0.85.0`.
    pub version: &'static str,
    /// The checksum of the module's content, as in `go.sum`.
    pub sum: &'static str,
}

impl GoModule {
    /// Returns the module's directory in Go's module cache, to which the first call downloads it.
    ///
    /// # Errors
    ///
    /// [`AssetsError::Module`] when it can't be downloaded or differs from the pinned one;
    /// [`AssetsError::NoGo`] or [`AssetsError::OldGo`] when there is no suitable Go.
    pub fn fetch(&self) -> Result<PathBuf, AssetsError> {
        let toolchain = GoToolchain::find_for(self.path, "1.22")?;
        let dir = tempfile::tempdir().context("create a directory in", &std::env::temp_dir())?;
        let mut go = toolchain.command(dir.path());
        go.args(["mod", "download", "-json", &format!("{}@{}", self.path, self.version)]);
        let output = go.output().context("run Go in", dir.path())?;
        let download: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_default();
        let reason = match (download["Dir"].as_str(), download["Sum"].as_str()) {
            (Some(dir), Some(sum)) if sum == self.sum => return Ok(dir.into()),
            (_, Some(sum)) => format!("its checksum is {sum}, not {}", self.sum),
            _ => match download["Error"].as_str() {
                Some(error) => error.to_owned(),
                None => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            },
        };
        let (module, version, proxy) = (self.path, self.version, toolchain.proxy());
        Err(AssetsError::Module { module, version, proxy, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_module_with_another_checksum() {
        let module = GoModule {
            path: "github.com/prometheus-operator/prometheus-operator",
            version: "v0.85.0",
            sum: "h1:0000000000000000000000000000000000000000000=",
        };
        let message = module.fetch().unwrap_err().to_string();
        assert!(message.contains("its checksum is h1:"), "{message}");
        assert!(message.contains("GOPROXY"), "{message}");
    }
}
