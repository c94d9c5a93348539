//! Everything that runs: started in order, and ended with this value.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use control_plane::{ControlPlane, Progress};
use kube::Client;
use node::{Enclosure, Node};
use rig::cluster;
use rig::manifests;
use rig::terminal::Terminal;
use testbed::leaks::Place;
use testbed::manifests::Quickstart;
use testbed::tally::Tallies;
use testbed::timeline::{Timeline, seconds};
use testbed::world::{View, World};
use tokio::task::JoinSet;

use crate::auth0::{self, Auth0};
use crate::cli::Options;
use crate::consumers::{self, Consumers, PODS};
use crate::images::{Images, Size};
use crate::{install, script};

const SUPERVISE_EVERY: Duration = Duration::from_millis(500);
const STATUS_EVERY: Duration = Duration::from_millis(500);

/// Everything that runs. The fields are dropped from top to bottom.
pub(crate) struct Stage {
    /// Watches, logs and the status line.
    running: Vec<JoinSet<()>>,
    pub(crate) auth0: Auth0,
    pub(crate) node: Node,
    pub(crate) control_plane: ControlPlane,
    pub(crate) client: Client,
    pub(crate) quickstart: Quickstart,
    pub(crate) image: Size,
    pub(crate) world: World,
    pub(crate) consumers: Consumers,
    pub(crate) tallies: Tallies,
    pub(crate) timeline: Timeline,
    terminal: Terminal,
}

impl Stage {
    pub(crate) async fn set(
        options: &Options,
        enclosure: &Enclosure,
        terminal: &Terminal,
    ) -> Result<Self> {
        let mut quickstart = Quickstart::read(&manifests::place("examples/quickstart"))?;
        terminal.heading("Starting, in namespaces of its own");
        let step = Step { terminal };
        let progress = progress(terminal);
        let since = Instant::now();
        let control_plane =
            node::control_plane(enclosure).progress(progress.clone()).start().await?;
        let client = Client::try_from(control_plane.client_config())?;
        let version = client.apiserver_version().await?.git_version;
        step.done("control plane", &format!("etcd and kube-apiserver {version}"), since);
        let since = Instant::now();
        let node = Node::start(enclosure, &control_plane, &progress).await?;
        step.done(
            "node",
            &format!("{} at {}", node.describe(&client).await?, node::ADDRESS),
            since,
        );
        let auth0 = auth0::start(&quickstart, options.seed).await?;
        let url = auth0.simulator.url().to_owned();
        step.done("Auth0", &format!("simulated, {url}, seed {}", options.seed), Instant::now());
        let image = build(&node, &step).await?;
        let since = Instant::now();
        install::install(&client).await?;
        step.done(
            "operator",
            "crds/ and deploy/operator.yaml, with that image; it is ready",
            since,
        );

        terminal.heading("Applying examples/quickstart, changed for this:");
        for change in script::changes(&quickstart, &auth0, options) {
            terminal.line(&format!("  {}", quickstart.change(&change)?));
        }
        cluster::apply(&client, &quickstart.manifests).await?;
        let timeline = Timeline::begin(terminal.clone());
        let mut stage = Self {
            running: Vec::new(),
            auth0,
            node,
            control_plane,
            client,
            quickstart,
            image,
            world: World::new(timeline.clone()),
            consumers: Consumers::default(),
            tallies: Tallies::default(),
            timeline,
            terminal: terminal.clone(),
        };
        stage.run().await?;
        Ok(stage)
    }

    /// Starts the watches, the applications once their Secrets are there, and the status line.
    async fn run(&mut self) -> Result<()> {
        let Quickstart { namespace, applications, .. } = &self.quickstart;
        self.terminal.heading("What happens");
        self.terminal.line(&format!(
            "Each application has {PODS} pods, which mount its Secret, read the file every second and \
             log in every\n0.5 s. The kubelet updates the files at its own pace.\n"
        ));
        let watches = self.world.watch(&self.client, namespace, applications);
        self.running.push(watches);
        for application in applications {
            self.world.wait(&application.name, script::SOON, "the import", View::is_idle).await?;
        }
        let place = consumers::Place {
            client: &self.client,
            namespace,
            url: self.auth0.simulator.url(),
            authority: &self.auth0.authority,
        };
        let told = (self.consumers.clone(), self.tallies.clone(), self.timeline.clone());
        self.running.push(consumers::start(&place, applications, &told).await?);
        let mut status = JoinSet::new();
        let (terminal, timeline) = (self.terminal.clone(), self.timeline.clone());
        status.spawn(show_status(terminal, timeline, self.tallies.clone()));
        self.running.push(status);
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
        let of_node = fs::read_dir(self.node.logs())?;
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

async fn build(node: &Node, step: &Step<'_>) -> Result<Size> {
    let since = Instant::now();
    step.terminal.status("  building images, which takes minutes the first time");
    let images = Images::prepare().await?;
    let image = images.operator(node).await?;
    step.terminal.clear_status();
    let Size(bytes) = image;
    let size = format!("built by the Dockerfile, {:.1} MB on its base", bytes as f64 / 1e6);
    step.done("image", &size, since);
    let since = Instant::now();
    images.consumer(node).await?;
    step.done("applications", "their image is built", since);
    Ok(image)
}

struct Step<'a> {
    terminal: &'a Terminal,
}

impl Step<'_> {
    fn done(&self, what: &str, text: &str, since: Instant) {
        self.terminal.clear_status();
        let took = seconds(since.elapsed());
        self.terminal.line(&format!("  {what:<14} {text} ({})", took.trim()));
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
