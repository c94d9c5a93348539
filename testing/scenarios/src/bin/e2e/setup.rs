//! Starts what the scenario needs.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use auth0_simulator::{RateLimit, Simulator};
use kube::Client;
use local_cluster::{
    ControlPlane,
    node::{self, Isolation, Node},
};
use scenarios::{
    environment::{
        Environment, apply_quickstart, control_plane_logs, files_in, keep_logs, progress,
    },
    quickstart::Quickstart,
};
use testkit::{leak_scan::Document, terminal::Terminal};
use tokio::task::JoinSet;

use crate::{
    chart::Release,
    cli::Options,
    consumers,
    images::{Images, added_megabytes},
    languages::LANGUAGES,
    operator_pods,
    pods::{Logins, PodTracker},
    scenario,
    steps::Steps,
};

const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
const DESCRIPTION: &str = "Each Pod mounts its application's Secret, watches the files, and logs in every 0.5 s. The \
     Pods of\nlegacy have the list in their environment. The kubelet updates the files at its own \
     pace.\n";

/// Running scenario. The fields are dropped from top to bottom.
pub(crate) struct E2e {
    pub(crate) node: Node,
    pub(crate) env: Environment,
    pub(crate) release: Release,
    pub(crate) steps: Steps,
    /// The Pods of the applications.
    pub(crate) applications: PodTracker,
    /// Number of the applications' Pods.
    pub(crate) pods: i64,
    /// The operator's Pods.
    pub(crate) operator: PodTracker,
    /// Bytes that the operator's image adds to its base.
    pub(crate) image_bytes: u64,
    /// Peak resident memory of a process of the operator, in bytes.
    pub(crate) peak_memory: Arc<AtomicU64>,
    pub(crate) logins: Logins,
}

impl E2e {
    pub(crate) async fn start(
        options: &Options,
        isolation: &Isolation,
        terminal: &Terminal,
    ) -> Result<Self> {
        let mut quickstart = Quickstart::read()?;
        quickstart.add(consumers::restarted_rotation()?)?;
        terminal.heading("Starting, in separate Linux namespaces");
        let steps = Steps::start(terminal);
        let (control_plane, client) = start_control_plane(isolation, terminal, &steps).await?;
        let node = start_node(isolation, terminal, &steps, &control_plane, &client).await?;
        let certificate = rcgen::generate_simple_self_signed([node::ADDRESS.to_string()])?;
        let ca = certificate.cert.pem();
        // The default propagation is Auth0's: a changed secret counts within 30 s. The rate limits are
        // those of its self-service plans, and the quickstart's tenant is used as it is.
        let simulator = quickstart
            .tenant(options.seed)
            .rate_limit(RateLimit::per_minute(150, 10).ok())
            .read_rate_limit(RateLimit::per_minute(100, 5).ok())
            .addr(SocketAddr::from((node::ADDRESS, 0)))
            .tls(ca.clone(), certificate.signing_key.serialize_pem());
        let start = async { simulator.start().await.context("can't start the simulated Auth0") };
        let describe = |simulator: &Simulator| {
            format!("simulated at {}, seed {}", simulator.url(), options.seed)
        };
        let simulator = steps.run("Auth0", start, describe).await?;
        let image_bytes = build_images(&node, &steps).await?;
        let release = Release::new(&control_plane).await?;
        let describe = |(): &()| "two replicas, which are ready".to_owned();
        let install = release.install(&client, simulator.addr());
        steps.run("chart installed", install, describe).await?;
        terminal.heading("Applying examples/quickstart and examples/consumers with these changes");
        let patches = scenario::patches(&quickstart, &simulator, &ca, options)?;
        apply_quickstart(terminal, &client, &mut quickstart, &patches).await?;

        let env = Environment::new(terminal, control_plane, client, simulator, quickstart);
        let logins = Logins { by_application: env.logins.clone(), by_consumer: Default::default() };
        let pods =
            |namespace: &str| PodTracker::new(&env.client, namespace, &logins, &env.timeline);
        let mut e2e = Self {
            applications: pods(&env.quickstart.namespace),
            operator: pods(operator_pods::NAMESPACE),
            pods: 0,
            node,
            env,
            release,
            steps,
            image_bytes,
            peak_memory: Arc::default(),
            logins,
        };
        e2e.start_applications(&ca).await?;
        Ok(e2e)
    }

