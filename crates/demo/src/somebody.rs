//! What somebody does to the operator's resources, and what goes wrong at Auth0.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use auth0_simulator::{Fault, Operation, Simulator};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use rig::operator::Operator;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use testbed::manifests::Application;
use testbed::target::Target;
use testbed::timeline::Timeline;
use testbed::world::{View, World, client_secret_rotations};

use crate::script::SOON;
use crate::stage::SharedOperator;

const REQUEST_ANNOTATION: &str = "auth0-rotator.dev/request";
const POLL: Duration = Duration::from_millis(5);
/// How long the operator stays killed, and how long it is left alone before.
const DOWN: Duration = Duration::from_secs(2);

/// Whoever has rights in the namespace, and power over the simulated Auth0.
pub(crate) struct Somebody<'a> {
    pub(crate) client: &'a Client,
    pub(crate) namespace: &'a str,
    pub(crate) simulator: &'a Simulator,
    pub(crate) operator: &'a SharedOperator,
    pub(crate) applications: &'a [Application],
    pub(crate) world: &'a World,
    pub(crate) timeline: &'a Timeline,
}

impl Somebody<'_> {
    /// Asks for a rotation, as with `kubectl annotate`, and waits until it is taken up.
    pub(crate) async fn asks_for_a_rotation(&self, application: &str) -> Result<()> {
        let request = self.annotates(application).await?;
        self.taken_up(application, &request).await
    }

    /// Deletes a Secret. Returns how long it was gone.
    pub(crate) async fn deletes_the_secret(&self, application: &str) -> Result<Duration> {
        let name = &self.application(application)?.secret;
        self.timeline.act(application, "somebody", &format!("deletes the Secret {name}"));
        let since = Instant::now();
        self.secrets().delete(name, &DeleteParams::default()).await?;
        self.put_right(application, since).await
    }

    /// Overwrites a Secret's `client_secret`. Returns how long it was wrong.
    pub(crate) async fn edits_the_secret(&self, application: &str) -> Result<Duration> {
        let name = &self.application(application)?.secret;
        let text = format!("pastes something else into client_secret of the Secret {name}");
        self.timeline.act(application, "somebody", &text);
        let since = Instant::now();
        let edit = json!({"data": {"client_secret": STANDARD.encode("pasted by mistake")}});
        self.secrets().patch(name, &PatchParams::default(), &Patch::Merge(edit)).await?;
        self.put_right(application, since).await
    }

    /// Asks for a rotation of which Auth0's answer is lost on the way, after Auth0 has made the
    /// new secret. Returns how long it took from there until the new secret was published.
    pub(crate) async fn loses_the_answer(&self, application: &str) -> Result<Duration> {
        let client_id = &self.application(application)?.client_id;
        let before = self.secret_at_auth0(client_id)?;
        let text = "will cut the connection of the next rotate-secret instead of answering it";
        self.timeline.act(application, "Auth0", text);
        let cut = Fault::cut_after().on(Operation::RotateSecret).client(client_id);
        self.simulator.faults().inject(cut).map_err(anyhow::Error::msg)?;
        let request = self.annotates(application).await?;
        let asked_at = Instant::now();
        while same(&self.secret_at_auth0(client_id)?, &before) {
            in_time(asked_at, application, "the call of rotate-secret")?;
            tokio::time::sleep(POLL).await;
        }
        let changed_at = Instant::now();
        let now = self.secret_at_auth0(client_id)?;
        let has_it = |view: &View| {
            let first = view.target.as_ref().and_then(|target| target.first.as_ref());
            first.is_some_and(|first| same(first, &now))
        };
        self.world.wait(application, SOON, "the read-back of the lost answer", has_it).await?;
        let read_back_after = changed_at.elapsed();
        self.taken_up(application, &request).await?;
        Ok(read_back_after)
    }

    /// Asks for a staged rotation and kills the operator in the middle of it, by SIGKILL; starts it
    /// again a moment later. Returns how long it was gone.
    pub(crate) async fn kills_the_operator(&self, application: &str) -> Result<Duration> {
        self.asks_for_a_rotation(application).await?;
        let is_staged = |view: &View| {
            view.status.rotation.as_ref().is_some_and(|rotation| rotation.phase == "Staging")
        };
        self.world.wait(application, SOON, "the staging of its next secret", is_staged).await?;
        tokio::time::sleep(DOWN).await;
        let since = Instant::now();
        let pid = |operator: &Operator| operator.pid().unwrap_or_default();
        let killed = {
            let mut operator = self.operator.lock();
            let killed = pid(&operator);
            operator.kill();
            killed
        };
        let text = format!("kills process {killed} (SIGKILL) in the middle of that rotation");
        self.timeline.act("operator", "somebody", &text);
        tokio::time::sleep(DOWN).await;
        let started = {
            let mut operator = self.operator.lock();
            operator.start_again()?;
            pid(&operator)
        };
        self.timeline.act("operator", "somebody", &format!("starts it again, process {started}"));
        Ok(since.elapsed())
    }

    async fn annotates(&self, application: &str) -> Result<String> {
        let request = format!("rotate/{}", Utc::now().format("%H%M%S"));
        let text = format!("asks for a rotation: {REQUEST_ANNOTATION}={request}");
        self.timeline.act(application, "somebody", &text);
        let client = self.client.clone();
        let resources: Api<DynamicObject> =
            Api::namespaced_with(client, self.namespace, &client_secret_rotations());
        let annotations = json!({"metadata": {"annotations": {REQUEST_ANNOTATION: request}}});
        let patch = Patch::Merge(annotations);
        resources.patch(application, &PatchParams::default(), &patch).await?;
        Ok(request)
    }

    async fn taken_up(&self, application: &str, request: &str) -> Result<()> {
        let taken = |view: &View| view.status.last_handled_request.as_deref() == Some(request);
        Ok(self.world.wait(application, SOON, "the rotation that was asked for", taken).await?)
    }

    /// Waits until a Secret is as the operator writes it.
    async fn put_right(&self, application: &str, since: Instant) -> Result<Duration> {
        let name = &self.application(application)?.secret;
        loop {
            let secret = self.secrets().get_opt(name).await?;
            if secret.is_some_and(|secret| Target::read(&secret).is_sound()) {
                return Ok(since.elapsed());
            }
            in_time(since, application, "the repair of its Secret")?;
            tokio::time::sleep(POLL).await;
        }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    fn application(&self, name: &str) -> Result<&Application> {
        let found = self.applications.iter().find(|application| application.name == name);
        found.with_context(|| format!("the quickstart has no application {name}"))
    }

    fn secret_at_auth0(&self, client_id: &str) -> Result<SecretString> {
        self.simulator.client_secret(client_id).context("the simulated Auth0 has lost a client")
    }
}

fn same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret() == b.expose_secret()
}

fn in_time(since: Instant, application: &str, what: &str) -> Result<()> {
    if since.elapsed() > SOON {
        bail!("{application}: {what} did not happen within {} s", SOON.as_secs());
    }
    Ok(())
}
