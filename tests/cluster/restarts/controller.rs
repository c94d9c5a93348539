//! A controller manager for one Deployment, which doesn't run in the test cluster: it replaces the
//! Deployment's Pod when the template changes, and records what the Pod takes from the Secret.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Secret},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testkit::fixture::{NamespaceFixture, from_json};

const INTERVAL: Duration = Duration::from_millis(50);

/// How long a rollout takes.
const ROLLOUT: Duration = Duration::from_millis(500);

/// A running controller. Dropping it stops it.
pub(super) struct WorkloadController {
    task: tokio::task::JoinHandle<()>,
    started_with: Arc<Mutex<Vec<String>>>,
}

impl Drop for WorkloadController {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WorkloadController {
    /// Starts a controller. `secret` and `key` are what a Pod takes when it starts.
    pub(super) fn start(namespace: &NamespaceFixture, name: &str, secret: &str, key: &str) -> Self {
        let started_with = Arc::<Mutex<Vec<String>>>::default();
        let control = Control {
            deployments: namespace.api(),
            pods: namespace.api(),
            secrets: namespace.api(),
            name: name.to_owned(),
            secret: secret.to_owned(),
            key: key.to_owned(),
            started_with: Arc::clone(&started_with),
        };
        Self { task: tokio::spawn(control.run()), started_with }
    }

    /// Returns what each Pod so far took from the Secret.
    pub(super) fn started_with(&self) -> Vec<String> {
        self.started_with.lock().unwrap().clone()
    }

    /// Returns the number of rollouts since the first Pod.
    pub(super) fn restarts(&self) -> usize {
        self.started_with().len().saturating_sub(1)
    }
}

struct Control {
    deployments: Api<Deployment>,
    pods: Api<Pod>,
    secrets: Api<Secret>,
    name: String,
    secret: String,
    key: String,
    started_with: Arc<Mutex<Vec<String>>>,
}

impl Control {
    async fn run(self) {
        let (mut rolled_out, mut revision) = (Value::Null, 0);
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Ok(Some(deployment)) = self.deployments.get_opt(&self.name).await else { continue };
            let template = serde_json::to_value(&deployment.spec.unwrap().template).unwrap();
            if template != rolled_out {
                revision += 1;
                self.replace_pod(revision, &template).await;
                rolled_out = template;
            }
            let generation = deployment.metadata.generation;
            let observed = deployment.status.and_then(|status| status.observed_generation);
            if observed != generation {
                self.report(generation).await;
            }
        }
    }

    async fn replace_pod(&self, revision: usize, template: &Value) {
        let secret = self.secrets.get_opt(&self.secret).await.unwrap();
        let value = secret.and_then(|secret| secret.data?.remove(&self.key)).unwrap_or_default();
        let mut pod = template.clone();
        let hash = format!("{revision:04}");
        pod["metadata"]["name"] = json!(format!("{}-{hash}-x", self.name));
        pod["metadata"]["labels"]["pod-template-hash"] = json!(hash);
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{}-{hash}", self.name),
            "uid": "11111111-1111-1111-1111-111111111111", "controller": true,
        }]);
        tokio::time::sleep(ROLLOUT).await;
        self.pods.create(&PostParams::default(), &from_json(pod)).await.unwrap();
        self.started_with.lock().unwrap().push(String::from_utf8(value.0).unwrap());
        if revision > 1 {
            let old = format!("{}-{:04}-x", self.name, revision - 1);
            self.pods.delete(&old, &DeleteParams::default().grace_period(0)).await.unwrap();
        }
    }

    async fn report(&self, generation: Option<i64>) {
        let status = json!({ "status": {
            "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1,
            "readyReplicas": 1, "availableReplicas": 1,
        } });
        let params = PatchParams::default();
        let _ = self.deployments.patch_status(&self.name, &params, &Patch::Merge(status)).await;
    }
}
