//! Starts what the demo needs.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use kube::Client;
use local_cluster::{Assets, AssetsError, Binary, ControlPlane};
use parking_lot::{Mutex, MutexGuard};
use scenarios::{
    environment::{
        Environment, apply_quickstart, control_plane_logs, files_in, keep_logs, progress,
        start_control_plane,
    },
    quickstart::Quickstart,
    timeline::seconds,
};
use secrecy::ExposeSecret as _;
use testkit::{
    cluster,
    leak_scan::Document,
    manifests,
    operator::{self, Operator, OperatorCommand},
    terminal::Terminal,
};

use crate::{cli::Options, consumers, picture, recording::Recording, scenario};

/// Longest time that Auth0 takes to accept a new secret and to reject the old one. It draws two
/// times for each change. Auth0's own window is 30 s.
const PROPAGATION: Duration = Duration::from_secs(4);
/// The operator's flag for it, with a second to spare.
const PROPAGATION_WINDOW: &str = "5s";

/// Running demo. The fields are dropped from top to bottom: first the operator, last the directory
/// of its logs.
pub(crate) struct Demo {
    /// `None` while it is killed.
    operator: Mutex<Option<Operator>>,
    pub(crate) env: Environment,
    pub(crate) has_kubectl: bool,
    command: OperatorCommand,
    recording: Recording,
}

impl Demo {
    /// Starts the control plane, the simulated Auth0, the operator and the consumers, and applies the
    /// quickstart.
    pub(crate) async fn start(options: &Options, terminal: &Terminal) -> Result<Self> {
        let executable = operator_executable(options)?;
        let mut quickstart = Quickstart::read()?;
        terminal.heading("Starting on 127.0.0.1");
        let has_kubectl = provide_binaries(terminal, options.keep).await?;
        let since = Instant::now();
        let control_plane = start_control_plane(terminal, ControlPlane::options()).await?;
        let client = Client::try_from(control_plane.client_config())?;
        let version = client.apiserver_version().await?.git_version;
        let took = seconds(since.elapsed());
        terminal.line(&format!(
            "  control plane  etcd and kube-apiserver {version}, ready after {took}"
        ));
        let simulator = quickstart.tenant(options.seed).propagation(Duration::ZERO..=PROPAGATION);
        let simulator = simulator.start().await.context("can't start the simulated Auth0")?;
        terminal.line(&format!(
            "  Auth0          simulated at {}; a changed secret counts after 0 to {} s (seed {})",
            simulator.url(),
            PROPAGATION.as_secs(),
            options.seed
        ));
        install_crds(terminal, &client).await?;
        terminal.heading("Applying examples/quickstart with these changes");
        let secret = quickstart.manager_secret(&simulator)?;
        let patches = scenario::patches(&quickstart, simulator.url(), secret.expose_secret());
        apply_quickstart(terminal, &client, &mut quickstart, &patches).await?;

        let log_dir = operator::log_dir("auth0-rotator-demo-")?;
        let kubeconfig = control_plane.kubeconfig_path().to_owned();
        let command = OperatorCommand::new(executable, kubeconfig, log_dir).args([
            "--allow-http-endpoints",
            "--propagation-window",
            PROPAGATION_WINDOW,
        ]);
        print_command(terminal, &command);
        let env = Environment::new(terminal, control_plane, client, simulator, quickstart);
        let operator = Mutex::new(Some(command.spawn()?));
        let recording = Recording::new(scenario::STAGED, env.timeline.clone());
        let mut demo = Self { operator, env, has_kubectl, command, recording };
        terminal.heading("Timeline");
        terminal.line(consumers::DESCRIPTION);
        terminal.line("");
        demo.env.start_tracking();
        let recording = demo.recording.clone();
        let mut tasks = consumers::start(&demo.env, &recording)?;
        tasks.spawn(recording.follow(demo.env.tracker.clone()));
        demo.env.background.push(tasks);
        Ok(demo)
    }

