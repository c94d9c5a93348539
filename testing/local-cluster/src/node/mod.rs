//! Real pods for tests: containerd and one kubelet, with a controller manager and a scheduler, in
//! namespaces of their own.
//!
//! A program that wants pods runs itself anew by [`enclose`], and inside starts a control plane
//! with the options that [`control_plane()`] gives, and a [`Node`]:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<std::process::ExitCode> {
//! use local_cluster::Progress;
//! use local_cluster::node::{self, Enclosure, Node};
//!
//! let Some(enclosure) = Enclosure::current() else { return node::enclose().await };
//! let control_plane = node::control_plane(&enclosure).start().await?;
//! let node = Node::start(&enclosure, &control_plane, &Progress::default()).await?;
//! # Ok(std::process::ExitCode::SUCCESS)
//! # }
//! ```
//!
//! Inside there is no way to any network: the machine's interfaces aren't there, and no image is
//! pulled. The node has the address [`ADDRESS`], at which pods reach what listens on it, and the
//! address of the service `kubernetes`, at which the API server listens. So there is no kube-proxy,
//! and other services have no use. Nor is there DNS.
//!
//! It takes Linux, root, and containerd, runc, network plugins and buildah from the distribution.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Assets, Binary, ControlPlane, Options, Progress};
use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Node as Resource, ServiceAccount};
use kube::{Api, Client};

mod component;
mod config;
mod images;
mod isolation;

use self::component::Process;
pub use self::config::SANDBOX_IMAGE;
pub use self::images::{Builder, Contents, program};
pub use self::isolation::{Enclosure, enclose};

/// The node's address, at which pods reach what listens on it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

const NAME: &str = "node";
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// What is built for a node.
pub const BINARIES: [Binary; 3] =
    [Binary::KubeControllerManager, Binary::KubeScheduler, Binary::Kubelet];

/// A node that is ready for pods. Its processes end when it is dropped, pods with the enclosure.
#[derive(Debug)]
pub struct Node {
    /// In the order in which they are ended.
    processes: Mutex<Vec<Process>>,
    folder: PathBuf,
}

/// The options of a control plane that nodes can join: its data is in the enclosure's folder.
pub fn control_plane(enclosure: &Enclosure) -> Options {
    ControlPlane::options().nodes(ADDRESS).data_dir(enclosure.folder().join("control-plane"))
}

impl Node {
    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When a program is missing, ends, or isn't ready within a minute.
    pub async fn start(
        enclosure: &Enclosure,
        control_plane: &ControlPlane,
        progress: &Progress,
    ) -> Result<Self> {
        let folder = enclosure.folder().clone();
        let starting = Starting { enclosure, control_plane, folder: &folder };
        starting.write_configuration()?;
        let containerd = starting.containerd()?;
        let node = Self { processes: Mutex::new(vec![containerd]), folder: folder.clone() };
        node.wait("containerd", async || Ok(Path::new(config::SOCKET).exists())).await?;
        node.import_sandbox_image().await?;
        let progress = progress.clone();
        let assets = tokio::task::spawn_blocking(move || Assets::provide(&BINARIES, &progress));
        let assets = assets.await??;
        for process in [
            starting.controller_manager(&assets)?,
            starting.scheduler(&assets)?,
            starting.kubelet(&assets)?,
        ] {
            node.processes().insert(0, process);
        }
        let client = Client::try_from(control_plane.client_config())?;
        let resources: Api<Resource> = Api::all(client.clone());
        node.wait("the node", async || is_ready(&resources).await).await?;
        // Pods aren't admitted to a namespace before it has this.
        let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
        let has_account = async || Ok(accounts.get_opt("default").await?.is_some());
        node.wait("the controller manager", has_account).await?;
        Ok(node)
    }

    /// Whether everything runs.
    ///
    /// # Errors
    ///
    /// What has ended by itself, with the last lines of its log.
    pub fn check(&self) -> Result<()> {
        self.processes().iter_mut().try_for_each(Process::check)
    }

    /// The folder of the logs, one file for each program.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Loads an image, from an archive that [`Builder::archive`] wrote.
    ///
    /// # Errors
    ///
    /// When containerd refuses it.
    pub async fn load(&self, archive: &Path) -> Result<()> {
        images::load(archive).await
    }

    /// Which kubelet and which containerd it has.
    ///
    /// # Errors
    ///
    /// When the API server doesn't answer.
    pub async fn describe(&self, client: &Client) -> Result<String> {
        let node = Api::<Resource>::all(client.clone()).get(NAME).await?;
        let info = node.status.and_then(|status| status.node_info).unwrap_or_default();
        let runtime = info.container_runtime_version.replace("://", " ");
        Ok(format!("kubelet {} with {runtime}", info.kubelet_version))
    }

