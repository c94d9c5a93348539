//! Programs and libraries of this machine, which make up the images.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use super::images::run;

/// The directories of programs, including those that only root has on PATH.
const PROGRAM_DIRS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Returns the path of the installed program `name`.
pub(crate) fn find_program(name: &str) -> Result<PathBuf> {
    let found = PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    found.with_context(|| format!("{name} is not installed"))
}

/// Returns the shared libraries that `program` needs.
pub(crate) async fn shared_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program);
    let output = run(ldd).await?;
    if let Some(missing) = output.lines().find(|line| line.contains("not found")) {
        bail!("{} lacks a library: {}", program.display(), missing.trim());
    }
    Ok(output.lines().filter_map(library_path).collect())
}

/// Returns the path in a line of ldd's output: `libc.so.6 => /lib/libc.so.6 (0x7f…)` or
/// `/lib64/ld.so.2 (0x7f…)`.
fn library_path(line: &str) -> Option<PathBuf> {
    let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
    Some(PathBuf::from(path))
}

/// Copies the file `path` to the same path below `root`. Parent directories that are symbolic links,
/// as /lib often is, stay links.
pub(crate) fn copy_below(root: &Path, path: &Path) -> Result<()> {
    let parent = path.parent().context("a file has a parent directory")?;
    create_dir_below(root, parent)?;
    let to = root.join(path.strip_prefix("/")?);
    fs::copy(path, &to).with_context(|| format!("can't copy {}", path.display()))?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn create_dir_below(root: &Path, dir: &Path) -> Result<()> {
    let mut current = PathBuf::from("/");
    for component in dir.components().skip(1) {
        current.push(component);
        let below = root.join(current.strip_prefix("/")?);
        if below.exists() || below.is_symlink() {
            continue;
        }
        if current.is_symlink() {
            let target = fs::read_link(&current)?;
            let absolute = current.parent().map(|parent| parent.join(&target)).unwrap_or_default();
            create_dir_below(root, &absolute)?;
            symlink(target, below)?;
        } else {
            fs::create_dir(below)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_output_of_ldd() {
        assert_eq!(library_path("\tlinux-vdso.so.1 (0x00007ffd)"), None);
        let libc = "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)";
        assert_eq!(library_path(libc).unwrap(), Path::new("/lib/x86_64-linux-gnu/libc.so.6"));
        let loader = "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)";
        assert_eq!(library_path(loader).unwrap(), Path::new("/lib64/ld-linux-x86-64.so.2"));
    }

    #[tokio::test]
    async fn copies_program_with_its_libraries() {
        let root = tempfile::tempdir().unwrap();
        let sleep = find_program("sleep").unwrap();
        let libraries = shared_libraries(&sleep).await.unwrap();
        assert!(!libraries.is_empty());
        for path in libraries.iter().chain([&sleep]) {
            copy_below(root.path(), path).unwrap();
            let copy = root.path().join(path.strip_prefix("/").unwrap());
            assert!(copy.is_file(), "{}", copy.display());
        }
        assert_eq!(root.path().join("lib").is_symlink(), Path::new("/lib").is_symlink());
    }
}
