//! What happens in the scenario, in order.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use auth0_rotator::api::ENDPOINT_ANNOTATION;
use auth0_simulator::Simulator;
use local_cluster::node::Isolation;
use rotation::Phase;
use scenarios::{
    quickstart::{Patch, Quickstart},
    timeline::seconds,
    tracker::ApplicationState,
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::{leak_scan::Document, terminal::Terminal};

use crate::{assertions::E2eResults, cli::Options, operator_pods, setup::E2e};

/// The applications by what happens to them. The remaining one is not rotated.
pub(crate) const ROTATED: &str = "checkout";
pub(crate) const STAGED: &str = "billing";
pub(crate) const RESTARTED: &str = "legacy";

const GRACE_PERIOD: &str = "1m";
/// Time in which what happens immediately has to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Time in which a rotation has to complete: staging, the propagation window and the grace period.
const ROTATION: Duration = Duration::from_secs(420);
/// Time in which a kubelet has to update a file. It synchronizes a Pod every 60 to 90 s.
const KUBELET_DEADLINE: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Time in which logins are counted before the first step, and after the operator is uninstalled.
const OBSERVATION: Duration = Duration::from_secs(10);

/// Returns what differs from the examples. `ca` is the certificate of the simulated Auth0.
pub(crate) fn patches(
    quickstart: &Quickstart,
    simulator: &Simulator,
    ca: &str,
    options: &Options,
) -> Result<Vec<Patch>> {
    let secret = quickstart.manager_secret(simulator)?;
    let kind = "ClientSecretRotation";
    let mut patches = vec![
        Patch::set(
            "Secret",
            "auth0-management",
            "stringData.client_secret",
            secret.expose_secret(),
        )
        .described_as("the secret from the simulated Auth0"),
        // The operator sends credentials only to endpoints that their Secret permits.
        Patch::set(
            "Secret",
            "auth0-management",
            "metadata.annotations",
            json!({ENDPOINT_ANNOTATION: simulator.url()}),
        ),
        Patch::set("Auth0Tenant", "acme", "spec.endpoint", simulator.url()),
        Patch::set("Auth0Tenant", "acme", "spec.caBundle", ca)
            .described_as("the certificate of the simulated Auth0"),
    ];
    for application in &quickstart.applications {
        patches.push(Patch::set(kind, &application.name, "spec.gracePeriod", GRACE_PERIOD));
    }
    if let Some(period) = &options.staging {
        for name in [STAGED, RESTARTED] {
            patches.push(Patch::set(kind, name, "spec.staging.period", period.as_str()));
        }
    }
    Ok(patches)
}

/// Runs the scenario up to its summary. Returns what still runs, and whether all assertions passed.
pub(crate) async fn run(
    options: &Options,
    isolation: &Isolation,
    terminal: &Terminal,
) -> Result<(E2e, bool)> {
    let mut e2e = E2e::start(options, isolation, terminal).await?;
    let mut results = E2eResults::default();
    let mut metrics = String::new();
    let steps = async {
        e2e.run_steps().await?;
        // The metrics are gone once the operator is uninstalled.
        metrics = operator_pods::metrics(&e2e.env.client).await?;
        if !options.keep {
            results.objects_left = Some(e2e.uninstall().await?);
        }
        anyhow::Ok(())
    };
    let aborted = tokio::select! {
        result = steps => result.err(),
        error = e2e.supervise() => Some(error),
    };
    let documents = vec![
        Document::new("operator.log", e2e.operator.logs()),
        Document::new("applications.log", e2e.applications.logs()),
        Document::new("metrics.txt", metrics),
    ];
    let (common, documents) = e2e.env.collect(documents, aborted).await;
    results.common = common;
    results.collect(&e2e);
    if options.keep {
        terminal.clear_status();
    } else {
        e2e.env.stop_background();
    }
    results.print(terminal);
    let has_passed = results.have_passed();
    if !has_passed {
        e2e.keep_logs(&documents)?;
    }
    Ok((e2e, has_passed))
}

impl E2e {
    /// Rotates the secrets of three applications while the operator's Pods are replaced, and waits
    /// until the applications' Pods have the final files.
    async fn run_steps(&self) -> Result<()> {
        let steps = &self.steps;
        let observe = async {
            tokio::time::sleep(OBSERVATION).await;
            anyhow::Ok(())
        };
        steps.run("logins", observe, |()| "before any rotation".into()).await?;
        let describe =
            |(): &()| format!("{STAGED} and {RESTARTED} with Staged, {ROTATED} with Rotate");
        steps.run("rotations requested", self.request_rotations(), describe).await?;
        let describe = |took: &Duration| format!("another Pod leads after {}", seconds(*took));
        steps.run("leader deleted", self.delete_leader(), describe).await?;
        let describe = |phase: &Phase| format!("{STAGED} was in phase {phase:?}");
        steps.run("chart upgraded", self.upgrade(), describe).await?;
        let is_activated = |state: &ApplicationState| {
            matches!(state.phase(), Some(Phase::Confirming | Phase::Grace))
        };
        let activated = self.env.tracker.wait(STAGED, ROTATION, "its activation", is_activated);
        steps.run("secret activated", activated, |()| format!("that of {STAGED}")).await?;
        steps.run("chart rolled back", self.roll_back(), describe).await?;
        steps
            .run("rotations completed", self.wait_for_rotations(), |()| "all three".into())
            .await?;
        let describe = |pods: &usize| format!("of {pods} Pods");
        steps.run("files updated", self.wait_for_files(), describe).await?;
        Ok(())
    }

    /// Uninstalls the operator. Returns the number of objects that have to be left, and are.
    async fn uninstall(&self) -> Result<usize> {
        let quickstart = &self.env.quickstart;
        let secrets = quickstart.applications.iter().map(|application| application.secret.clone());
        let secrets: Vec<_> = secrets.collect();
        let uninstall = async {
            self.release.uninstall().await?;
            let namespace = &quickstart.namespace;
            let left = operator_pods::count_left(&self.env.client, namespace, &secrets).await?;
            tokio::time::sleep(OBSERVATION).await;
            anyhow::Ok(left)
        };
        let describe = |left: &usize| format!("{left} Secrets, resources and CRDs are left");
        self.steps.run("chart uninstalled", uninstall, describe).await
    }

    async fn request_rotations(&self) -> Result<()> {
        for application in [STAGED, RESTARTED, ROTATED] {
            let request = self.env.request_rotation(application).await?;
            self.env.wait_until_handled(application, &request, SOON).await?;
        }
        let is_staged = |state: &ApplicationState| state.phase() == Some(Phase::Staging);
        for application in [STAGED, RESTARTED] {
            let expected = "the staging of its next secret";
            self.env.tracker.wait(application, SOON, expected, is_staged).await?;
        }
        Ok(())
    }

    async fn delete_leader(&self) -> Result<Duration> {
        self.phase_of_staged()?;
        let took = operator_pods::delete_leader(&self.env.client).await?;
        operator_pods::wait_until_ready(&self.env.client).await?;
        Ok(took)
    }

    async fn upgrade(&self) -> Result<Phase> {
        let phase = self.phase_of_staged()?;
        self.release.upgrade().await?;
        Ok(phase)
    }

    async fn roll_back(&self) -> Result<Phase> {
        let phase = self.phase_of_staged()?;
        self.release.roll_back().await?;
        Ok(phase)
    }

    async fn wait_for_rotations(&self) -> Result<()> {
        for application in [ROTATED, STAGED, RESTARTED] {
            let expected = "the end of its rotation";
            let is_idle = ApplicationState::is_idle;
            self.env.tracker.wait(application, ROTATION, expected, is_idle).await?;
        }
        Ok(())
    }

    /// Returns the phase of the rotation during which the operator's Pods are replaced.
    fn phase_of_staged(&self) -> Result<Phase> {
        let phase = self.env.tracker.state(STAGED).phase();
        phase.with_context(|| format!("the rotation of {STAGED} has already completed"))
    }

    /// Waits until the file of every Pod has only the final secret, and returns the number of files.
    /// An environment keeps both secrets.
    async fn wait_for_files(&self) -> Result<usize> {
        let since = Instant::now();
        loop {
            let mut pods = self.applications.existing();
            pods.retain(|pod| pod.reads_file());
            if pods.iter().all(|pod| pod.values == 1) {
                return Ok(pods.len());
            }
            if since.elapsed() > KUBELET_DEADLINE {
                bail!("a Pod's file was not updated within {} s", KUBELET_DEADLINE.as_secs());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
