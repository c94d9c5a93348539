//! The physical limit: what the same API server does with two bare writes per object, the creation of a
//! Secret and an update of a resource's status, without the operator.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    figures::{self as f},
    load,
    stages::Run,
    subject::{NAMESPACE, Subject, name},
};

/// Concurrency of the writes: the fastest one is measured with all objects.
const CONCURRENCIES: [usize; 5] = [4, 8, 16, 32, 64];
/// Number of objects with which each concurrency is tried.
const TRIAL: usize = 200;

#[derive(Deserialize)]
struct List {
    items: Vec<Value>,
}

impl Run<'_> {
    /// Writes to the existing resources while the operator doesn't run.
    pub(crate) async fn bare_writes(&mut self) -> Result<()> {
        self.progress("two bare writes per object");
        let resources = self.resources().await?;
        let trial = TRIAL.min(resources.len());
        let mut fastest = (Duration::MAX, CONCURRENCIES[0]);
        for concurrency in CONCURRENCIES {
            let prefix = format!("trial-{concurrency}");
            let time = self.write(&resources[..trial], &prefix, concurrency).await?;
            fastest = fastest.min((time, concurrency));
        }
        let (_, concurrency) = fastest;
        let time = self.write(&resources, "bare", concurrency).await?.as_secs_f64();
        self.sample.set(&f::BARE, time);
        self.sample.set(&f::BARE_CONCURRENCY, concurrency as f64);
        Ok(())
    }

    async fn resources(&self) -> Result<Vec<Mutex<Value>>> {
        let request = Request::get(Subject::Rotator.collection()).body(Vec::new())?;
        let list: List = self.environment.load.request(request).await?;
        Ok(list.items.into_iter().map(Mutex::new).collect())
    }

    /// Creates a Secret and updates the status of a resource, for each resource.
    async fn write(
        &self,
        resources: &[Mutex<Value>],
        prefix: &str,
        concurrency: usize,
    ) -> Result<Duration> {
        let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
        let client = &self.environment.load;
        let write = async |number: usize| {
            let name = name(number);
            load::create(client, &secrets, &secret(prefix, &name)).await?;
            let mut resource = resources[number].lock().await;
            let path = format!("{}/{name}/status", Subject::Rotator.collection());
            // A status that differs from the stored one.
            resource["status"]["lastHandledRequest"] = json!(format!("rotate/{prefix}"));
            resource["apiVersion"] = json!("auth0-rotator.dev/v1alpha1");
            resource["kind"] = json!("ClientSecretRotation");
            let stored = load::replace(client, &path, &resource).await?;
            *resource = serde_json::from_str(&stored).context("the response is invalid")?;
            Ok(())
        };
        let started = Instant::now();
        load::for_each(resources.len(), concurrency, write).await?;
        Ok(started.elapsed())
    }
}

/// Returns a Secret of the size of a target Secret.
fn secret(prefix: &str, name: &str) -> Value {
    let value = "x".repeat(64);
    let list = format!("[\"{value}\",\"{value}\"]");
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": format!("{prefix}-{name}"),
            "labels": {"app.kubernetes.io/managed-by": "bench"},
            "annotations": {"example.com/record": "x".repeat(300)},
        },
        "stringData": {
            "client_id": name, "domain": "acme.eu.auth0.com", "client_secret": value,
            "client_secret_fallback": value, "client_secrets": list,
        },
    })
}
