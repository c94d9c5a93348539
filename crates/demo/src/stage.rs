//! Everything that runs: started in order, and ended with this value.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use auth0_simulator::Simulator;
use kube::Client;
use local_cluster::ControlPlane;
use rig::cluster;
use rig::manifests;
use rig::operator::{self, Operator};
use rig::terminal::Terminal;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use testbed::leaks::Place;
use testbed::manifests::Quickstart;
use testbed::tally::Tallies;
use testbed::timeline::{Timeline, seconds};
use testbed::world::World;
use tokio::task::JoinSet;

use crate::auth0;
use crate::cli::Options;
use crate::consumer::{self, Setting};
use crate::script::{self, PROPAGATION_WINDOW};

const SUPERVISE_EVERY: Duration = Duration::from_millis(200);
const STATUS_EVERY: Duration = Duration::from_millis(200);

/// The operator, for those who watch over it and for who kills it.
#[derive(Clone)]
pub(crate) struct SharedOperator(Arc<Mutex<Operator>>);

impl SharedOperator {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Operator> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that runs. The fields are dropped from top to bottom: first who uses the control
/// plane, last the control plane and the folder.
pub(crate) struct Stage {
    pub(crate) operator: SharedOperator,
    /// Watches, consumers and the status line.
    running: Vec<JoinSet<()>>,
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) control_plane: ControlPlane,
    pub(crate) client: Client,
    pub(crate) quickstart: Quickstart,
    pub(crate) has_kubectl: bool,
    pub(crate) world: World,
    pub(crate) tallies: Tallies,
    pub(crate) timeline: Timeline,
    terminal: Terminal,
    folder: TempDir,
}

impl Stage {
    /// Starts the control plane, the simulated Auth0 and the operator, and applies the quickstart.
    pub(crate) async fn set(options: &Options, terminal: &Terminal) -> Result<Self> {
        let executable = operator::executable(options.operator.as_deref(), "demo")?;
        let mut quickstart = Quickstart::read(&manifests::place("examples/quickstart"))?;

        terminal.heading("Starting, all on 127.0.0.1");
        let has_kubectl = cluster::provide(terminal, options.keep).await?;
        let since = Instant::now();
        let control_plane = cluster::start(terminal, ControlPlane::options()).await?;
        let client = Client::try_from(control_plane.client_config())?;
        let version = client.apiserver_version().await?.git_version;
        terminal.line(&format!(
            "  control plane  etcd and kube-apiserver {version}, ready in {}",
            seconds(since.elapsed()).trim()
        ));
        let simulator = Arc::new(auth0::start(&quickstart, options.seed).await?);
        tell_simulator(terminal, &simulator, options.seed);

        install_definitions(terminal, &client).await?;
        apply_quickstart(terminal, &client, &mut quickstart, &simulator).await?;
        tell_operator(terminal, &executable);
        // From here on the operator's guardian removes it if nobody else can.
        let folder = tempfile::Builder::new().prefix("auth0-rotator-demo-").tempdir()?;
        let timeline = Timeline::begin(terminal.clone());
        let operator = Operator::start(operator::Start {
            executable,
            arguments: operator::arguments(PROPAGATION_WINDOW),
            kubeconfig: control_plane.kubeconfig_path().into(),
            folder: folder.path().into(),
            log: "operator.log".into(),
        })?;

        let world = World::new(timeline.clone());
        let mut stage = Self {
            operator: SharedOperator(Arc::new(Mutex::new(operator))),
            running: Vec::new(),
            simulator,
            control_plane,
            client,
            quickstart,
            has_kubectl,
            world,
            tallies: Tallies::default(),
            timeline,
            terminal: terminal.clone(),
            folder,
        };
        stage.run()?;
        Ok(stage)
    }

    /// Starts the watches, the consumers and the status line.
    fn run(&mut self) -> Result<()> {
        let Quickstart { namespace, applications, .. } = &self.quickstart;
        self.terminal.heading("What happens");
        self.terminal.line(consumer::DESCRIPTION);
        self.terminal.line("");
        let watches = self.world.watch(&self.client, namespace, applications);
        let setting = Setting {
            client: self.client.clone(),
            namespace: namespace.clone(),
            simulator: self.simulator.clone(),
            http: reqwest::Client::builder().no_proxy().build()?,
            tallies: self.tallies.clone(),
            timeline: self.timeline.clone(),
        };
        let consumers = consumer::start(&setting, applications);
        let mut status = JoinSet::new();
        status.spawn(show_status(
            self.terminal.clone(),
            self.timeline.clone(),
            self.tallies.clone(),
        ));
        self.running = vec![watches, consumers, status];
        Ok(())
    }

