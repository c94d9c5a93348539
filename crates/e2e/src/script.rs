//! What happens, one thing after the other.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use chrono::Utc;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use testbed::manifests::{Change, Quickstart};
use testbed::timeline::Timeline;
use testbed::world::{View, World, client_secret_rotations};

use crate::auth0::Auth0;
use crate::cli::Options;
use crate::consumers::Consumers;

/// The applications of the quickstart, by what happens to them. The third is left alone.
pub(crate) const ROTATED: &str = "checkout";
pub(crate) const STAGED: &str = "billing";

const GRACE_PERIOD: &str = "1m";
/// The longest that anything which happens at once may take.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The longest that a rotation may take: staging, the propagation window and the grace period.
const ROTATION: Duration = Duration::from_secs(360);
/// The longest that a kubelet takes to update a file: a pod is synchronized every 60 to 90 s.
const KUBELET: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);

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
        changes.push(Change::set(kind, STAGED, "spec.staging.period", period.as_str()));
    }
    changes
}

/// Who plays the script, and where.
pub(crate) struct Script<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
    pub(crate) world: &'a World,
    pub(crate) consumers: &'a Consumers,
    pub(crate) timeline: &'a Timeline,
}

impl Script<'_> {
    /// Rotates two applications' secrets, and waits until their pods have the files that remain.
    pub(crate) async fn play(&self) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(10)).await;
        self.asks_for_a_rotation(STAGED).await?;
        self.asks_for_a_rotation(ROTATED).await?;
        for application in [ROTATED, STAGED] {
            let what = "the end of its rotation";
            self.world.wait(application, ROTATION, what, View::is_idle).await?;
        }
        self.files_are_updated().await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
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

    /// Waits until each pod's file has the one secret that is left.
    async fn files_are_updated(&self) -> Result<()> {
        let since = Instant::now();
        while self.consumers.all().iter().any(|(_, consumer)| consumer.list != 1) {
            if since.elapsed() > KUBELET {
                bail!("a pod's file was not updated within {} s", KUBELET.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}
