//! The `ClientSecretRotation` on the API server: read live, written by compare-and-swap.

use std::future::Future;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use rotation::{ErrorClass, Failure, Reason, Status};
use serde_json::json;

use super::{KUBE_DEADLINE, trouble};
use crate::{
    api::{ClientSecretRotation, FIELD_MANAGER, INITIALIZED_ANNOTATION, ROTATION_FINALIZER},
    telemetry,
};
use leader_election::WriteFence;

/// A resource of one name.
pub(super) struct Handle {
    api: Api<ClientSecretRotation>,
    name: String,
}

impl Handle {
    pub(super) fn new(client: kube::Client, namespace: &str, name: &str) -> Handle {
        Handle { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }

    /// Reads the resource, live. `None` when it is gone.
    pub(super) async fn get(&self) -> Result<Option<ClientSecretRotation>, Failure> {
        in_time("reading the resource", self.api.get_opt(&self.name)).await
    }

    /// Stores a status over the version that was read.
    pub(super) async fn store_status(
        &self,
        resource: &ClientSecretRotation,
        status: Status,
        right: WriteFence<'_>,
    ) -> Result<ClientSecretRotation, Failure> {
        let mut resource = resource.clone();
        resource.metadata.managed_fields = None;
        resource.status = Some(status);
        let params =
            PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        trouble::check(right)?;
        let stored = self.api.replace_status(&self.name, &params, &resource);
        let stored = in_time("storing the status", stored).await?;
        if stored.status == resource.status {
            return Ok(stored);
        }
        // Fields that the installed definition doesn't know are dropped by the API server: what
        // isn't recorded must not be done.
        Err(Failure {
            class: ErrorClass::Fatal,
            ..trouble::invalid(
                Reason::CrdOutdated,
                "the installed CustomResourceDefinition is older than this operator: apply crds/",
            )
        })
    }

    /// Puts our finalizer on the resource, and marks it as initialized.
    pub(super) async fn hold(
        &self,
        resource: &ClientSecretRotation,
        right: WriteFence<'_>,
    ) -> Result<ClientSecretRotation, Failure> {
        let mut finalizers = resource.finalizers().to_vec();
        if !is_held(resource) {
            finalizers.push(ROTATION_FINALIZER.to_owned());
        }
        let marks = json!({ INITIALIZED_ANNOTATION: "true" });
        self.patch(resource, json!({ "finalizers": finalizers, "annotations": marks }), right).await
    }

    /// Takes our finalizer off the resource.
    pub(super) async fn release(
        &self,
        resource: &ClientSecretRotation,
        right: WriteFence<'_>,
    ) -> Result<ClientSecretRotation, Failure> {
        let mut finalizers = resource.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != ROTATION_FINALIZER);
        self.patch(resource, json!({ "finalizers": finalizers }), right).await
    }

    async fn patch(
        &self,
        resource: &ClientSecretRotation,
        mut metadata: serde_json::Value,
        right: WriteFence<'_>,
    ) -> Result<ClientSecretRotation, Failure> {
        metadata["resourceVersion"] = json!(resource.resource_version());
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        trouble::check(right)?;
        in_time("marking the resource", self.api.patch(&self.name, &params, &patch)).await
    }
}

/// Our finalizer is on the resource.
pub(super) fn is_held(resource: &ClientSecretRotation) -> bool {
    resource.finalizers().iter().any(|finalizer| finalizer == ROTATION_FINALIZER)
}

/// The resource as an Event names it.
pub(super) fn reference(resource: &ClientSecretRotation) -> ObjectReference {
    resource.object_ref(&())
}

async fn in_time<T>(
    what: &str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    let call = async {
        match tokio::time::timeout(KUBE_DEADLINE, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(trouble::of_kube(what, &error)),
            Err(_) => Err(trouble::of_timeout(what)),
        }
    };
    let span = telemetry::kubernetes_span(what);
    telemetry::trace_request(span, |trouble: &Failure| trouble.reason.as_str(), call).await
}
