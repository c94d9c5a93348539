//! Go modules that are read, not built: definitions and the like, from where others publish them.

use std::path::PathBuf;

use crate::assets::toolchain::Toolchain;
use crate::error::{AssetsError, FileContext as _};

/// A published Go module, pinned.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Its path, for example `github.com/prometheus-operator/prometheus-operator`.
    pub path: &'static str,
    /// Its version, for example `v0.85.0`.
    pub version: &'static str,
    /// The checksum of its content, as `go.sum` has it.
    pub sum: &'static str,
}

impl Module {
    /// The folder of its files, in Go's cache. It is fetched the first time.
    ///
    /// # Errors
    ///
    /// [`AssetsError::Module`] when it can't be fetched, or isn't what was pinned; else what is wrong
    /// with Go.
    pub fn fetch(&self) -> Result<PathBuf, AssetsError> {
        let toolchain = Toolchain::find_for(self.path, "1.22")?;
        let folder = tempfile::tempdir().context("create a folder in", &std::env::temp_dir())?;
        let mut go = toolchain.command(folder.path());
        go.args(["mod", "download", "-json", &format!("{}@{}", self.path, self.version)]);
        let output = go.output().context("run Go in", folder.path())?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        let wrong = |why: String| AssetsError::Module {
            module: self.path,
            version: self.version,
            proxy: toolchain.proxy(),
            why,
        };
        match (text("Dir"), text("Sum")) {
            (Some(folder), Some(sum)) if sum == self.sum => Ok(folder.into()),
            (_, Some(sum)) => Err(wrong(format!("its checksum is {sum}, not {}", self.sum))),
            _ => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(wrong(text("Error").unwrap_or(said)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_than_the_pinned_one_is_refused() {
        let module = Module {
            path: "github.com/prometheus-operator/prometheus-operator",
            version: "v0.85.0",
            sum: "h1:0000000000000000000000000000000000000000000=",
        };
        let message = module.fetch().unwrap_err().to_string();
        assert!(message.contains("its checksum is h1:"), "{message}");
        assert!(message.contains("GOPROXY"), "{message}");
    }
}
