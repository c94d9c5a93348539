//! Environment of a scenario: a control plane, a simulated Auth0, and the quickstart's applications.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use auth0_rotator::api::{ClientSecretRotation, REQUEST_ANNOTATION};
use auth0_simulator::Simulator;
use chrono::Utc;
use kube::{
    Api, Client,
    api::{Patch as KubePatch, PatchParams},
};
use local_cluster::{ControlPlane, Options, Progress};
use serde_json::json;
use testkit::{
    cluster,
    leak_scan::{Document, LeakScan, object_documents},
    login_tally::LoginTallies,
    terminal::Terminal,
};
use tokio::task::JoinSet;

use crate::{
    application_result::ApplicationResult,
    quickstart::{Patch, Quickstart},
    report::Results,
    timeline::{Timeline, seconds},
    tracker::{ApplicationState, Tracker},
};

const SUPERVISION_INTERVAL: Duration = Duration::from_millis(200);
const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// Running environment of a scenario. The fields are dropped from top to bottom.
pub struct Environment {
    /// Watches, consumers, readers of logs, and the status line.
    pub background: Vec<JoinSet<()>>,
    pub quickstart: Quickstart,
    pub tracker: Tracker,
    /// Logins by application.
    pub logins: LoginTallies,
    pub timeline: Timeline,
    pub terminal: Terminal,
    pub client: Client,
    pub simulator: Arc<Simulator>,
    pub control_plane: ControlPlane,
}

/// Starts a control plane and shows the progress of its build.
pub async fn start_control_plane(terminal: &Terminal, options: Options) -> Result<ControlPlane> {
    let control_plane = options.progress(progress(terminal)).start().await?;
    terminal.clear_status();
    Ok(control_plane)
}

/// Returns a listener that shows the progress of a build as the status.
pub fn progress(terminal: &Terminal) -> Progress {
    let terminal = terminal.clone();
    Progress::new(move |event| terminal.status(&format!("  building {event}")))
}

/// Applies the quickstart with patches, and prints them.
pub async fn apply_quickstart(
    terminal: &Terminal,
    client: &Client,
    quickstart: &mut Quickstart,
    patches: &[Patch],
) -> Result<()> {
    for patch in patches {
        terminal.line(&format!("  {}", quickstart.patch(patch)?));
    }
    cluster::apply(client, &quickstart.manifests).await
}

impl Environment {
    /// Returns an environment to which the quickstart has been applied. Its timeline starts now.
    pub fn new(
        terminal: &Terminal,
        control_plane: ControlPlane,
        client: Client,
        simulator: Simulator,
        quickstart: Quickstart,
    ) -> Self {
        let timeline = Timeline::start(terminal.clone());
        Self {
            background: Vec::new(),
            quickstart,
            tracker: Tracker::new(timeline.clone()),
            logins: LoginTallies::default(),
            timeline,
            terminal: terminal.clone(),
            client,
            simulator: Arc::new(simulator),
            control_plane,
        }
    }

    /// Starts the watches and the status line.
    pub fn start_tracking(&mut self) {
        let Quickstart { namespace, applications, .. } = &self.quickstart;
        let mut tasks = self.tracker.start(&self.client, namespace, applications);
        let (terminal, timeline) = (self.terminal.clone(), self.timeline.clone());
        tasks.spawn(show_status(terminal, timeline, self.logins.clone()));
        self.background.push(tasks);
    }

    /// Waits until the present secret of every application is published.
    pub async fn wait_for_import(&self, deadline: Duration) -> Result<()> {
        for application in &self.quickstart.applications {
            let name = &application.name;
            self.tracker.wait(name, deadline, "the import", ApplicationState::is_idle).await?;
        }
        Ok(())
    }

    /// Requests a rotation, as with `kubectl annotate`, and returns the request.
    pub async fn request_rotation(&self, application: &str) -> Result<String> {
        let request = format!("rotate/{}", Utc::now().format("%H%M%S"));
        let text = format!("requests a rotation: {REQUEST_ANNOTATION}={request}");
        self.timeline.record_action(application, "user", &text);
        let resources: Api<ClientSecretRotation> =
            Api::namespaced(self.client.clone(), &self.quickstart.namespace);
        let annotations = json!({"metadata": {"annotations": {REQUEST_ANNOTATION: request}}});
        let patch = KubePatch::Merge(annotations);
        resources.patch(application, &PatchParams::default(), &patch).await?;
        Ok(request)
    }