    /// Returns why the demo can't go on, when it can't.
    pub(crate) async fn supervise(&self) -> anyhow::Error {
        loop {
            let ended = self.operator.lock().ended();
            match ended {
                Ok(None) => {}
                Ok(Some(obituary)) => return anyhow!(obituary),
                Err(error) => return error,
            }
            if let Err(error) = self.control_plane.check() {
                return error.into();
            }
            tokio::time::sleep(SUPERVISE_EVERY).await;
        }
    }

    /// Ends the consumers, the watches and the status line.
    pub(crate) fn quiet(&mut self) {
        self.running.clear();
        self.terminal.clear_status();
    }

    /// Keeps logs and what was found, and tells where.
    pub(crate) fn preserve(&mut self, places: &[Place]) -> Result<()> {
        let folder = self.folder.path();
        for place in places.iter().filter(|place| place.name != "operator.log") {
            fs::write(folder.join(&place.name), &place.text)?;
        }
        for log in ["kube-apiserver.log", "etcd.log"] {
            // A log that isn't there is no reason to lose the others.
            let _ = fs::copy(self.control_plane.data_dir().join(log), folder.join(log));
        }
        self.folder.disable_cleanup(true);
        let folder = self.folder.path().display();
        self.terminal.line(&format!("Logs and resources are kept in {folder}"));
        Ok(())
    }

    /// Ends everything.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.quiet();
        let operator = self.operator.clone();
        // It blocks until the operator has finished what is under way.
        tokio::task::spawn_blocking(move || operator.lock().terminate()).await??;
        let simulator = Arc::into_inner(self.simulator);
        if let Some(simulator) = simulator {
            simulator.shutdown().await;
        }
        self.control_plane.stop().await.context("can't end the control plane")
    }
}

fn tell_simulator(terminal: &Terminal, simulator: &Simulator, seed: u64) {
    let window = auth0::PROPAGATION;
    terminal.line(&format!(
        "  Auth0          simulated, {}; it takes {} to {} s until a changed secret counts \
         (seed {seed})",
        simulator.url(),
        window.start().as_secs(),
        window.end().as_secs(),
    ));
}

fn tell_operator(terminal: &Terminal, executable: &Path) {
    let arguments = operator::arguments(PROPAGATION_WINDOW).join(" ");
    // Two lines, for it is long.
    let arguments = arguments.replace(" --metrics-addr", " \\\n    --metrics-addr");
    terminal.heading("Starting the operator");
    terminal.line(&format!("  {} \\", executable.display()));
    terminal.line(&format!("    {arguments}"));
}

async fn install_definitions(terminal: &Terminal, client: &Client) -> Result<()> {
    let definitions = manifests::read(&manifests::place("crds"))?;
    cluster::install(client, &definitions).await?;
    let kinds = definitions.iter().filter_map(|crd| crd.pointer("/spec/names/kind")?.as_str());
    let kinds: Vec<_> = kinds.collect();
    terminal.line(&format!("  crds/          {}", kinds.join(", ")));
    Ok(())
}

async fn apply_quickstart(
    terminal: &Terminal,
    client: &Client,
    quickstart: &mut Quickstart,
    simulator: &Simulator,
) -> Result<()> {
    terminal.heading("Applying examples/quickstart, changed for the demo:");
    let secret = auth0::managers_secret(simulator, quickstart)?;
    for change in script::changes(quickstart, simulator, secret.expose_secret()) {
        terminal.line(&format!("  {}", quickstart.change(&change)?));
    }
    cluster::apply(client, &quickstart.manifests).await
}

async fn show_status(terminal: Terminal, timeline: Timeline, tallies: Tallies) {
    loop {
        let total = tallies.total();
        if total.logins > 0 {
            terminal.status(&format!(
                "{}  {} logins, {} at a second try, {} failed",
                seconds(timeline.elapsed()),
                total.logins,
                total.second_tries(),
                total.all_failed(),
            ));
        }
        tokio::time::sleep(STATUS_EVERY).await;
    }
}