    fn operator(&self) -> MutexGuard<'_, Option<Operator>> {
        self.operator.lock()
    }

    /// Kills the operator and returns its process id.
    pub(crate) fn kill_operator(&self) -> Option<u32> {
        let operator = self.operator().take();
        operator.map(|operator| operator.pid())
    }

    /// Starts the operator after [`Self::kill_operator`] and returns its process id.
    pub(crate) fn restart_operator(&self) -> Result<u32> {
        let operator = self.command.spawn()?;
        let pid = operator.pid();
        *self.operator() = Some(operator);
        Ok(pid)
    }

    pub(crate) fn log_dir(&self) -> &Path {
        self.command.log_dir.path()
    }

    /// Returns the error when the operator or the control plane has exited unexpectedly.
    pub(crate) async fn supervise(&self) -> anyhow::Error {
        let check = || match &mut *self.operator() {
            Some(operator) => operator.check(),
            None => Ok(()),
        };
        self.env.supervise(check).await
    }

    /// Returns the operator's logs and metrics.
    pub(crate) async fn documents(&self) -> Result<Vec<Document>> {
        let mut documents = Vec::new();
        for path in files_in(self.log_dir())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            documents.push(Document::new(name, std::fs::read_to_string(&path)?));
        }
        documents.sort_by(|a, b| a.name.cmp(&b.name));
        // Taken out while it is queried, because the lock can't be held meanwhile.
        let operator = self.operator().take();
        if let Some(operator) = operator {
            // An operator that has exited has no metrics.
            let metrics = operator.try_metrics().await;
            documents.extend(metrics.map(|text| Document::new("metrics.txt", text)));
            *self.operator() = Some(operator);
        }
        Ok(documents)
    }

    pub(crate) fn keep_logs(&self, documents: &[Document]) -> Result<()> {
        let logs = control_plane_logs(&self.env.control_plane);
        keep_logs(&self.env.terminal, "demo", &std::env::temp_dir(), documents, &logs)
    }

    /// Writes the picture of the first Staged rotation.
    pub(crate) fn write_picture(&self, path: &Path) -> Result<()> {
        let picture = picture::draw(&self.recording.states(), &self.recording.logins());
        let picture = picture.context("no Staged rotation was recorded to its end")?;
        std::fs::write(path, picture).with_context(|| format!("can't write {}", path.display()))
    }

    /// Ends everything.
    pub(crate) async fn shut_down(mut self) -> Result<()> {
        self.env.stop_background();
        let operator = self.operator().take();
        if let Some(operator) = operator {
            operator.terminate().await?;
        }
        self.env.shut_down().await
    }
}

fn operator_executable(options: &Options) -> Result<std::path::PathBuf> {
    match &options.operator {
        Some(path) => Ok(std::path::absolute(path)?),
        None => operator::executable(),
    }
}

/// Builds the executables that are missing. Returns whether there is a kubectl, which the directory
/// `KUBEBUILDER_ASSETS` may lack.
async fn provide_binaries(terminal: &Terminal, with_kubectl: bool) -> Result<bool> {
    let progress = progress(terminal);
    let provide = move || {
        let assets = Assets::provide(&Binary::SERVERS, &progress)?;
        let has_kubectl = with_kubectl && assets.ensure(Binary::Kubectl, &progress).is_ok();
        Ok::<_, AssetsError>(has_kubectl)
    };
    let has_kubectl = tokio::task::spawn_blocking(provide).await??;
    terminal.clear_status();
    Ok(has_kubectl)
}

async fn install_crds(terminal: &Terminal, client: &Client) -> Result<()> {
    let crds = manifests::read("crds")?;
    cluster::install_crds(client, &crds).await?;
    let kinds = crds.iter().filter_map(|crd| crd.pointer("/spec/names/kind")?.as_str());
    let kinds: Vec<_> = kinds.collect();
    terminal.line(&format!("  crds/          {}", kinds.join(", ")));
    Ok(())
}

fn print_command(terminal: &Terminal, command: &OperatorCommand) {
    terminal.heading("Starting the operator");
    terminal.line(&format!("  {} \\", command.executable.display()));
    let arguments = command.arguments.join(" ");
    // On two lines, because it is long.
    let arguments = arguments.replace(" --log-format", " \\\n    --log-format");
    terminal.line(&format!("    {arguments}"));
}
