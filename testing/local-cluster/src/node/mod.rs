//! A node for real Pods: containerd and one kubelet, with a controller manager and a scheduler, in
//! Linux namespaces of their own.
//!
//! A program that needs Pods runs itself again with [`run_isolated`]. Inside, it starts a control
//! plane with the options that [`control_plane_options`] returns, and then a [`Node`]:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<std::process::ExitCode> {
//! use local_cluster::Progress;
//! use local_cluster::node::{self, Isolation, Node};
//!
//! let Some(isolation) = Isolation::current() else { return node::run_isolated().await };
//! let control_plane = node::control_plane_options(&isolation).start().await?;
//! let node = Node::start(&isolation, &control_plane, &Progress::default()).await?;
//! # Ok(std::process::ExitCode::SUCCESS)
//! # }
//! ```
//!
//! Inside there is no network: the machine's interfaces are not visible, and images can't be
//! pulled. Pods reach servers on the node at [`ADDRESS`], and the API server at the address of the
//! Service `kubernetes`. There is no kube-proxy, so other Services don't work, and there is no DNS.
//!
//! It needs Linux, root, and the distribution's packages of containerd, runc, the CNI network
//! plugins, and buildah.

mod component;
mod config;
mod host_files;
mod images;
mod isolation;
mod launcher;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use component::Component;
pub use config::SANDBOX_IMAGE;
use host_files::find_program;
pub use images::{ImageBuilder, ImageContents};
pub use isolation::{Isolation, run_isolated};
use k8s_openapi::api::core::v1::{Node as NodeResource, ServiceAccount};
use kube::{Api, Client};
use launcher::Launcher;
use parking_lot::{Mutex, MutexGuard};

use crate::{Assets, Binary, ControlPlane, Options, Progress};

/// The node's address, at which Pods reach servers on the node.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

/// The executables that a node needs besides those of the control plane.
pub const BINARIES: [Binary; 3] =
    [Binary::KubeControllerManager, Binary::KubeScheduler, Binary::Kubelet];

const NAME: &str = "node";
const START_DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Node that is ready for Pods. Its components end when it is dropped, its Pods with the
/// [`Isolation`].
#[derive(Debug)]
pub struct Node {
    /// In the order in which they are ended.
    components: Mutex<Vec<Component>>,
    dir: PathBuf,
}

/// Returns the options of a control plane that nodes can join. Its data is in the directory of the
/// isolation.
pub fn control_plane_options(isolation: &Isolation) -> Options {
    ControlPlane::options().node_address(ADDRESS).data_dir(isolation.dir().join("control-plane"))
}

impl Node {
    /// Starts the node's components and waits until the node is ready.
    ///
    /// # Errors
    ///
    /// When a program is missing, exits, or isn't ready within a minute.
    pub async fn start(
        isolation: &Isolation,
        control_plane: &ControlPlane,
        progress: &Progress,
    ) -> Result<Self> {
        let launcher = Launcher { isolation, control_plane };
        launcher.write_configuration()?;
        let components = Mutex::new(vec![launcher.containerd()?]);
        let node = Self { components, dir: isolation.dir().to_path_buf() };
        node.wait("containerd", async || Ok(Path::new(config::CONTAINERD_SOCKET).exists())).await?;
        node.import_sandbox_image().await?;
        let progress = progress.clone();
        let assets = tokio::task::spawn_blocking(move || Assets::provide(&BINARIES, &progress));
        let assets = assets.await??;
        for component in [
            launcher.controller_manager(&assets)?,
            launcher.scheduler(&assets)?,
            launcher.kubelet(&assets)?,
        ] {
            node.components().insert(0, component);
        }
        let client = Client::try_from(control_plane.client_config())?;
        let resources: Api<NodeResource> = Api::all(client.clone());
        node.wait("the node", async || is_ready(&resources).await).await?;
        // The API server rejects Pods in a namespace that lacks it.
        let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
        let has_account = async || Ok(accounts.get_opt("default").await?.is_some());
        node.wait("the controller manager", has_account).await?;
        Ok(node)
    }

    /// Checks that all components run.
    ///
    /// # Errors
    ///
    /// When a component has exited; the message has the last lines of its log.
    pub fn check(&self) -> Result<()> {
        self.components().iter_mut().try_for_each(Component::check)
    }

    /// The directory of the logs, with one file per component.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// Loads an image from an archive that [`ImageBuilder::archive`] wrote.
    ///
    /// # Errors
    ///
    /// When containerd rejects it.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        images::load(archive).await
    }

    /// Returns the versions of the kubelet and of containerd, as a phrase.
    ///
    /// # Errors
    ///
    /// When the API server doesn't respond.
    pub async fn describe(&self, client: &Client) -> Result<String> {
        let node = Api::<NodeResource>::all(client.clone()).get(NAME).await?;
        let info = node.status.and_then(|status| status.node_info).unwrap_or_default();
        let runtime = info.container_runtime_version.replace("://", " ");
        Ok(format!("kubelet {} with {runtime}", info.kubelet_version))
    }

    async fn import_sandbox_image(&self) -> Result<()> {
        let builder = ImageBuilder::new(&self.dir.join("buildah"));
        let sleep = find_program("sleep")?;
        let path = sleep.to_string_lossy();
        let entrypoint = [path.as_ref(), "infinity"];
        let contents = ImageContents {
            programs: &[&sleep],
            entrypoint: &entrypoint,
            ..ImageContents::default()
        };
        builder.build_from_host(SANDBOX_IMAGE, &contents).await?;
        self.load_image(&builder.archive(SANDBOX_IMAGE).await?).await
    }

    /// Waits until `check` returns true. `what` names the awaited part in the error message.
    async fn wait(&self, what: &str, check: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let since = Instant::now();
        while !check().await? {
            self.check()?;
            if since.elapsed() > START_DEADLINE {
                let tails: Vec<_> = self.components().iter().map(Component::log_tail).collect();
                let after = START_DEADLINE.as_secs();
                bail!("{what} was not ready after {after} s; {}", tails.join("\n"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    fn components(&self) -> MutexGuard<'_, Vec<Component>> {
        self.components.lock()
    }
}

async fn is_ready(nodes: &Api<NodeResource>) -> Result<bool> {
    let node = nodes.get_opt(NAME).await?;
    let conditions = node.and_then(|node| node.status?.conditions).unwrap_or_default();
    Ok(conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
}
