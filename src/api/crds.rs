//! The custom resource definitions, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use super::{Auth0Tenant, ClientSecretRotation, ClusterAuth0Tenant};

/// All definitions.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![Auth0Tenant::crd(), ClientSecretRotation::crd(), ClusterAuth0Tenant::crd()]
}

/// Each definition's file name in `crds/` and its text.
///
/// # Errors
/// When a definition can't be written as YAML, which would be a defect of this program.
pub fn crds_yaml() -> Result<Vec<(String, String)>, serde_norway::Error> {
    crds()
        .into_iter()
        .map(|crd| {
            let file = format!("{}.yaml", crd.spec.names.plural);
            Ok((file, serde_norway::to_string(&crd)?))
        })
        .collect()
}
