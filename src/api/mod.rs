//! The custom resources, group `auth0-rotator.dev`, version `v1alpha1`.

mod crds;
mod rotation;
mod tenant;
mod tenant_resource;

pub use crds::{crds, crds_yaml};
pub use rotation::{
    ClientSecretRotation, ClientSecretRotationSpec, ConsumersSpec, DeletionPolicy, DriftCheckSpec,
    Initial, Keys, ListFormat, ScheduleSpec, StagingSpec, TargetSpec, TenantKind, TenantRef,
    WindowSpec, WorkloadKind, WorkloadRef,
};
pub use tenant::{
    AllowRule, AssertionAlgorithm, Auth0Tenant, Auth0TenantSpec, Auth0TenantStatus, ClientMetadata,
    ClientSecretCredentials, ClusterAuth0Tenant, ClusterAuth0TenantSpec, CredentialsSpec, KeyRef,
    PrivateKeyJwtCredentials, RateLimitSpec, RateLimitStatus, Scopes, SecretRef, TenantAccess,
};
pub(crate) use tenant_resource::{AnyTenant, TenantId, TenantResource, describe_tenant, not_ready};

use std::collections::BTreeMap;

use kube::core::DeserializeGuard;

/// A resource as its watch delivered it; one that cannot be parsed does not affect the others.
pub(crate) type ParsedRotation = DeserializeGuard<ClientSecretRotation>;
/// A tenant as its watch delivered it.
pub(crate) type ParsedTenant = DeserializeGuard<Auth0Tenant>;
/// A ClusterAuth0Tenant as its watch delivered it.
pub(crate) type ParsedClusterTenant = DeserializeGuard<ClusterAuth0Tenant>;

/// The labels of a namespace.
pub(crate) type Labels = BTreeMap<String, String>;

/// The API group of the custom resources, and the prefix of labels and annotations.
pub const GROUP: &str = "auth0-rotator.dev";

/// Annotation on a `ClientSecretRotation`: what is asked for, `<verb>/<any text>`.
pub const REQUEST_ANNOTATION: &str = "auth0-rotator.dev/request";

/// Annotation on a `ClientSecretRotation`: its initial rotation was started, whatever its status
/// says. It outlives a status that is wiped or not restored.
pub const INITIALIZED_ANNOTATION: &str = "auth0-rotator.dev/initialized";

/// Finalizer on a `ClientSecretRotation` while an answer of `rotate-secret` may be outstanding.
pub const ROTATION_FINALIZER: &str = "auth0-rotator.dev/rotation-in-progress";

/// Annotation on a target Secret: the `ClientSecretRotation` that it belongs to.
pub const OWNER_ANNOTATION: &str = "auth0-rotator.dev/rotation";

/// Annotation on a target Secret: the number of the value to try first.
pub const CURRENT_ANNOTATION: &str = "auth0-rotator.dev/current";

/// Annotation on a target Secret: the number of the value to try second.
pub const FALLBACK_ANNOTATION: &str = "auth0-rotator.dev/fallback";

/// Annotation on a target Secret: the keys of those two values, separated by a comma. A spec that
/// now wants other keys doesn't make them unfindable.
pub const KEYS_ANNOTATION: &str = "auth0-rotator.dev/keys";

/// Label on a target Secret, by which it is watched. `app.kubernetes.io/managed-by` is left to
/// whoever made the Secret.
pub const MANAGED_LABEL: &str = "auth0-rotator.dev/managed";

/// Annotation on a credentials Secret: the endpoints that it may be sent to beside Auth0's own,
/// separated by spaces.
pub const ENDPOINT_ANNOTATION: &str = "auth0-rotator.dev/endpoint";

/// The name under which fields are applied.
pub const MANAGER: &str = "auth0-rotator";
