//! Container images: buildah builds them from this machine's files, and containerd loads them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use super::{
    config::CONTAINERD_SOCKET,
    host_files::{copy_below, find_program, shared_libraries},
};

/// This machine's files that an image contains.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImageContents<'a> {
    /// Programs, which are copied together with the libraries that they need.
    pub programs: &'a [&'a Path],
    /// Programs of which only the libraries are copied.
    pub libraries_of: &'a [&'a Path],
    /// The image's entrypoint; none if it is empty.
    pub entrypoint: &'a [&'a str],
}

/// Builder of images, which are stored in a directory of its own.
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    dir: Arc<PathBuf>,
}

impl ImageBuilder {
    /// Returns a builder that stores everything in `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: Arc::new(dir.to_path_buf()) }
    }

    /// Removes the working containers of builds that were killed. No other process may use the
    /// directory at the same time.
    ///
    /// # Errors
    ///
    /// When buildah fails; the message has its output.
    pub async fn remove_abandoned(&self) -> Result<()> {
        let mut buildah = self.buildah();
        buildah.args(["rm", "--all"]);
        run(buildah).await.context("can't remove the remains of earlier builds")?;
        Ok(())
    }

    /// Builds an image from files of this machine.
    ///
    /// # Errors
    ///
    /// When a library is missing, or buildah fails.
    pub async fn build_from_host(&self, tag: &str, contents: &ImageContents<'_>) -> Result<()> {
        fs::create_dir_all(&*self.dir)?;
        let context = tempfile::tempdir()?;
        let root = context.path().join("root");
        fs::create_dir(&root)?;
        for program in contents.programs {
            copy_below(&root, program)?;
        }
        for program in contents.programs.iter().chain(contents.libraries_of) {
            for library in shared_libraries(program).await? {
                copy_below(&root, &library)?;
            }
        }
        let mut text = String::from("FROM scratch\nCOPY root /\n");
        if !contents.entrypoint.is_empty() {
            let entrypoint = serde_json::to_string(contents.entrypoint)?;
            text.push_str(&format!("ENTRYPOINT {entrypoint}\n"));
        }
        let dockerfile = context.path().join("Dockerfile");
        fs::write(&dockerfile, text)?;
        self.build(tag, context.path(), &dockerfile, &["--layers"]).await
    }

    /// Builds an image from `dockerfile` with the build context `context`.
    ///
    /// # Errors
    ///
    /// When buildah fails; the message has its output.
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

    /// Writes an image to an uncompressed archive, for
    /// [`Node::load_image`](super::Node::load_image), and returns its path.
    ///
    /// # Errors
    ///
    /// When buildah fails; the message has its output.
    pub async fn archive(&self, tag: &str) -> Result<PathBuf> {
        let name = tag.replace(['/', ':'], "-");
        let path = self.dir.join(format!("{name}.tar"));
        let mut buildah = self.buildah();
        buildah.arg("push").arg(tag).arg(format!("docker-archive:{}:{tag}", path.display()));
        run(buildah).await.with_context(|| format!("can't archive the image {tag}"))?;
        Ok(path)
    }

    fn buildah(&self) -> Command {
        let mut buildah = Command::new("buildah");
        buildah
            .arg("--storage-driver=vfs")
            .arg("--root")
            .arg(self.dir.join("root"))
            .arg("--runroot")
            .arg(self.dir.join("run"));
        buildah
    }
}

/// Loads an image from an archive into containerd.
pub(crate) async fn load(archive: &Path) -> Result<()> {
    let mut ctr = Command::new(find_program("ctr")?);
    ctr.args(["--address", CONTAINERD_SOCKET, "--namespace=k8s.io", "images", "import"])
        .args(["--snapshotter=native", "--no-unpack"])
        .arg(archive);
    run(ctr).await.with_context(|| format!("can't load {}", archive.display()))?;
    Ok(())
}

/// Runs a command to its end and returns its standard output.
pub(crate) async fn run(mut command: Command) -> Result<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("can't run {name}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}):\n{}", output.status, text.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