    /// Waits until the operator has handled a request.
    pub async fn wait_until_handled(
        &self,
        application: &str,
        request: &str,
        deadline: Duration,
    ) -> Result<()> {
        let is_handled = |state: &ApplicationState| {
            state.status.last_handled_request.as_deref() == Some(request)
        };
        self.tracker.wait(application, deadline, "the requested rotation", is_handled).await
    }

    /// Returns the error when the control plane or what `check` checks no longer runs.
    pub async fn supervise(&self, check: impl Fn() -> Result<()>) -> anyhow::Error {
        loop {
            if let Err(error) = check() {
                return error;
            }
            if let Err(error) = self.control_plane.check() {
                return error.into();
            }
            tokio::time::sleep(SUPERVISION_INTERVAL).await;
        }
    }

    /// Ends the watches, the consumers, the readers of logs, and the status line.
    pub fn stop_background(&mut self) {
        self.background.clear();
        self.terminal.clear_status();
    }

    /// Collects the results, and everything that was scanned for secrets. An error is the reason why
    /// the scenario was aborted, unless there already is one.
    pub async fn collect(
        &self,
        mut documents: Vec<Document>,
        aborted: Option<anyhow::Error>,
    ) -> (Results, Vec<Document>) {
        let mut results = Results::default();
        let collected = self.collect_into(&mut results, &mut documents).await;
        let reason = aborted.or(collected.err());
        results.aborted = reason.map(|error| format!("{error:#}"));
        (results, documents)
    }

    async fn collect_into(
        &self,
        results: &mut Results,
        documents: &mut Vec<Document>,
    ) -> Result<()> {
        for application in &self.quickstart.applications {
            results.applications.push(ApplicationResult::collect(self, application).await?);
        }
        documents.extend(object_documents(&self.client, Some(&self.quickstart.namespace)).await?);
        let mut scan = LeakScan::for_values_of(&self.simulator.value_history())?;
        scan.documents(documents);
        results.leaks = Some(scan.finish());
        Ok(())
    }

    /// Ends the simulated Auth0 and the control plane.
    pub async fn shut_down(mut self) -> Result<()> {
        self.stop_background();
        if let Some(simulator) = Arc::into_inner(self.simulator) {
            simulator.shutdown().await;
        }
        self.control_plane.stop().await.context("can't end the control plane")
    }
}

/// Keeps documents and logs in a new directory, and prints its path.
pub fn keep_logs(
    terminal: &Terminal,
    program: &str,
    parent: &Path,
    documents: &[Document],
    logs: &[PathBuf],
) -> Result<()> {
    let prefix = format!("auth0-rotator-{program}-");
    let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent)?.keep();
    for Document { name, text } in documents {
        fs::write(dir.join(name), text)?;
    }
    for log in logs {
        // A missing log is no reason to lose the others.
        let _ = fs::copy(log, dir.join(log.file_name().unwrap_or_default()));
    }
    terminal.line(&format!("Logs and resources are kept in {}", dir.display()));
    Ok(())
}

/// Returns the paths of the control plane's logs.
pub fn control_plane_logs(control_plane: &ControlPlane) -> Vec<PathBuf> {
    ["kube-apiserver.log", "etcd.log"].map(|log| control_plane.data_dir().join(log)).to_vec()
}

/// Returns the paths of the files in a directory.
pub fn files_in(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(fs::read_dir(dir)?.flatten().map(|entry| entry.path()).collect())
}

async fn show_status(terminal: Terminal, timeline: Timeline, logins: LoginTallies) {
    loop {
        let total = logins.total();
        if total.logins > 0 {
            let elapsed = seconds(timeline.elapsed());
            terminal.status(&format!(
                "{elapsed:>7}  {} logins, {} on the second try, {} failed",
                total.logins,
                total.second_tries(),
                total.all_failed(),
            ));
        }
        tokio::time::sleep(STATUS_INTERVAL).await;
    }
}
