//! Images of the operator and of the applications, on a base that is made of this machine's libraries.
//! No image is pulled.

use std::{
    env,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use local_cluster::node::{ImageBuilder, ImageContents, Node};
use testkit::manifests::checkout_path;

use crate::languages::{self, LANGUAGES};

/// Tag of the operator's image.
pub(crate) const OPERATOR: &str = "localhost/auth0-rotator:e2e";

const BASE: &str = "localhost/machine:libraries";
const BUILD: &str = "localhost/machine:build";

/// Cargo's target directory in the build, which is kept for the next one. It is not below the sources,
/// where the Dockerfile removes files.
const TARGET: &str = "/target";

const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Builder of images, which keeps layers from one run to the next.
pub(crate) struct Images {
    builder: ImageBuilder,
    cache: PathBuf,
    /// Prevents concurrent builds.
    _lock: File,
}

impl Images {
    pub(crate) async fn prepare() -> Result<Self> {
        let cache = local_cluster::cache_dir()?.join("images");
        fs::create_dir_all(&cache)?;
        let lock = File::create(cache.join(".lock"))?;
        acquire(&lock).await.with_context(|| format!("can't lock {}", cache.display()))?;
        let builder = ImageBuilder::new(&cache.join("buildah"));
        builder.remove_abandoned().await?;
        // The operator needs the same libraries as this program.
        let this = env::current_exe()?;
        let contents = ImageContents { libraries_of: &[&this], ..ImageContents::default() };
        builder.build_from_host(BASE, &contents).await?;
        Ok(Self { builder, cache, _lock: lock })
    }

    /// Builds the operator's image by the Dockerfile with this machine's Rust, and loads it. Returns
    /// the bytes that it adds to its base.
    pub(crate) async fn build_operator(&self, node: &Node) -> Result<u64> {
        let toolchain = Toolchain::find()?;
        self.build_image(&toolchain).await?;
        let target = self.cache.join("target");
        fs::create_dir_all(&target)?;
        let mut volumes = toolchain.volumes();
        volumes.push(format!("{}:{TARGET}", target.display()));
        let build_image = format!("--build-arg=BUILD_IMAGE={BUILD}");
        let base_image = format!("--build-arg=BASE_IMAGE={BASE}");
        let mut arguments = vec!["--layers", build_image.as_str(), base_image.as_str()];
        arguments.extend(volumes.iter().flat_map(|volume| ["--volume", volume.as_str()]));
        let checkout = checkout_path(".");
        let dockerfile = checkout.join("Dockerfile");
        self.builder.build(OPERATOR, &checkout, &dockerfile, &arguments).await?;
        let all = self.load(OPERATOR, node).await?;
        let base = remove_archive(&self.builder.archive(BASE).await?)?;
        Ok(all.saturating_sub(base))
    }

    /// Builds the images of the example applications, and loads them.
    pub(crate) async fn build_consumers(&self, node: &Node) -> Result<()> {
        for language in LANGUAGES {
            let built = languages::build(&self.builder, language, BASE).await;
            built.with_context(|| format!("can't build the consumer in {language}"))?;
            self.load(&languages::image(language), node).await?;
        }
        Ok(())
    }

    /// Loads an image into the node and returns its size in bytes.
    async fn load(&self, tag: &str, node: &Node) -> Result<u64> {
        let archive = self.builder.archive(tag).await?;
        node.load_image(&archive).await?;
        remove_archive(&archive)
    }

    /// Builds the image in which Rust runs: it has only what the machine's own directories need to be
    /// mounted.
    async fn build_image(&self, toolchain: &Toolchain) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("etc"))?;
        fs::create_dir(root.join("tmp"))?;
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        for link in ["bin", "lib", "lib32", "lib64", "libx32", "sbin"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(link)) {
                std::os::unix::fs::symlink(target, root.join(link))?;
            }
        }
        let Toolchain { cargo, rustup } = toolchain;
        let dockerfile = folder.path().join("Dockerfile");
        let (cargo, rustup) = (cargo.display(), rustup.display());
        let text = format!(
            "FROM scratch\nCOPY root /\nENV CARGO_HOME={cargo} RUSTUP_HOME={rustup} \\\n    \
             CARGO_NET_OFFLINE=true CARGO_TARGET_DIR={TARGET} HOME=/root \\\n    \
             PATH={cargo}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin\n"
        );
        fs::write(&dockerfile, text)?;
        self.builder.build(BUILD, folder.path(), &dockerfile, &["--layers"]).await
    }
}

/// Waits for a lock. It polls, because a thread that waits can't be interrupted.
async fn acquire(file: &File) -> io::Result<()> {
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL_INTERVAL).await,
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
}

/// Removes an archive and returns its size in bytes.
fn remove_archive(archive: &Path) -> Result<u64> {
    let size = fs::metadata(archive)?.len();
    fs::remove_file(archive)?;
    Ok(size)
}

/// Formats bytes in MB.
pub(crate) fn added_megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Rust on this machine.
struct Toolchain {
    cargo: PathBuf,
    rustup: PathBuf,
}

impl Toolchain {
    fn find() -> Result<Self> {
        Ok(Self {
            cargo: toolchain_dir("CARGO_HOME", ".cargo")?,
            rustup: toolchain_dir("RUSTUP_HOME", ".rustup")?,
        })
    }

    /// Returns what has to be mounted for a build: the toolchain, and the machine's system directories
    /// unless they are links.
    fn volumes(&self) -> Vec<String> {
        let system = ["/usr", "/etc/alternatives", "/etc/ssl", "/bin", "/lib", "/lib64", "/sbin"];
        let is_directory = |path: &&str| Path::new(path).is_dir() && !Path::new(path).is_symlink();
        let read_only =
            system.into_iter().filter(is_directory).map(|path| format!("{path}:{path}:ro"));
        let rust = [&self.cargo, &self.rustup].into_iter().filter(|path| path.is_dir());
        let rust = rust.map(|path| format!("{0}:{0}", path.display()));
        read_only.chain(rust).collect()
    }
}

/// Returns the directory that a variable names, or the default one in the home directory.
fn toolchain_dir(variable: &str, default: &str) -> Result<PathBuf> {
    if let Some(dir) = env::var_os(variable) {
        return Ok(dir.into());
    }
    let home = env::var_os("HOME");
    let home = home.with_context(|| format!("neither {variable} nor HOME is set"))?;
    Ok(Path::new(&home).join(default))
}
