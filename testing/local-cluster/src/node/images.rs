//! Container images: built by buildah, out of what this machine has, and loaded into containerd.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::node::config;

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

/// What of the machine is in an image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Contents<'a> {
    /// Programs, with the libraries that they need.
    pub programs: &'a [&'a Path],
    /// Programs of which only the libraries are.
    pub libraries_of: &'a [&'a Path],
    /// What it runs.
    pub entrypoint: &'a [&'a str],
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

    /// Removes what a build that was killed left. Nobody else may use the folder meanwhile.
    ///
    /// # Errors
    ///
    /// When buildah fails; the message has what it wrote.
    pub async fn remove_abandoned(&self) -> Result<()> {
        let mut buildah = self.buildah();
        buildah.args(["rm", "--all"]);
        run(buildah).await.context("can't remove what earlier builds left")?;
        Ok(())
    }

    /// Makes an image of this machine's own files.
    ///
    /// # Errors
    ///
    /// When a library is missing, or buildah fails.
    pub async fn machine(&self, tag: &str, contents: &Contents<'_>) -> Result<()> {
        fs::create_dir_all(&*self.folder)?;
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("root");
        fs::create_dir(&root)?;
        for program in contents.programs {
            copy_below(&root, program)?;
        }
        for program in contents.programs.iter().chain(contents.libraries_of) {
            for library in libraries(program).await? {
                copy_below(&root, &library)?;
            }
        }
        let mut text = String::from("FROM scratch\nCOPY root /\n");
        if !contents.entrypoint.is_empty() {
            let entrypoint = serde_json::to_string(contents.entrypoint)?;
            text.push_str(&format!("ENTRYPOINT {entrypoint}\n"));
        }
        let dockerfile = folder.path().join("Dockerfile");
        fs::write(&dockerfile, text)?;
        self.build(tag, folder.path(), &dockerfile, &["--layers"]).await
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

    /// Writes an image to a file, for [`Node::load`](crate::node::Node::load). Nothing in it is compressed.
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

/// The libraries that a program needs.
async fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program);
    let listed = run(ldd).await?;
    if let Some(missing) = listed.lines().find(|line| line.contains("not found")) {
        bail!("{} lacks a library: {}", program.display(), missing.trim());
    }
    Ok(listed.lines().filter_map(library).collect())
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
    async fn a_program_is_copied_with_its_libraries() {
        let root = tempfile::tempdir().unwrap();
        let sleep = program("sleep").unwrap();
        let all = libraries(&sleep).await.unwrap();
        assert!(!all.is_empty());
        for path in all.iter().chain([&sleep]) {
            copy_below(root.path(), path).unwrap();
            let copy = root.path().join(path.strip_prefix("/").unwrap());
            assert!(copy.is_file(), "{}", copy.display());
        }
        assert_eq!(root.path().join("lib").is_symlink(), Path::new("/lib").is_symlink());
    }
}
