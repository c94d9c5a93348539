//! The images of the operator and of the applications, on a base that is made of this machine's own
//! libraries. None is pulled.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, io};

use anyhow::{Context as _, Result};
use local_cluster::node::{ImageBuilder, ImageContents, Node};
use rig::manifests;

use crate::languages::{self, LANGUAGES};

/// The operator's image.
pub(crate) const OPERATOR: &str = "localhost/auth0-rotator:e2e";

const BASE: &str = "localhost/machine:libraries";
const BUILD: &str = "localhost/machine:build";

/// Where the build in the image leaves what it makes, for the next one. Not below the sources, for
/// the Dockerfile removes files there.
const TARGET: &str = "/target";

const POLL: Duration = Duration::from_millis(200);

/// Builds images. Layers are kept from one run to the next.
pub(crate) struct Images {
    builder: ImageBuilder,
    cache: PathBuf,
    /// Nobody else builds meanwhile.
    _lock: File,
}

/// What an image adds to its base, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size(pub(crate) u64);

impl Images {
    pub(crate) async fn prepare() -> Result<Self> {
        let cache = local_cluster::cache_dir()?.join("images");
        fs::create_dir_all(&cache)?;
        let lock = File::create(cache.join(".lock"))?;
        lock_it(&lock).await.with_context(|| format!("can't lock {}", cache.display()))?;
        let builder = ImageBuilder::new(&cache.join("buildah"));
        builder.remove_abandoned().await?;
        // What this program needs the operator does, too.
        let this = env::current_exe()?;
        let contents = ImageContents { libraries_of: &[&this], ..ImageContents::default() };
        builder.build_from_host(BASE, &contents).await?;
        Ok(Self { builder, cache, _lock: lock })
    }

    /// Builds the operator's image by the Dockerfile, and loads it. Rust is this machine's.
    pub(crate) async fn operator(&self, node: &Node) -> Result<Size> {
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
        let checkout = manifests::place(".");
        let dockerfile = checkout.join("Dockerfile");
        self.builder.build(OPERATOR, &checkout, &dockerfile, &arguments).await?;
        let all = self.load(OPERATOR, node).await?;
        let base = take(&self.builder.archive(BASE).await?)?;
        Ok(Size(all.saturating_sub(base)))
    }

    /// Builds the images of the examples of applications, and loads them.
    pub(crate) async fn consumers(&self, node: &Node) -> Result<()> {
        for language in LANGUAGES {
            let built = languages::build(&self.builder, language, BASE).await;
            built.with_context(|| format!("the consumer in {language}"))?;
            self.load(&languages::image(language), node).await?;
        }
        Ok(())
    }

    /// Loads an image, and returns its size.
    async fn load(&self, tag: &str, node: &Node) -> Result<u64> {
        let archive = self.builder.archive(tag).await?;
        node.load_image(&archive).await?;
        take(&archive)
    }

    /// An image in which nothing is but what the machine's own folders need to be mounted.
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

/// Waits for a lock, and can be interrupted: a thread that waits for one can't.
async fn lock_it(file: &File) -> io::Result<()> {
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL).await,
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
}

/// Removes an archive, and returns its size.
fn take(archive: &Path) -> Result<u64> {
    let size = fs::metadata(archive)?.len();
    fs::remove_file(archive)?;
    Ok(size)
}

/// This machine's Rust.
struct Toolchain {
    cargo: PathBuf,
    rustup: PathBuf,
}

impl Toolchain {
    fn find() -> Result<Self> {
        let folder = |variable: &str, usual: &str| {
            let home = || Some(PathBuf::from(env::var_os("HOME")?).join(usual));
            let folder = env::var_os(variable).map(PathBuf::from).or_else(home);
            folder.with_context(|| format!("neither {variable} nor HOME is set"))
        };
        Ok(Self {
            cargo: folder("CARGO_HOME", ".cargo")?,
            rustup: folder("RUSTUP_HOME", ".rustup")?,
        })
    }

    /// What has to be mounted for a build. A folder of the machine that isn't a link is mounted, too.
    fn volumes(&self) -> Vec<String> {
        let system = ["/usr", "/etc/alternatives", "/etc/ssl", "/bin", "/lib", "/lib64", "/sbin"];
        let is_folder = |path: &&str| Path::new(path).is_dir() && !Path::new(path).is_symlink();
        let read_only =
            system.into_iter().filter(is_folder).map(|path| format!("{path}:{path}:ro"));
        let rust = [&self.cargo, &self.rustup].into_iter().filter(|path| path.is_dir());
        let rust = rust.map(|path| format!("{0}:{0}", path.display()));
        read_only.chain(rust).collect()
    }
}
