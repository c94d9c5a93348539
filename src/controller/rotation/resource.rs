//! The ClientSecretRotation on the API server: read live, written by compare-and-swap.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use leader_election::WriteFence;
use rotation::Status;
use serde_json::{Value, json};

use crate::{
    api::{ClientSecretRotation, FIELD_MANAGER, INITIALIZED_ANNOTATION, ROTATION_FINALIZER},
    controller::{
        error::Error,
        kube_call::{check_fence, kube_call},
        object_key::ObjectKey,
        target_secret::clean_manager,
    },
};

/// One ClientSecretRotation on the API server.
#[derive(Clone)]
pub(super) struct ResourceApi {
    api: Api<ClientSecretRotation>,
    name: String,
}

impl ResourceApi {
    pub(super) fn new(client: Client, key: &ObjectKey) -> Self {
        Self { api: Api::namespaced(client, &key.namespace), name: key.name.clone() }
    }

    /// Reads the resource, live. Returns `None` if it is gone.
    pub(super) async fn get(&self) -> Result<Option<ClientSecretRotation>, Error> {
        kube_call("reading the resource", self.api.get_opt(&self.name)).await
    }

    /// Stores a status over the version that was read.
    ///
    /// # Errors
    /// A conflict if the resource has another version by now; [`Error::CrdOutdated`] if the API
    /// server dropped a field: an action that is not recorded must not be done.
    pub(super) async fn store_status(
        &self,
        resource: &ClientSecretRotation,
        status: Status,
        fence: WriteFence<'_>,
    ) -> Result<ClientSecretRotation, Error> {
        let mut resource = resource.clone();
        resource.metadata.managed_fields = None;
        resource.status = Some(status);
        let params =
            PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        check_fence(fence)?;
        let stored = self.api.replace_status(&self.name, &params, &resource);
        let stored = kube_call("storing the status", stored).await?;
        if stored.status == resource.status { Ok(stored) } else { Err(Error::CrdOutdated) }
    }

    /// Adds our finalizer and marks the resource as initialized.
    pub(super) async fn add_finalizer(
        &self,
        resource: &ClientSecretRotation,
        fence: WriteFence<'_>,
    ) -> Result<ClientSecretRotation, Error> {
        let mut finalizers = resource.finalizers().to_vec();
        if !has_finalizer(resource) {
            finalizers.push(ROTATION_FINALIZER.to_owned());
        }
        let annotations = json!({ INITIALIZED_ANNOTATION: "true" });
        let metadata = json!({ "finalizers": finalizers, "annotations": annotations });
        self.patch_metadata(resource, metadata, fence).await
    }

    /// Removes our finalizer.
    pub(super) async fn remove_finalizer(
        &self,
        resource: &ClientSecretRotation,
        fence: WriteFence<'_>,
    ) -> Result<ClientSecretRotation, Error> {
        let mut finalizers = resource.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != ROTATION_FINALIZER);
        self.patch_metadata(resource, json!({ "finalizers": finalizers }), fence).await
    }

    async fn patch_metadata(
        &self,
        resource: &ClientSecretRotation,
        mut metadata: Value,
        fence: WriteFence<'_>,
    ) -> Result<ClientSecretRotation, Error> {
        metadata["resourceVersion"] = json!(resource.resource_version());
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        check_fence(fence)?;
        let patched = self.api.patch(&self.name, &params, &patch);
        kube_call("updating the resource's finalizers", patched).await
    }
}

pub(super) fn has_finalizer(resource: &ClientSecretRotation) -> bool {
    resource.finalizers().iter().any(|finalizer| finalizer == ROTATION_FINALIZER)
}

/// Another field manager of the resource.
pub(super) struct OtherManager {
    pub(super) name: String,
    pub(super) written_at: Option<String>,
}

/// Returns the other field manager that last wrote a subresource, or the resource itself.
pub(super) fn last_other_manager(
    resource: &ClientSecretRotation,
    subresource: Option<&str>,
) -> Option<OtherManager> {
    let entries = resource.metadata.managed_fields.iter().flatten();
    let others = entries.filter(|entry| {
        entry.manager.as_deref() != Some(FIELD_MANAGER)
            && entry.subresource.as_deref().filter(|name| !name.is_empty()) == subresource
    });
    let others = others.map(|entry| OtherManager {
        name: clean_manager(entry.manager.as_deref().unwrap_or_default()),
        written_at: entry.time.as_ref().map(|time| time.0.to_string()),
    });
    others.max_by(|a, b| a.written_at.cmp(&b.written_at))
}

/// Returns the resource as an Event names it.
pub(super) fn object_reference(resource: &ClientSecretRotation) -> ObjectReference {
    resource.object_ref(&())
}
