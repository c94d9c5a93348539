//! `Auth0Tenant` and `ClusterAuth0Tenant`: access to the Management API of an Auth0 tenant.

#![expect(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "KubeSchema generates helper types; printcolumn is repeated"
)]

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use rotation::{Condition, K8sDuration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{DNS_SUBDOMAIN, OBJECT_NAME};

/// Auth0 tenant for the resources of one namespace.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "auth0-rotator.dev",
    version = "v1alpha1",
    kind = "Auth0Tenant",
    plural = "auth0tenants",
    namespaced,
    status = "Auth0TenantStatus",
    shortname = "a0t",
    category = "auth0",
    doc = "Access to the Management API of an Auth0 tenant, for the ClientSecretRotations of the \
           same namespace.",
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct Auth0TenantSpec {
    /// Access to the Management API of the tenant.
    #[serde(flatten)]
    pub access: TenantAccess,
}

/// Auth0 tenant for the resources of several namespaces.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "auth0-rotator.dev",
    version = "v1alpha1",
    kind = "ClusterAuth0Tenant",
    plural = "clusterauth0tenants",
    status = "Auth0TenantStatus",
    shortname = "ca0t",
    category = "auth0",
    doc = "Access to the Management API of an Auth0 tenant, for the ClientSecretRotations of \
           several namespaces. spec.allow declares which namespaces may use which clients. The \
           credentials are in the operator's namespace.",
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("!has(self.allow) || self.allow.map(rule, has(rule.clientIds) ? rule.clientIds.map(id, id.size()).sum() : 0).sum() <= 16384")
        .message("allow: the client IDs are larger than 16 KiB together; use patterns or clientMetadata")
)]
pub struct ClusterAuth0TenantSpec {
    /// Access to the Management API of the tenant.
    #[serde(flatten)]
    pub access: TenantAccess,
    /// Rules that declare which namespaces may use which clients. A use is allowed if at least one
    /// rule allows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub allow: Vec<AllowRule>,
}

/// Access to the Management API of an Auth0 tenant.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TenantAccess {
    /// Domain of the tenant: the canonical one, for example acme.eu.auth0.com, or a custom domain.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub domain: String,
    /// Audience of Management API tokens, for example `https://acme.eu.auth0.com/api/v2/`. Defaults
    /// to the audience of the canonical domain; required with a custom domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub audience: Option<String>,
    /// Base URL of the requests, for a proxy or a simulator. Defaults to https:// followed by the
    /// domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("isURL(self)").message("endpoint must be a URL, for example https://acme.eu.auth0.com"))]
    pub endpoint: Option<String>,
    /// Certificate authorities to trust for this tenant, in PEM. Defaults to those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 49_152))]
    #[x_kube(validation = Rule::new("bytes(self).size() <= 49152").message("caBundle is larger than 48 KiB; keep only the certificate authorities of this tenant"))]
    pub ca_bundle: Option<String>,
    /// Credentials of the application with which the operator calls the Management API.
    pub credentials: CredentialsSpec,
    /// How much of the rate limit of the tenant the operator may use.
    #[serde(default)]
    pub rate_limit: RateLimitSpec,
    /// Limits of the drift checks of the tenant's resources.
    #[serde(default)]
    pub drift_check: TenantDriftCheckSpec,
}

/// Limits of the drift checks of a tenant's resources.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TenantDriftCheckSpec {
    /// Shortest interval of the checks. A resource whose `driftCheck.every` is shorter is checked at
    /// this interval.
    #[serde(default = "default_min_drift_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('8760h')")
        .message("driftCheck.minInterval must be at least 1s and at most 8760h"))]
    pub min_interval: K8sDuration,
}

impl Default for TenantDriftCheckSpec {
    fn default() -> Self {
        Self { min_interval: default_min_drift_interval() }
    }
}

fn default_min_drift_interval() -> K8sDuration {
    K8sDuration::from_secs(300)
}

/// Credentials for the Management API. Exactly one of `clientSecret` and `privateKeyJwt` must be
/// set.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.clientSecret) != has(self.privateKeyJwt)")
        .message("credentials: set exactly one of clientSecret and privateKeyJwt")
)]
pub struct CredentialsSpec {
    /// Authentication with a client secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ClientSecretCredentials>,
    /// Authentication with assertions signed by a private key (Private Key JWT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key_jwt: Option<PrivateKeyJwtCredentials>,
}

/// Client ID and secret of a machine-to-machine application.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecretCredentials {
    /// Secret with the keys client_id, and client_secrets (a list, tried in order) or
    /// client_secret. It is in the same namespace, or in the operator's namespace for a
    /// ClusterAuth0Tenant.
    pub secret_ref: SecretRef,
}