    /// Starts the watches, and the applications once their Secrets exist.
    async fn start_applications(&mut self, ca: &str) -> Result<()> {
        self.env.terminal.heading("Timeline");
        self.env.terminal.line(DESCRIPTION);
        self.env.start_tracking();
        let mut measuring = JoinSet::new();
        measuring.spawn(measure_memory(self.peak_memory.clone()));
        let tasks = [self.operator.start(), self.applications.start(), measuring];
        self.env.background.extend(tasks);
        self.env.wait_for_import(scenario::SOON).await?;
        let describe = |pods: &i64| format!("{pods} Pods, in {}", LANGUAGES.join(", "));
        let start = consumers::start(&self.env, ca);
        self.pods = self.steps.run("applications", start, describe).await?;
        Ok(())
    }

    /// Returns the error when the control plane or the node has exited unexpectedly.
    pub(crate) async fn supervise(&self) -> anyhow::Error {
        self.env.supervise(|| self.node.check()).await
    }

    /// Keeps logs outside of the isolation, whose directory is removed.
    pub(crate) fn keep_logs(&self, documents: &[Document]) -> Result<()> {
        let mut logs = control_plane_logs(&self.env.control_plane);
        logs.extend(files_in(&self.node.log_dir())?);
        keep_logs(&self.env.terminal, "e2e", Path::new("/tmp"), documents, &logs)
    }

    /// Ends everything. The Pods end with the isolation.
    pub(crate) async fn shut_down(self) -> Result<()> {
        drop(self.node);
        self.env.shut_down().await
    }
}

async fn start_control_plane(
    isolation: &Isolation,
    terminal: &Terminal,
    steps: &Steps,
) -> Result<(ControlPlane, Client)> {
    let options = node::control_plane_options(isolation).progress(progress(terminal));
    let start = async {
        let control_plane = options.start().await?;
        let client = Client::try_from(control_plane.client_config())?;
        let version = client.apiserver_version().await?.git_version;
        anyhow::Ok((control_plane, client, version))
    };
    let describe = |(_, _, version): &(ControlPlane, Client, String)| {
        format!("etcd, kube-apiserver {version}")
    };
    let (control_plane, client, _) = steps.run("control plane", start, describe).await?;
    Ok((control_plane, client))
}

async fn start_node(
    isolation: &Isolation,
    terminal: &Terminal,
    steps: &Steps,
    control_plane: &ControlPlane,
    client: &Client,
) -> Result<Node> {
    let progress = progress(terminal);
    let start = async {
        let node = Node::start(isolation, control_plane, &progress).await?;
        let description = node.describe(client).await?;
        anyhow::Ok((node, description))
    };
    let describe =
        |(_, description): &(Node, String)| format!("{description} at {}", node::ADDRESS);
    let (node, _) = steps.run("node", start, describe).await?;
    Ok(node)
}

async fn build_images(node: &Node, steps: &Steps) -> Result<u64> {
    let images = Images::prepare().await?;
    let describe = |bytes: &u64| {
        format!("built by the Dockerfile, {} on top of its base", added_megabytes(*bytes))
    };
    let bytes = steps.run("operator's image", images.build_operator(node), describe).await?;
    let describe = |(): &()| format!("examples/consumers, in {}", LANGUAGES.join(", "));
    steps.run("consumers' images", images.build_consumers(node), describe).await?;
    Ok(bytes)
}

/// Measures the peak memory repeatedly, because the operator's processes come and go.
async fn measure_memory(peak: Arc<AtomicU64>) {
    loop {
        if let Ok(bytes) = operator_pods::peak_memory() {
            peak.fetch_max(bytes, Ordering::Relaxed);
        }
        tokio::time::sleep(MEASURE_INTERVAL).await;
    }
}
