//! The installed Go.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::assets::module_set;
use crate::assets::{Binary, is_executable};
use crate::error::AssetsError;

/// Where Go's own installer puts it, which often isn't on the PATH of a shell that isn't a login.
const USUAL_PLACE: &str = "/usr/local/go/bin/go";

/// A Go that is new enough.
#[derive(Debug)]
pub(crate) struct Toolchain {
    go: PathBuf,
}

impl Toolchain {
    /// Finds a Go on PATH or at its usual place that can build `binary`.
    pub(crate) fn find(binary: Binary) -> Result<Self, AssetsError> {
        Self::find_for(binary.name(), binary.modules().go_version())
    }

    /// The same for `binary` by name, or for anything else that needs a Go of version `needed`.
    pub(crate) fn find_for(
        binary: &'static str,
        needed: &'static str,
    ) -> Result<Self, AssetsError> {
        let go = search().ok_or(AssetsError::NoGo { binary, needed })?;
        let toolchain = Self { go };
        let found = toolchain.version();
        if parse(&found) < parse(needed) {
            return Err(AssetsError::OldGo { binary, go: toolchain.go, found, needed });
        }
        Ok(toolchain)
    }

    /// A `go` command that runs in `folder`, on which the user's settings have no influence except
    /// those about where modules come from and where caches are.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.go);
        command
            .current_dir(folder)
            .env("CGO_ENABLED", "0")
            .env("GO111MODULE", "on")
            .env("GOARCH", module_set::go_arch())
            // Not empty: then `go env -w GOFLAGS=…` would count.
            .env("GOFLAGS", "-mod=readonly")
            .env("GOOS", module_set::go_os())
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .env_remove("GODEBUG")
            .env_remove("GOEXPERIMENT");
        command
    }

    /// Where modules come from.
    pub(crate) fn proxy(&self) -> String {
        self.say(&["env", "GOPROXY"])
    }

    /// For example `1.26.8`, or what it says instead.
    fn version(&self) -> String {
        let text = self.say(&["env", "GOVERSION"]);
        text.strip_prefix("go").map(str::to_owned).unwrap_or(text)
    }

    fn say(&self, arguments: &[&str]) -> String {
        match self.command(Path::new("/")).args(arguments).output() {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).trim().to_owned()
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

fn search() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("go"));
    on_path.chain([PathBuf::from(USUAL_PLACE)]).find(|go| is_executable(go))
}

/// The numbers of `1.26.0`; none for what isn't a version. A release candidate (`1.27rc1`) counts
/// as its release.
fn parse(version: &str) -> Vec<u32> {
    let leading = |part: &str| -> Option<u32> {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().ok()
    };
    version.split('.').map_while(leading).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(parse("1.26.8") > parse("1.26.0"));
        assert!(parse("1.100.0") > parse("1.26.0"));
        assert!(parse("1.27rc1") > parse("1.26.0"));
        assert!(parse("1.24.13") < parse("1.26.0"));
        assert!(parse("no such file") < parse("1.26.0"));
    }
}
