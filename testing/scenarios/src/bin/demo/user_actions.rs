//! Actions of users on the operator and its resources, and a fault of Auth0.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use auth0_simulator::{Fault, Operation};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use rotation::Phase;
use scenarios::{quickstart::Application, tracker::ApplicationState};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use testkit::target_secret::TargetSecret;

use crate::{scenario::SOON, setup::Demo};

const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long a rotation is in progress before the operator is killed, and how long it stays down.
const PAUSE: Duration = Duration::from_secs(2);

impl Demo {
    /// Requests a rotation and waits until it has started.
    pub(crate) async fn request_rotation(&self, application: &str) -> Result<()> {
        let request = self.env.request_rotation(application).await?;
        self.env.wait_until_handled(application, &request, SOON).await
    }

    /// Deletes a target Secret. Returns how long it was missing.
    pub(crate) async fn delete_secret(&self, application: &str) -> Result<Duration> {
        let name = &self.application(application)?.secret;
        let text = format!("deletes the Secret {name}");
        self.env.timeline.record_action(application, "user", &text);
        let since = Instant::now();
        self.secrets().delete(name, &DeleteParams::default()).await?;
        self.wait_until_restored(application, since).await
    }

    /// Overwrites `client_secret` in a target Secret. Returns how long it was wrong.
    pub(crate) async fn edit_secret(&self, application: &str) -> Result<Duration> {
        let name = &self.application(application)?.secret;
        let text = format!("overwrites client_secret in the Secret {name}");
        self.env.timeline.record_action(application, "user", &text);
        let since = Instant::now();
        let edit = json!({"data": {"client_secret": STANDARD.encode("pasted by mistake")}});
        self.secrets().patch(name, &PatchParams::default(), &Patch::Merge(edit)).await?;
        self.wait_until_restored(application, since).await
    }

    /// Requests a rotation of which Auth0's response is lost after Auth0 has generated the secret.
    /// Returns how long it took from then until the new secret was published.
    pub(crate) async fn rotate_and_lose_response(&self, application: &str) -> Result<Duration> {
        let client_id = &self.application(application)?.client_id;
        let before = self.secret_at_auth0(client_id)?;
        let text = "will close the connection of the next rotate-secret call without a response";
        self.env.timeline.record_action(application, "Auth0", text);
        let cut = Fault::cut_after().on(Operation::RotateSecret).client(client_id);
        self.env.simulator.faults().inject(cut).map_err(anyhow::Error::msg)?;
        let request = self.env.request_rotation(application).await?;
        let requested_at = Instant::now();
        while is_same(&self.secret_at_auth0(client_id)?, &before) {
            ensure_soon(requested_at, application, "the call of rotate-secret")?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let changed_at = Instant::now();
        let secret = self.secret_at_auth0(client_id)?;
        let is_published = |state: &ApplicationState| {
            let current = state.target.as_ref().and_then(|target| target.current.as_ref());
            current.is_some_and(|current| is_same(current, &secret))
        };
        let expected = "the read-back of the new secret";
        self.env.tracker.wait(application, SOON, expected, is_published).await?;
        let read_back_after = changed_at.elapsed();
        self.env.wait_until_handled(application, &request, SOON).await?;
        Ok(read_back_after)
    }

    /// Requests a rotation, and kills and restarts the operator during it. Returns how long the
    /// operator was down.
    pub(crate) async fn kill_operator_during_rotation(
        &self,
        application: &str,
    ) -> Result<Duration> {
        self.request_rotation(application).await?;
        let is_staged = |state: &ApplicationState| state.phase() == Some(Phase::Staging);
        let expected = "the staging of its next secret";
        self.env.tracker.wait(application, SOON, expected, is_staged).await?;
        tokio::time::sleep(PAUSE).await;
        let since = Instant::now();
        let killed = self.kill_operator().context("the operator does not run")?;
        let text = format!("kills process {killed} (SIGKILL) during that rotation");
        self.env.timeline.record_action("operator", "user", &text);
        tokio::time::sleep(PAUSE).await;
        let started = self.restart_operator()?;
        let text = format!("starts it again as process {started}");
        self.env.timeline.record_action("operator", "user", &text);
        Ok(since.elapsed())
    }

    /// Waits until a target Secret is as the operator writes it.
    async fn wait_until_restored(&self, application: &str, since: Instant) -> Result<Duration> {
        let name = &self.application(application)?.secret;
        loop {
            let secret = self.secrets().get_opt(name).await?;
            if secret.is_some_and(|secret| TargetSecret::parse(&secret).is_consistent()) {
                return Ok(since.elapsed());
            }
            ensure_soon(since, application, "the repair of its Secret")?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.env.client.clone(), &self.env.quickstart.namespace)
    }

    fn application(&self, name: &str) -> Result<&Application> {
        let mut applications = self.env.quickstart.applications.iter();
        let application = applications.find(|application| application.name == name);
        application.with_context(|| format!("the quickstart has no application {name}"))
    }

    fn secret_at_auth0(&self, client_id: &str) -> Result<SecretString> {
        let secret = self.env.simulator.client_secret(client_id);
        secret.with_context(|| format!("the simulated Auth0 has no client {client_id}"))
    }
}

fn is_same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret() == b.expose_secret()
}

fn ensure_soon(since: Instant, application: &str, expected: &str) -> Result<()> {
    let limit = SOON.as_secs();
    ensure!(since.elapsed() < SOON, "{application}: {expected} did not happen within {limit} s");
    Ok(())
}
