//! Custom resources of the group `auth0-rotator.dev`, version `v1alpha1`. Doc comments of their
//! types become the descriptions in the CRDs, which `kubectl explain` shows.

mod client_secret_rotation;
mod crds;
mod names;
mod patterns;
mod tenant;
mod tenant_origin;
mod tenant_resource;

use std::collections::BTreeMap;

pub use client_secret_rotation::{
    ClientSecretRotation, ClientSecretRotationSpec, ConsumersSpec, DeletionPolicy, DriftCheckSpec,
    Initial, Keys, ListFormat, OnRolloutTimeout, ScheduleSpec, StagingSpec, TargetSpec, TenantKind,
    TenantRef, WindowSpec, WorkloadKind, WorkloadRef,
};
pub use crds::{crds, crds_yaml};
use kube::core::DeserializeGuard;
pub use names::{
    CLIENT_ID_ANNOTATION, CURRENT_ANNOTATION, DATA_KEYS_ANNOTATION, ENDPOINT_ANNOTATION,
    FALLBACK_ANNOTATION, FIELD_MANAGER, GROUP, INITIALIZED_ANNOTATION, KEYS_ANNOTATION,
    MANAGED_LABEL, ORIGIN_ANNOTATION, OWNER_ANNOTATION, PREPARE_FIELD_MANAGER, REQUEST_ANNOTATION,
    RESTART_ANNOTATION, ROTATION_FINALIZER, WRITE_PROVEN_ANNOTATION,
};
pub use tenant::{
    AllowRule, AssertionAlgorithm, Auth0Tenant, Auth0TenantSpec, Auth0TenantStatus, ClientMetadata,
    ClientSecretCredentials, ClusterAuth0Tenant, ClusterAuth0TenantSpec, CredentialsSpec, KeyRef,
    PrivateKeyJwtCredentials, RateLimitSpec, RateLimitStatus, Scopes, SecretRef, TenantAccess,
    TenantDriftCheckSpec,
};
pub(crate) use tenant_resource::{
    AnyTenant, TenantId, TenantResource, describe_tenant, kept_domain, not_ready, with_kept_domain,
};

/// A resource as its watch delivered it; one that cannot be parsed does not affect the others.
pub(crate) type ParsedRotation = DeserializeGuard<ClientSecretRotation>;
/// A tenant as its watch delivered it.
pub(crate) type ParsedTenant = DeserializeGuard<Auth0Tenant>;
/// A ClusterAuth0Tenant as its watch delivered it.
pub(crate) type ParsedClusterTenant = DeserializeGuard<ClusterAuth0Tenant>;

/// The labels of a namespace.
pub(crate) type Labels = BTreeMap<String, String>;
