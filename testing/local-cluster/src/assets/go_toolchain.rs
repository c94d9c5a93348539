//! The installed Go.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Binary, is_executable,
    module_set::{go_arch, go_os},
};
use crate::error::AssetsError;

/// The path that Go's own installer uses. It often isn't on the PATH of a non-login shell.
const DEFAULT_GO: &str = "/usr/local/go/bin/go";

/// Installed Go that is new enough.
#[derive(Debug)]
pub(crate) struct GoToolchain {
    go: PathBuf,
}

impl GoToolchain {
    /// Finds a Go that can build `binary`, on PATH or at its default path.
    pub(crate) fn find(binary: Binary) -> Result<Self, AssetsError> {
        Self::find_for(binary.name(), binary.module_set().go_version())
    }

    /// Finds a Go of at least the version `needed`; errors say that `binary` needs it.
    pub(crate) fn find_for(
        binary: &'static str,
        needed: &'static str,
    ) -> Result<Self, AssetsError> {
        let go = find_go().ok_or(AssetsError::NoGo { binary, needed })?;
        let toolchain = Self { go };
        let found = toolchain.version();
        if parse_version(&found) < parse_version(needed) {
            return Err(AssetsError::OldGo { binary, go: toolchain.go, found, needed });
        }
        Ok(toolchain)
    }

    /// Returns a `go` command that runs in `dir`. The user's settings don't affect it, except those
    /// for module proxies and cache directories.
    pub(crate) fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.go);
        command
            .current_dir(dir)
            .env("CGO_ENABLED", "0")
            .env("GO111MODULE", "on")
            .env("GOARCH", go_arch())
            // An empty value would let the user's `go env -w GOFLAGS=…` take effect.
            .env("GOFLAGS", "-mod=readonly")
            .env("GOOS", go_os())
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .env_remove("GODEBUG")
            .env_remove("GOEXPERIMENT");
        command
    }

    /// Returns the value of GOPROXY.
    pub(crate) fn proxy(&self) -> String {
        self.output(&["env", "GOPROXY"])
    }

    /// Returns the version, for example `1.26.8`, or Go's error message.
    fn version(&self) -> String {
        let text = self.output(&["env", "GOVERSION"]);
        text.strip_prefix("go").map(str::to_owned).unwrap_or(text)
    }

    /// Returns the output of a `go` command, or its error message.
    fn output(&self, arguments: &[&str]) -> String {
        match self.command(Path::new("/")).args(arguments).output() {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).trim().to_owned()
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

fn find_go() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("go"));
    on_path.chain([PathBuf::from(DEFAULT_GO)]).find(|go| is_executable(go))
}

/// Returns the numbers of a version such as `1.26.0`, or none if `version` isn't one. A release
/// candidate (`1.27rc1`) counts as its release.
fn parse_version(version: &str) -> Vec<u32> {
    version.split('.').map_while(leading_number).collect()
}

fn leading_number(part: &str) -> Option<u32> {
    let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
    part[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_versions_by_number() {
        assert!(parse_version("1.26.8") > parse_version("1.26.0"));
        assert!(parse_version("1.100.0") > parse_version("1.26.0"));
        assert!(parse_version("1.27rc1") > parse_version("1.26.0"));
        assert!(parse_version("1.24.13") < parse_version("1.26.0"));
        assert!(parse_version("no such file") < parse_version("1.26.0"));
    }
}
