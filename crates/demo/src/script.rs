//! What happens in the demo, one thing after the other.

use std::time::Duration;

use anyhow::Result;
use auth0_simulator::Simulator;
use chrono::Utc;
use serde_json::json;
use testbed::manifests::{Application, Change, Quickstart};
use testbed::timeline::Timeline;
use testbed::world::{View, World};

use crate::somebody::Somebody;

/// The applications of the quickstart, by what the demo has happen to them.
pub(crate) const ON_SCHEDULE: &str = "checkout";
pub(crate) const STAGED: &str = "billing";
pub(crate) const ON_REQUEST: &str = "reports";

/// The operator's flag for [`crate::auth0::PROPAGATION`], with a second to spare.
pub(crate) const PROPAGATION_WINDOW: &str = "5s";
const SCHEDULE: &str = "20s";
const GRACE_PERIOD: &str = "8s";
const STAGING_PERIOD: &str = "6s";

/// The longest that anything which happens at once may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The longest that a rotation may take from its cause to its end.
const ROTATION: Duration = Duration::from_secs(45);

/// What of the quickstart is otherwise in the demo.
pub(crate) fn changes(quickstart: &Quickstart, simulator: &Simulator, secret: &str) -> Vec<Change> {
    let kind = "ClientSecretRotation";
    let mut changes = vec![
        Change::set("Secret", "auth0-management", "stringData.client_secret", secret)
            .shown_as("the one that the simulated Auth0 gave out"),
        Change::set("Auth0Tenant", "acme", "spec.endpoint", simulator.url()),
        // A rotation in seconds instead of minutes has its calls in seconds, too.
        Change::set(
            "Auth0Tenant",
            "acme",
            "spec.rateLimit",
            json!({"requestsPerSecond": 10, "burst": 10}),
        ),
        Change::set(kind, ON_SCHEDULE, "spec.schedule", json!({"every": SCHEDULE})),
        Change::set(kind, STAGED, "spec.staging.period", STAGING_PERIOD),
    ];
    let grace = |app: &Application| Change::set(kind, &app.name, "spec.gracePeriod", GRACE_PERIOD);
    changes.extend(quickstart.applications.iter().map(grace));
    changes
}

/// What the script has seen with its own eyes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How long the Secret was gone that somebody deleted.
    pub(crate) deleted_for: Option<Duration>,
    /// How long the Secret was wrong that somebody edited.
    pub(crate) edited_for: Option<Duration>,
    /// How long the operator was gone that somebody killed in the middle of a rotation.
    pub(crate) killed_for: Option<Duration>,
    /// How long it took to find the secret whose announcement was lost.
    pub(crate) read_back_after: Option<Duration>,
}

/// Who plays the script, and where.
pub(crate) struct Script<'a> {
    pub(crate) applications: &'a [Application],
    pub(crate) somebody: &'a Somebody<'a>,
    pub(crate) world: &'a World,
    pub(crate) timeline: &'a Timeline,
}

impl Script<'_> {
    /// Waits until every application's present secret is published.
    pub(crate) async fn import(&self) -> Result<()> {
        for application in self.applications {
            self.world.wait(&application.name, SOON, "the import", View::is_idle).await?;
        }
        Ok(())
    }

    /// Plays everything, and goes on with scheduled rotations until `seconds` are over. `seen` is
    /// filled in on the way.
    pub(crate) async fn play(&self, seconds: Duration, seen: &mut Seen) -> Result<()> {
        pause(3).await;
        self.somebody.asks_for_a_rotation(STAGED).await?;
        pause(8).await;
        seen.deleted_for = Some(self.somebody.deletes_the_secret(ON_REQUEST).await?);
        self.scheduled_rotation(1).await?;
        pause(2).await;
        seen.read_back_after = Some(self.somebody.loses_the_answer(ON_REQUEST).await?);
        self.world.wait(STAGED, ROTATION, "the end of its rotation", View::is_idle).await?;
        pause(4).await;
        seen.edited_for = Some(self.somebody.edits_the_secret(STAGED).await?);
        pause(2).await;
        seen.killed_for = Some(self.somebody.kills_the_operator(STAGED).await?);
        self.scheduled_rotation(2).await?;
        while self.timeline.elapsed() < seconds {
            pause(1).await;
        }
        self.come_to_rest().await
    }

    /// Waits for the `count`-th scheduled rotation to have its secret accepted.
    async fn scheduled_rotation(&self, count: u64) -> Result<()> {
        let what = format!("scheduled rotation number {count}");
        let is_accepted = move |view: &View| {
            let running = view.status.rotation.as_ref();
            let in_grace = running.is_some_and(|r| r.cause == "Schedule" && r.phase == "Grace");
            view.completed("Schedule") + u64::from(in_grace) >= count
        };
        Ok(self.world.wait(ON_SCHEDULE, ROTATION, &what, is_accepted).await?)
    }

    /// Waits until no rotation is in progress, and none is due in the next seconds.
    async fn come_to_rest(&self) -> Result<()> {
        for application in self.applications {
            let is_at_rest = |view: &View| {
                let soon = Utc::now() + Duration::from_secs(3);
                view.is_idle() && view.status.next_rotation_time.is_none_or(|due| due > soon)
            };
            let what = "the end of its rotation";
            self.world.wait(&application.name, ROTATION, what, is_at_rest).await?;
        }
        Ok(())
    }
}

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