    async fn import_sandbox_image(&self) -> Result<()> {
        let builder = Builder::new(&self.folder.join("buildah"));
        let sleep = images::program("sleep")?;
        let path = sleep.to_string_lossy();
        let entrypoint = [path.as_ref(), "infinity"];
        let contents =
            Contents { programs: &[&sleep], entrypoint: &entrypoint, ..Contents::default() };
        builder.machine(config::SANDBOX_IMAGE, &contents).await?;
        self.load(&builder.archive(config::SANDBOX_IMAGE).await?).await
    }

    /// Asks `is_there` until it says yes.
    async fn wait(&self, what: &str, is_there: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let since = Instant::now();
        while !is_there().await? {
            self.check()?;
            if since.elapsed() > DEADLINE {
                let words: Vec<_> = self.processes().iter().map(Process::last_words).collect();
                let after = DEADLINE.as_secs();
                bail!("{what} was not ready after {after} s; {}", words.join("\n"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn processes(&self) -> std::sync::MutexGuard<'_, Vec<Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn is_ready(nodes: &Api<Resource>) -> Result<bool> {
    let node = nodes.get_opt(NAME).await?;
    let conditions = node.and_then(|node| node.status?.conditions).unwrap_or_default();
    Ok(conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
}

/// What the programs are started with.
struct Starting<'a> {
    enclosure: &'a Enclosure,
    control_plane: &'a ControlPlane,
    folder: &'a Path,
}

impl Starting<'_> {
    fn write_configuration(&self) -> Result<()> {
        let write = |name: &str, text: &str| {
            let path = self.folder.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))
        };
        let authority = self.control_plane.authority_path();
        let kubelet = config::kubelet(self.folder, self.enclosure.group(), authority);
        write("containerd.toml", &config::containerd(self.folder, &config::plugins()?))?;
        write("cni/10-pods.conflist", &config::network(self.folder).to_string())?;
        write("kubelet.json", &kubelet.to_string())?;
        write("resolv.conf", "# Pods use addresses.\n")
    }

    fn spawn(&self, name: &'static str, command: Command) -> Result<Process> {
        Process::spawn(name, command, &self.folder.join("logs"))
    }

    fn containerd(&self) -> Result<Process> {
        let mut command = Command::new(images::program("containerd")?);
        command.arg("--config").arg(self.folder.join("containerd.toml"));
        self.spawn("containerd", command)
    }

    /// A command of Kubernetes that knows the API server as `user`.
    fn command(
        &self,
        assets: &Assets,
        binary: Binary,
        (user, groups): (&str, &[&str]),
    ) -> Result<Command> {
        let mut command = Command::new(assets.dir().join(binary.name()));
        let kubeconfig = self.control_plane.kubeconfig_for(user, groups)?;
        command.current_dir(self.folder).arg("--kubeconfig").arg(kubeconfig);
        Ok(command)
    }

    fn controller_manager(&self, assets: &Assets) -> Result<Process> {
        let control_plane = self.control_plane;
        let user = ("system:kube-controller-manager", &[][..]);
        let mut command = self.command(assets, Binary::KubeControllerManager, user)?;
        command
            .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
            .arg("--use-service-account-credentials")
            .arg("--root-ca-file")
            .arg(control_plane.authority_path())
            .arg("--service-account-private-key-file")
            .arg(control_plane.service_account_key_path());
        self.spawn("kube-controller-manager", command)
    }

    fn scheduler(&self, assets: &Assets) -> Result<Process> {
        let user = ("system:kube-scheduler", &[][..]);
        let mut command = self.command(assets, Binary::KubeScheduler, user)?;
        command.args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
        self.spawn("kube-scheduler", command)
    }

    fn kubelet(&self, assets: &Assets) -> Result<Process> {
        let user = format!("system:node:{NAME}");
        let user = (user.as_str(), &["system:nodes"][..]);
        let mut command = self.command(assets, Binary::Kubelet, user)?;
        command
            .arg("--config")
            .arg(self.folder.join("kubelet.json"))
            .arg("--root-dir")
            .arg(self.folder.join("kubelet"))
            .arg("--cert-dir")
            .arg(self.folder.join("kubelet-certificates"))
            .arg(format!("--hostname-override={NAME}"))
            .arg(format!("--node-ip={ADDRESS}"));
        self.spawn("kubelet", command)
    }
}
