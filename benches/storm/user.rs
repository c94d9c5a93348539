//! Another user of the API server, as with `kubectl get`.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use auth0_rotator::api::ClientSecretRotation;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use testkit::{fixture::Fixture, measure::Durations};

const USER: &str = "reader";
const INTERVAL: Duration = Duration::from_millis(500);

/// The chunk of `kubectl get` without a name.
const CHUNK: u32 = 500;

/// A user without priority at the API server.
pub(crate) struct OtherUser {
    api: Api<ClientSecretRotation>,
    name: String,
    is_stopped: AtomicBool,
}

/// How long the user waited.
#[derive(Default)]
pub(crate) struct Waits {
    get: Durations,
    list: Durations,
}

impl OtherUser {
    pub(crate) async fn new(fixture: &Fixture, namespace: &str) -> Self {
        let bindings: Api<ClusterRoleBinding> = Api::all(fixture.client.clone());
        let binding = Patch::Apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": USER },
            "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER }],
            "roleRef": {
                "kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io",
                "name": "cluster-admin",
            },
        }));
        let params = PatchParams::apply("bench").force();
        bindings.patch(USER, &params, &binding).await.unwrap();
        let control_plane = fixture.dedicated_control_plane.as_ref().unwrap();
        let config = control_plane.client_config_for(USER, &[]).unwrap();
        let client = Client::try_from(config).unwrap();
        Self {
            api: Api::namespaced(client, namespace),
            name: format!("{namespace}-0"),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Makes both calls twice a second until then.
    pub(crate) async fn measure_until(&self, end: Instant) -> Waits {
        self.measure(|| Instant::now() >= end).await
    }

    pub(crate) async fn measure_until_stopped(&self) -> Waits {
        self.measure(|| self.is_stopped.load(Ordering::Relaxed)).await
    }

    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    async fn measure(&self, has_ended: impl Fn() -> bool) -> Waits {
        let mut waits = Waits::default();
        while !has_ended() {
            let started = Instant::now();
            self.api.get(&self.name).await.unwrap();
            waits.get.push(started.elapsed());
            let listed = Instant::now();
            self.api.list(&ListParams::default().limit(CHUNK)).await.unwrap();
            waits.list.push(listed.elapsed());
            tokio::time::sleep(INTERVAL.saturating_sub(started.elapsed())).await;
        }
        waits
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |waits: &Durations, share| waits.quantile(share).as_secs_f64() * 1000.0;
        write!(
            f,
            "get p50 {:.1} ms, p99 {:.1} ms; list of {CHUNK} p50 {:.0} ms, p99 {:.0} ms ({} of each)",
            ms(&self.get, 0.5),
            ms(&self.get, 0.99),
            ms(&self.list, 0.5),
            ms(&self.list, 0.99),
            self.get.len()
        )
    }
}
