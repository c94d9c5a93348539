//! What happens in the demo, in order.

use std::time::Duration;

use anyhow::Result;
use chrono::Utc;
use rotation::{Cause, Phase};
use scenarios::{
    quickstart::{Patch, Quickstart},
    tracker::ApplicationState,
};
use serde_json::json;
use testkit::terminal::Terminal;

use crate::{assertions::DemoResults, cli::Options, setup::Demo};

/// The applications of the quickstart, by what happens to them.
pub(crate) const SCHEDULED: &str = "checkout";
pub(crate) const STAGED: &str = "billing";
pub(crate) const REQUESTED: &str = "reports";

const SCHEDULE: &str = "20s";
const GRACE_PERIOD: &str = "8s";
const STAGING_PERIOD: &str = "6s";

/// Time in which what happens immediately has to happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Time in which a rotation has to complete.
const ROTATION: Duration = Duration::from_secs(45);

/// Returns what differs from the quickstart.
pub(crate) fn patches(quickstart: &Quickstart, endpoint: &str, secret: &str) -> Vec<Patch> {
    let kind = "ClientSecretRotation";
    let mut patches = vec![
        Patch::set("Secret", "auth0-management", "stringData.client_secret", secret)
            .described_as("the secret from the simulated Auth0"),
        Patch::set("Auth0Tenant", "acme", "spec.endpoint", endpoint),
        // A rotation in seconds instead of minutes needs its requests in seconds, too.
        Patch::set(
            "Auth0Tenant",
            "acme",
            "spec.rateLimit",
            json!({"requestsPerSecond": 10, "burst": 10}),
        ),
        Patch::set(kind, SCHEDULED, "spec.schedule", json!({"every": SCHEDULE})),
        Patch::set(kind, STAGED, "spec.staging.period", STAGING_PERIOD),
    ];
    for application in &quickstart.applications {
        patches.push(Patch::set(kind, &application.name, "spec.gracePeriod", GRACE_PERIOD));
    }
    patches
}

/// Durations that the scenario measures itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observations {
    /// How long a deleted Secret was missing.
    pub(crate) deleted_for: Option<Duration>,
    /// How long an edited Secret was wrong.
    pub(crate) edited_for: Option<Duration>,
    /// How long the operator was down that was killed during a rotation.
    pub(crate) killed_for: Option<Duration>,
    /// How long it took to publish a secret after Auth0's response with it was lost.
    pub(crate) read_back_after: Option<Duration>,
}

/// Runs the demo up to its summary. Returns what still runs, and whether all assertions passed.
pub(crate) async fn run(options: &Options, terminal: &Terminal) -> Result<(Demo, bool)> {
    let mut demo = Demo::start(options, terminal).await?;
    let mut observed = Observations::default();
    let minimum = Duration::from_secs(options.seconds);
    let aborted = tokio::select! {
        result = demo.run_steps(minimum, &mut observed) => result.err(),
        error = demo.supervise() => Some(error),
    };
    if options.keep {
        terminal.clear_status();
    } else {
        demo.env.stop_background();
    }
    let (documents, aborted) = match demo.documents().await {
        Ok(documents) => (documents, aborted),
        Err(error) => (Vec::new(), aborted.or(Some(error))),
    };
    let (common, documents) = demo.env.collect(documents, aborted).await;
    let results = DemoResults { common, observed };
    results.print(terminal);
    let has_passed = results.have_passed();
    if let Some(path) = &options.picture {
        demo.write_picture(path)?;
    }
    if !has_passed {
        demo.keep_logs(&documents)?;
    }
    Ok((demo, has_passed))
}

impl Demo {
    /// Performs all steps, and continues with scheduled rotations for at least `minimum`.
    async fn run_steps(&self, minimum: Duration, observed: &mut Observations) -> Result<()> {
        self.env.wait_for_import(SOON).await?;
        pause(3).await;
        self.request_rotation(STAGED).await?;
        pause(8).await;
        observed.deleted_for = Some(self.delete_secret(REQUESTED).await?);
        self.wait_for_scheduled_rotation(1).await?;
        pause(2).await;
        observed.read_back_after = Some(self.rotate_and_lose_response(REQUESTED).await?);
        let tracker = &self.env.tracker;
        tracker
            .wait(STAGED, ROTATION, "the end of its rotation", ApplicationState::is_idle)
            .await?;
        pause(4).await;
        observed.edited_for = Some(self.edit_secret(STAGED).await?);
        pause(2).await;
        observed.killed_for = Some(self.kill_operator_during_rotation(STAGED).await?);
        self.wait_for_scheduled_rotation(2).await?;
        while self.env.timeline.elapsed() < minimum {
            pause(1).await;
        }
        self.wait_until_all_idle().await
    }

    /// Waits until Auth0 has accepted the secret of the `count`-th scheduled rotation.
    async fn wait_for_scheduled_rotation(&self, count: u64) -> Result<()> {
        let expected = format!("scheduled rotation {count}");
        let is_accepted = |state: &ApplicationState| {
            let rotation = state.status.rotation.as_ref();
            let is_in_grace = rotation.is_some_and(|rotation| {
                rotation.cause == Cause::Schedule && rotation.phase == Phase::Grace
            });
            state.completed(Cause::Schedule) + u64::from(is_in_grace) >= count
        };
        self.env.tracker.wait(SCHEDULED, ROTATION, &expected, is_accepted).await
    }

    /// Waits until no rotation is in progress, or due within seconds.
    async fn wait_until_all_idle(&self) -> Result<()> {
        let is_idle = |state: &ApplicationState| {
            let soon = Utc::now() + Duration::from_secs(3);
            state.is_idle() && state.status.next_rotation_time.is_none_or(|due| due > soon)
        };
        for application in &self.env.quickstart.applications {
            let expected = "the end of its rotation";
            self.env.tracker.wait(&application.name, ROTATION, expected, is_idle).await?;
        }
        Ok(())
    }
}

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
