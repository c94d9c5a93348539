//! Everything that runs: started in order, and ended with this value.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use kube::Client;
use local_cluster::node::{Isolation, Node};
use local_cluster::{ControlPlane, Progress};
use rig::manifests;
use rig::terminal::Terminal;
use testbed::leaks::Place;
use testbed::manifests::Quickstart;
use testbed::tally::Tallies;
use testbed::timeline::{Timeline, seconds};
use testbed::world::{View, World};
use tokio::task::JoinSet;

use crate::auth0::{self, Auth0};
use crate::chart::Release;
use crate::cli::Options;
use crate::consumers;
use crate::images::{Images, Size};
use crate::languages::LANGUAGES;
use crate::pods::Pods;
use crate::steps::Steps;
use crate::{operator, script};

const SUPERVISE_EVERY: Duration = Duration::from_millis(500);
const STATUS_EVERY: Duration = Duration::from_millis(500);
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// Everything that runs. The fields are dropped from top to bottom.
pub(crate) struct Stage {
    /// Watches, logs and the status line.
    running: Vec<JoinSet<()>>,
    pub(crate) auth0: Auth0,
    pub(crate) node: Node,
    pub(crate) control_plane: ControlPlane,
    pub(crate) client: Client,
    pub(crate) release: Release,
    pub(crate) quickstart: Quickstart,
    pub(crate) image: Size,
    pub(crate) world: World,
    /// The pods of the applications, and how many there have to be.
    pub(crate) applications: Pods,
    pub(crate) wanted: i64,
    /// The operator's pods.
    pub(crate) operator: Pods,
    /// The most memory that a process of the operator has had resident, in bytes.
    pub(crate) memory: Arc<AtomicU64>,
    /// Logins by application, and by consumer.
    pub(crate) tallies: [Tallies; 2],
    pub(crate) timeline: Timeline,
    pub(crate) steps: Steps,
    terminal: Terminal,
}

impl Stage {
    pub(crate) async fn set(
        options: &Options,
        enclosure: &Isolation,
        terminal: &Terminal,
    ) -> Result<Self> {
        let mut quickstart = Quickstart::read(&manifests::place("examples/quickstart"))?;
        quickstart.add(consumers::restarted()?)?;
        terminal.heading("Starting, in namespaces of its own");
        let steps = Steps::begin(terminal);
        let (control_plane, node, client) = cluster(enclosure, terminal, &steps).await?;
        let starting = auth0::start(&quickstart, options.seed);
        let text =
            |auth0: &Auth0| format!("simulated, {}, seed {}", auth0.simulator.url(), options.seed);
        let auth0 = steps.take("Auth0", starting, text).await?;
        let image = build(&node, &steps).await?;
        let release = Release::new(&control_plane).await?;
        let text = |(): &()| "two replicas of that image, which are ready".to_owned();
        steps.take("chart installed", release.install(&client), text).await?;
        terminal.heading("Applying examples/quickstart and examples/consumers, changed for this:");
        for change in script::changes(&quickstart, &auth0, options) {
            terminal.line(&format!("  {}", quickstart.change(&change)?));
        }
        rig::cluster::apply(&client, &quickstart.manifests).await?;
        let timeline = Timeline::begin(terminal.clone());
        let tallies = [Tallies::default(), Tallies::default()];
        let pods = |namespace: &str| Pods::new(&client, namespace, tallies.clone(), &timeline);
        let mut stage = Self {
            running: Vec::new(),
            world: World::new(timeline.clone()),
            applications: pods(&quickstart.namespace),
            wanted: 0,
            operator: pods(operator::NAMESPACE),
            memory: Arc::default(),
            auth0,
            node,
            control_plane,
            release,
            quickstart,
            image,
            tallies,
            timeline,
            steps,
            terminal: terminal.clone(),
            client,
        };
        stage.run().await?;
        Ok(stage)
    }

    /// Starts the watches, the applications once their Secrets are there, and the status line.
    async fn run(&mut self) -> Result<()> {
        let Quickstart { namespace, applications, .. } = &self.quickstart;
        self.terminal.heading("What happens");
        self.terminal.line(
            "Each pod mounts its application's Secret, watches the files and logs in every 0.5 s; those \
             of legacy\nhave the list in their environment. The kubelet updates the files at its own \
             pace.\n",
        );
        let watches = self.world.watch(&self.client, namespace, applications);
        self.running.extend([watches, self.operator.follow(), self.applications.follow()]);
        let mut status = JoinSet::new();
        let (terminal, timeline) = (self.terminal.clone(), self.timeline.clone());
        status.spawn(show_status(terminal, timeline, self.tallies[0].clone()));
        status.spawn(measure(self.memory.clone()));
        self.running.push(status);
        for application in applications {
            self.world.wait(&application.name, script::SOON, "the import", View::is_idle).await?;
        }
        let place = consumers::Place {
            client: &self.client,
            namespace,
            url: self.auth0.simulator.url(),
            authority: &self.auth0.authority,
        };
        let text = |pods: &i64| format!("{pods} pods, in {}", LANGUAGES.join(", "));
        let starting = consumers::start(&place, applications);
        self.wanted = self.steps.take("applications", starting, text).await?;
        Ok(())
    }

