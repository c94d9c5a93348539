//! Names of the API group, labels, annotations, the finalizer and field managers.

/// API group of the custom resources. Labels and annotations have it as their prefix.
pub const GROUP: &str = "auth0-rotator.dev";

/// Annotation on a `ClientSecretRotation`: a request of a user, `<verb>/<any text>`.
pub const REQUEST_ANNOTATION: &str = "auth0-rotator.dev/request";

/// Annotation on a `ClientSecretRotation`: its initial rotation was started. In contrast to the
/// status, it survives a status that is wiped or not restored from a backup.
pub const INITIALIZED_ANNOTATION: &str = "auth0-rotator.dev/initialized";

/// Annotation on a Pod template of a workload: the rotations that it was restarted for, by the UIDs of
/// their resources. A restart that another party ordered proves nothing about what was published.
pub const RESTART_ANNOTATION: &str = "auth0-rotator.dev/restarted-for";

/// Finalizer on a `ClientSecretRotation`, for as long as a response of `rotate-secret` may be
/// unpublished.
pub const ROTATION_FINALIZER: &str = "auth0-rotator.dev/rotation-in-progress";

/// Annotation on a target Secret: the `ClientSecretRotation` that owns it.
pub const OWNER_ANNOTATION: &str = "auth0-rotator.dev/rotation";

/// Annotation on a target Secret: the number of the last rotation that wrote it before it called
/// `rotate-secret`.
pub const WRITE_PROVEN_ANNOTATION: &str = "auth0-rotator.dev/write-proven";

/// Annotation on a target Secret: the number of the value to try first.
pub const CURRENT_ANNOTATION: &str = "auth0-rotator.dev/current";

/// Annotation on a target Secret: the number of the value to try second.
pub const FALLBACK_ANNOTATION: &str = "auth0-rotator.dev/fallback";

/// Annotation on a target Secret: the data keys of those two values, separated by a comma. The
/// operator finds the values by it after `spec.target.keys` has changed.
pub const KEYS_ANNOTATION: &str = "auth0-rotator.dev/keys";

/// Annotation on a target Secret: the data keys that the operator writes, separated by commas. They
/// are those of `spec.target.keys` in their order, followed by those of templates.
pub const DATA_KEYS_ANNOTATION: &str = "auth0-rotator.dev/data-keys";

/// Annotation on a target Secret: the ID of the client whose values it holds.
pub const CLIENT_ID_ANNOTATION: &str = "auth0-rotator.dev/client-id";

/// Annotation on a target Secret: the origin of the Auth0 endpoint that its values came from. They
/// are sent to no other.
pub const ORIGIN_ANNOTATION: &str = "auth0-rotator.dev/origin";

/// Label on a target Secret, by which the operator watches it. `app.kubernetes.io/managed-by` is
/// left to the creator of the Secret.
pub const MANAGED_LABEL: &str = "auth0-rotator.dev/managed";

/// Annotation on a credentials Secret: the endpoints to which its credentials may be sent in
/// addition to those of Auth0, separated by spaces.
pub const ENDPOINT_ANNOTATION: &str = "auth0-rotator.dev/endpoint";

/// Field manager of all writes except those of [`PREPARE_FIELD_MANAGER`].
pub const FIELD_MANAGER: &str = "auth0-rotator";

/// Field manager of the write that prepares a Secret for server-side apply. It differs from
/// [`FIELD_MANAGER`], which must own only the fields that the operator applies.
pub const PREPARE_FIELD_MANAGER: &str = "auth0-rotator-prepare";
