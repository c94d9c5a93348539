//! What happens, one thing after the other.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use chrono::Utc;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use testbed::manifests::{Change, Quickstart};
use testbed::timeline::{Timeline, seconds};
use testbed::world::{View, World, client_secret_rotations};

use crate::auth0::Auth0;
use crate::chart::Release;
use crate::cli::Options;
use crate::operator;
use crate::pods::Pods;
use crate::steps::Steps;

/// The applications, by what happens to them. The one that is left is left alone.
pub(crate) const ROTATED: &str = "checkout";
pub(crate) const STAGED: &str = "billing";
pub(crate) const RESTARTED: &str = "legacy";

const GRACE_PERIOD: &str = "1m";
/// The longest that anything which happens at once may take.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The longest that a rotation may take: staging, the propagation window and the grace period.
const ROTATION: Duration = Duration::from_secs(420);
/// The longest that a kubelet takes to update a file: a pod is synchronized every 60 to 90 s.
const KUBELET: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);
/// For how long logins are watched before anything happens, and after the operator is gone.
const WATCH: Duration = Duration::from_secs(10);

/// What of the quickstart is otherwise here.
pub(crate) fn changes(quickstart: &Quickstart, auth0: &Auth0, options: &Options) -> Vec<Change> {
    use secrecy::ExposeSecret as _;
    let secret = auth0.managers_secret.expose_secret();
    let kind = "ClientSecretRotation";
    let url = auth0.simulator.url();
    let mut changes = vec![
        Change::set("Secret", "auth0-management", "stringData.client_secret", secret)
            .shown_as("the one that the simulated Auth0 gave out"),
        // Credentials go only where their Secret allows it.
        Change::set(
            "Secret",
            "auth0-management",
            "metadata.annotations",
            json!({"auth0-rotator.dev/endpoint": url}),
        ),
        Change::set("Auth0Tenant", "acme", "spec.endpoint", url),
        Change::set("Auth0Tenant", "acme", "spec.caBundle", auth0.authority.as_str())
            .shown_as("the certificate of the simulated Auth0"),
    ];
    for application in &quickstart.applications {
        changes.push(Change::set(kind, &application.name, "spec.gracePeriod", GRACE_PERIOD));
    }
    if let Some(period) = &options.staging {
        for name in [STAGED, RESTARTED] {
            changes.push(Change::set(kind, name, "spec.staging.period", period.as_str()));
        }
    }
    changes
}

/// Who plays the script, and where.
pub(crate) struct Script<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
    pub(crate) world: &'a World,
    pub(crate) applications: &'a Pods,
    pub(crate) release: &'a Release,
    pub(crate) timeline: &'a Timeline,
    pub(crate) steps: &'a Steps,
}