/// Client ID and private key of a machine-to-machine application.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PrivateKeyJwtCredentials {
    /// Client ID of the application.
    #[schemars(length(min = 1, max = 64))]
    pub client_id: String,
    /// Signature algorithm with which the public key is registered at Auth0.
    #[serde(default)]
    pub algorithm: AssertionAlgorithm,
    /// Private key: an RSA key of at least 2048 bits in PEM (PKCS#1 or PKCS#8).
    pub key_ref: KeyRef,
    /// Key ID of the public key at Auth0. Optional: Auth0 also finds the key without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub key_id: Option<String>,
}

/// Signature algorithm of assertions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AssertionAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[default]
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PSS with SHA-256.
    PS256,
}

/// Reference to a key of a Secret, in the namespace of the credentials of the tenant.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Key of the data of the Secret.
    #[serde(default = "tls_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Returns the key of the private key in Secrets of the type kubernetes.io/tls.
fn tls_key() -> String {
    "tls.key".to_owned()
}

/// Reference to a Secret.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
}

/// How much of the rate limit of the tenant the operator may use. The operator shares the limit
/// with all other clients of the Management API of the tenant.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitSpec {
    /// Sustained number of requests per second.
    #[schemars(with = "i32", range(min = 1, max = 1000))]
    pub requests_per_second: u32,
    /// Maximum number of requests in a burst.
    #[schemars(with = "i32", range(min = 1, max = 1000))]
    pub burst: u32,
}

/// Rule that allows namespaces to use clients. Clients are selected by client ID, by metadata, or
/// by both; if both are set, a client must match both.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.clientIds) || has(self.clientMetadata)")
        .message("allow: a rule requires clientIds or clientMetadata; to allow all clients, set clientIds: [\"*\"]")
)]
pub struct AllowRule {
    /// Selects namespaces by their labels. An empty selector selects all namespaces.
    pub namespaces: LabelSelector,
    /// Patterns of client IDs. `*` matches any number of characters, including none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 1, max = 256), regex(pattern = r"^[!-~]+$"))
    )]
    pub client_ids: Vec<String>,
    /// Entry that the client_metadata of a client must contain at Auth0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_metadata: Option<ClientMetadata>,
}

/// Entry of the `client_metadata` of a client at Auth0.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct ClientMetadata {
    /// Key of the entry.
    #[schemars(length(min = 1, max = 255))]
    pub key: String,
    /// Value of the entry. It must match exactly.
    #[schemars(length(min = 1, max = 255))]
    pub value: String,
}

/// Status of an `Auth0Tenant` or a `ClusterAuth0Tenant`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Auth0TenantStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Reachable`: Auth0 responds. `Authorized`: Auth0 accepts the credentials. `Ready`: Auth0
    /// issued a token with the scopes that rotations require.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Origin (scheme, host and port) that issued the last Management API token to this tenant.
    /// Absent until then, and after a change of the endpoint. It proves which Auth0 tenant this is,
    /// and so which ClientSecretRotations rotate the same client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub origin: Option<String>,
    /// spec.domain under which the tenant was last issued a Management API token. Target Secrets
    /// contain it until a token is issued under another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub domain: Option<String>,
    /// Scopes of the Management API token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    /// When Auth0 issued the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_time: Option<DateTime<Utc>>,
    /// Rate limit of the Management API, updated every ten minutes, or within a minute while it is
    /// exhausted. Metrics report the current state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitStatus>,
}

/// Rate limit of the Management API, from the headers of the last response.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitStatus {
    /// Maximum number of requests (`x-ratelimit-limit`).
    #[schemars(with = "i64", range(min = 0))]
    pub limit: u32,
    /// Remaining requests (`x-ratelimit-remaining`).
    #[schemars(with = "i64", range(min = 0))]
    pub remaining: u32,
    /// When all requests are available again (`x-ratelimit-reset`). Absent if the response did not
    /// contain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_time: Option<DateTime<Utc>>,
}

/// Scopes of a Management API token. Only scopes that the operator uses are listed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Scopes that the token grants.
    #[serde(default)]
    pub granted: Vec<String>,
    /// Scopes that the operator uses and the token doesn't grant.
    #[serde(default)]
    pub missing: Vec<String>,
}

impl Default for RateLimitSpec {
    /// Returns the rate limit of Auth0's free plan: 2 requests per second with a burst of 2.
    fn default() -> Self {
        Self { requests_per_second: 2, burst: 2 }
    }
}
