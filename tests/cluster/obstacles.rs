//! What stands in an operator's way: writes that the API server refuses, values that Auth0 refuses.

use std::time::{Duration, Instant};

use auth0_simulator::{Action, Fault, Operation};
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::Secret,
};
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::bench::{Bench, DEADLINE, from};

impl Bench {
    /// Has the API server refuse the operator's writes of Secrets in this namespace, or not any more.
    pub(crate) async fn deny_secret_writes(&self, deny: bool) {
        let name = format!("deny-{}", self.namespace);
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client.clone());
        if !deny {
            bindings.delete(&name, &Default::default()).await.unwrap();
            policies.delete(&name, &Default::default()).await.unwrap();
            self.wait_for_writes(true).await;
            return;
        }
        let here = json!({ "matchLabels": { "kubernetes.io/metadata.name": self.namespace } });
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": name },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "namespaceSelector": here, "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"],
                    "operations": ["CREATE", "UPDATE"],
                }] },
                "validations": [{ "expression": "false", "message": "no writes now" }],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": name },
            "spec": { "policyName": name, "validationActions": ["Deny"] },
        });
        policies.create(&PostParams::default(), &from(policy)).await.unwrap();
        bindings.create(&PostParams::default(), &from(binding)).await.unwrap();
        self.wait_for_writes(false).await;
    }

    /// Admission policies come into force a moment after they are made.
    async fn wait_for_writes(&self, possible: bool) {
        let deadline = Instant::now() + DEADLINE;
        let probe: Secret = from(json!({ "metadata": { "name": "probe" } }));
        let params = PostParams { dry_run: true, ..PostParams::default() };
        while self.api::<Secret>().create(&params, &probe).await.is_ok() != possible {
            assert!(Instant::now() < deadline, "the admission policy never changes anything");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Auth0 takes no value for a client secret any more: it answers 400.
    pub(crate) async fn refuse_values(&self) {
        let refusal = Fault::new(Action::InvalidBody).on(Operation::UpdateClient).unlimited();
        self.simulator.faults().inject(refusal).unwrap();
    }
}