    /// Returns why it can't go on, when it can't.
    pub(crate) async fn supervise(&self) -> anyhow::Error {
        loop {
            if let Err(error) = self.control_plane.check() {
                return error.into();
            }
            if let Err(error) = self.node.check() {
                return error;
            }
            tokio::time::sleep(SUPERVISE_EVERY).await;
        }
    }

    /// Ends the watches, the reading of logs and the status line.
    pub(crate) fn quiet(&mut self) {
        self.running.clear();
        self.terminal.clear_status();
    }

    /// Keeps logs and what was found outside of the enclosure's folder, which goes, and tells where.
    pub(crate) fn preserve(&self, places: &[Place]) -> Result<()> {
        let folder =
            tempfile::Builder::new().prefix("auth0-rotator-e2e-").tempdir_in("/tmp")?.keep();
        for place in places {
            fs::write(folder.join(&place.name), &place.text)?;
        }
        let data = self.control_plane.data_dir();
        let mut logs = vec![data.join("kube-apiserver.log"), data.join("etcd.log")];
        let of_node = fs::read_dir(self.node.log_dir())?;
        logs.extend(of_node.flatten().map(|entry| entry.path()));
        for log in logs {
            let name = log.file_name().map(PathBuf::from).unwrap_or_default();
            // A log that isn't there is no reason to lose the others.
            let _ = fs::copy(&log, folder.join(name));
        }
        self.terminal.line(&format!("Logs and resources are kept in {}", folder.display()));
        Ok(())
    }

    /// Ends everything; pods end with the enclosure.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.quiet();
        drop(self.node);
        self.auth0.simulator.shutdown().await;
        Ok(self.control_plane.stop().await?)
    }
}

async fn cluster(
    enclosure: &Isolation,
    terminal: &Terminal,
    steps: &Steps,
) -> Result<(ControlPlane, Node, Client)> {
    let progress = progress(terminal);
    let starting = async {
        let options =
            local_cluster::node::control_plane_options(enclosure).progress(progress.clone());
        let control_plane = options.start().await?;
        let client = Client::try_from(control_plane.client_config())?;
        let version = client.apiserver_version().await?.git_version;
        anyhow::Ok((control_plane, client, version))
    };
    let text = |(_, _, version): &(_, _, String)| format!("etcd, kube-apiserver {version}");
    let (control_plane, client, _) = steps.take("control plane", starting, text).await?;
    let starting = async {
        let node = Node::start(enclosure, &control_plane, &progress).await?;
        let description = node.describe(&client).await?;
        anyhow::Ok((node, description))
    };
    let text = |(_, description): &(_, String)| {
        format!("{description} at {}", local_cluster::node::ADDRESS)
    };
    let (node, _) = steps.take("node", starting, text).await?;
    Ok((control_plane, node, client))
}

async fn build(node: &Node, steps: &Steps) -> Result<Size> {
    let images = Images::prepare().await?;
    let text = |Size(bytes): &Size| {
        format!("built by the Dockerfile, {:.1} MB on its base", *bytes as f64 / 1e6)
    };
    let image = steps.take("operator's image", images.operator(node), text).await?;
    let text = |(): &()| format!("of examples/consumers, in {}", LANGUAGES.join(", "));
    steps.take("consumers' images", images.consumers(node), text).await?;
    Ok(image)
}

/// The most memory that the operator's processes have: they come and go.
async fn measure(most: Arc<AtomicU64>) {
    loop {
        if let Ok(bytes) = operator::memory() {
            most.fetch_max(bytes, Ordering::Relaxed);
        }
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

fn progress(terminal: &Terminal) -> Progress {
    let terminal = terminal.clone();
    Progress::new(move |event| terminal.status(&format!("  building {event}")))
}

async fn show_status(terminal: Terminal, timeline: Timeline, tallies: Tallies) {
    loop {
        let total = tallies.total();
        terminal.status(&format!(
            "{}  {} logins, {} at a second try, {} failed",
            seconds(timeline.elapsed()),
            total.logins,
            total.second_tries(),
            total.all_failed(),
        ));
        tokio::time::sleep(STATUS_EVERY).await;
    }
}