impl Script<'_> {
    /// Rotates three applications' secrets while the operator's pods come and go, and waits until
    /// the applications' pods have the files that remain.
    pub(crate) async fn play(&self) -> Result<()> {
        let steps = self.steps;
        let still = async {
            tokio::time::sleep(WATCH).await;
            anyhow::Ok(())
        };
        steps.take("logins", still, |()| "before anything happens".into()).await?;
        let text = |(): &()| format!("{STAGED} and {RESTARTED} with Staged, {ROTATED} with Rotate");
        steps.take("rotations begin", self.ask_for_rotations(), text).await?;
        let text = |took: &Duration| format!("another one leads after {}", seconds(*took).trim());
        steps.take("leader deleted", self.delete_leader(), text).await?;
        let text = |phase: &String| format!("{STAGED} was {phase}");
        steps.take("chart upgraded", self.upgrade(), text).await?;
        let activated = self.world.wait(STAGED, ROTATION, "its activation", is_activated);
        let activated = async { anyhow::Ok(activated.await?) };
        steps.take("secret activated", activated, |()| format!("that of {STAGED}")).await?;
        steps.take("chart rolled back", self.roll_back(), text).await?;
        steps.take("rotations ended", self.rotations_end(), |()| "all three".into()).await?;
        let text = |pods: &usize| format!("of {pods} pods");
        steps.take("files updated", self.files_are_updated(), text).await?;
        Ok(())
    }

    /// Uninstalls the operator. Returns how many of the cluster's objects have to be there all the
    /// same, and are.
    pub(crate) async fn leave(&self, secrets: &[String]) -> Result<usize> {
        let left = async {
            self.release.uninstall().await?;
            let left = operator::left(self.client, self.namespace, secrets).await?;
            tokio::time::sleep(WATCH).await;
            anyhow::Ok(left)
        };
        let text = |left: &usize| format!("{left} Secrets, resources and definitions are left");
        self.steps.take("chart uninstalled", left, text).await
    }

    async fn ask_for_rotations(&self) -> Result<()> {
        for application in [STAGED, RESTARTED, ROTATED] {
            self.asks_for_a_rotation(application).await?;
        }
        let is_staged = |view: &View| phase(view).is_some_and(|phase| phase == "Staging");
        for application in [STAGED, RESTARTED] {
            self.world.wait(application, SOON, "its pair of secrets", is_staged).await?;
        }
        Ok(())
    }

    async fn asks_for_a_rotation(&self, application: &str) -> Result<()> {
        let request = format!("rotate/{}", Utc::now().format("%H%M%S"));
        let text = format!("asks for a rotation: auth0-rotator.dev/request={request}");
        self.timeline.act(application, "somebody", &text);
        let resources: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), self.namespace, &client_secret_rotations());
        let annotations =
            json!({"metadata": {"annotations": {"auth0-rotator.dev/request": request}}});
        let patch = Patch::Merge(annotations);
        resources.patch(application, &PatchParams::default(), &patch).await?;
        let taken = |view: &View| view.status.last_handled_request.as_deref() == Some(&request);
        Ok(self.world.wait(application, SOON, "the rotation that was asked for", taken).await?)
    }

    /// In the middle of a rotation.
    async fn delete_leader(&self) -> Result<Duration> {
        self.phase_of_staged()?;
        let took = operator::delete_leader(self.client).await?;
        operator::ready(self.client).await?;
        Ok(took)
    }

    async fn upgrade(&self) -> Result<String> {
        let phase = self.phase_of_staged()?;
        self.release.upgrade().await?;
        Ok(phase)
    }

    async fn roll_back(&self) -> Result<String> {
        let phase = self.phase_of_staged()?;
        self.release.roll_back().await?;
        Ok(phase)
    }

    async fn rotations_end(&self) -> Result<()> {
        for application in [ROTATED, STAGED, RESTARTED] {
            let what = "the end of its rotation";
            self.world.wait(application, ROTATION, what, View::is_idle).await?;
        }
        Ok(())
    }

    /// How far the rotation has come in whose middle things happen.
    fn phase_of_staged(&self) -> Result<String> {
        let phase = phase(&self.world.view(STAGED));
        ensure!(phase.is_some(), "the rotation of {STAGED} is over already");
        Ok(phase.unwrap_or_default())
    }

    /// Waits until each pod's file has the one secret that is left, and returns how many there are.
    /// Who has it in the environment keeps the pair.
    async fn files_are_updated(&self) -> Result<usize> {
        let since = Instant::now();
        loop {
            let pods = self.applications.present();
            let files = pods.iter().filter(|pod| pod.has_file());
            if files.clone().all(|pod| pod.list == 1) {
                return Ok(files.count());
            }
            if since.elapsed() > KUBELET {
                bail!("a pod's file was not updated within {} s", KUBELET.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn phase(view: &View) -> Option<String> {
    view.status.rotation.as_ref().map(|rotation| rotation.phase.clone())
}

fn is_activated(view: &View) -> bool {
    phase(view).is_some_and(|phase| phase == "Confirming" || phase == "Grace")
}
