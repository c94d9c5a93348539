//! Container images: built by buildah, out of what this machine has, and loaded into containerd.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::config;

/// Where a shell finds programs that only root runs, too.
const FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The path of an installed program.
///
/// # Errors
///
/// When it isn't installed.
pub fn program(name: &str) -> Result<PathBuf> {
    let found =
        FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    found.with_context(|| format!("{name} is not installed"))
}

/// Builds images, and keeps them in a folder of its own.
#[derive(Clone, Debug)]
pub struct Builder {
    folder: Arc<PathBuf>,
}

impl Builder {
    /// One that keeps everything in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: Arc::new(folder.to_path_buf()) }
    }

    /// An image that has nothing but `programs` and the libraries that they need, all of them this
    /// machine's. It runs `entrypoint`.
    ///
    /// # Errors
    ///
    /// When a library is missing, or buildah fails.
    pub async fn machine(&self, tag: &str, programs: &[&Path], entrypoint: &[&str]) -> Result<()> {
        fs::create_dir_all(&*self.folder)?;
        let root = tempfile::tempdir_in(&*self.folder)?;
        for path in closure(programs).await? {
            copy_below(root.path(), &path)?;
        }
        let mut dockerfile = String::from("FROM scratch\nCOPY . /\n");
        if !entrypoint.is_empty() {
            dockerfile.push_str(&format!("ENTRYPOINT {}\n", serde_json::to_string(entrypoint)?));
        }
        let recipe = root.path().with_extension("dockerfile");
        fs::write(&recipe, dockerfile)?;
        self.build(tag, root.path(), &recipe, &[]).await
    }

    /// Builds `dockerfile` on `context`.
    ///
    /// # Errors
    ///
    /// When buildah fails; the message has what it wrote.
    pub async fn build(
        &self,
        tag: &str,
        context: &Path,
        dockerfile: &Path,
        arguments: &[&str],
    ) -> Result<()> {
        let mut buildah = self.buildah();
        buildah
            .args(["build", "--isolation=chroot", "--pull-never", "--tag", tag, "--file"])
            .arg(dockerfile)
            .args(arguments)
            .arg(context);
        run(buildah).await.with_context(|| format!("can't build the image {tag}"))?;
        Ok(())
    }

    /// Writes an image to a file, for [`Node::load`](crate::Node::load).
    ///
    /// # Errors
    ///
    /// When buildah fails; the message has what it wrote.
    pub async fn archive(&self, tag: &str) -> Result<PathBuf> {
        let name = tag.replace(['/', ':'], "-");
        let path = self.folder.join(format!("{name}.tar"));
        let mut buildah = self.buildah();
        buildah.arg("push").arg(tag).arg(format!("docker-archive:{}:{tag}", path.display()));
        run(buildah).await.with_context(|| format!("can't write the image {tag}"))?;
        Ok(path)
    }

    fn buildah(&self) -> Command {
        let mut buildah = Command::new("buildah");
        buildah
            .arg("--storage-driver=vfs")
            .arg("--root")
            .arg(self.folder.join("root"))
            .arg("--runroot")
            .arg(self.folder.join("run"));
        buildah
    }
}

/// Loads an image into containerd.
pub(crate) async fn load(archive: &Path) -> Result<()> {
    let mut ctr = Command::new(program("ctr")?);
    ctr.args(["--address", config::SOCKET, "--namespace=k8s.io", "images", "import"])
        .args(["--snapshotter=native", "--no-unpack"])
        .arg(archive);
    run(ctr).await.with_context(|| format!("can't load {}", archive.display()))?;
    Ok(())
}

/// Runs a command to its end, and returns what it wrote to standard output.
async fn run(mut command: Command) -> Result<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("can't run {name}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}):\n{}", output.status, text.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `programs`, and the libraries that they need.
async fn closure(programs: &[&Path]) -> Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for program in programs {
        all.insert(program.to_path_buf());
        let mut ldd = Command::new("ldd");
        ldd.arg(program);
        let listed = run(ldd).await?;
        if let Some(missing) = listed.lines().find(|line| line.contains("not found")) {
            bail!("{} lacks a library: {}", program.display(), missing.trim());
        }
        all.extend(listed.lines().filter_map(library));
    }
    Ok(all)
}

/// The path in a line of ldd: `libc.so.6 => /lib/libc.so.6 (0x7f…)`, or `/lib64/ld.so.2 (0x7f…)`.
fn library(line: &str) -> Option<PathBuf> {
    let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
    Some(PathBuf::from(path))
}

/// Copies a file to its place below `root`. Folders that are links to folders, as /lib is, stay
/// links.
fn copy_below(root: &Path, path: &Path) -> Result<()> {
    let parent = path.parent().context("a file is in a folder")?;
    make_folder(root, parent)?;
    let to = root.join(path.strip_prefix("/")?);
    fs::copy(path, &to).with_context(|| format!("can't copy {}", path.display()))?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn make_folder(root: &Path, folder: &Path) -> Result<()> {
    let mut at = PathBuf::from("/");
    for part in folder.components().skip(1) {
        at.push(part);
        let below = root.join(at.strip_prefix("/")?);
        if below.exists() || below.is_symlink() {
            continue;
        }
        if at.is_symlink() {
            let target = fs::read_link(&at)?;
            let absolute = at.parent().map(|parent| parent.join(&target)).unwrap_or_default();
            make_folder(root, &absolute)?;
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
    fn libraries_are_read_from_ldd() {
        let path = |line| library(line);
        assert_eq!(path("\tlinux-vdso.so.1 (0x00007ffd)"), None);
        let libc = "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)";
        assert_eq!(path(libc).unwrap(), Path::new("/lib/x86_64-linux-gnu/libc.so.6"));
        let loader = "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)";
        assert_eq!(path(loader).unwrap(), Path::new("/lib64/ld-linux-x86-64.so.2"));
    }

    #[tokio::test]
    async fn a_copied_program_finds_its_libraries() {
        let root = tempfile::tempdir().unwrap();
        let sleep = program("sleep").unwrap();
        for path in closure(&[&sleep]).await.unwrap() {
            copy_below(root.path(), &path).unwrap();
        }
        assert!(root.path().join(sleep.strip_prefix("/").unwrap()).is_file());
        let is_link = |path: &str| Path::new(path).is_symlink();
        assert_eq!(root.path().join("lib64").is_symlink(), is_link("/lib64"));
    }
}
