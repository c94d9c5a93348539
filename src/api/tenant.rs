//! `Auth0Tenant` and `ClusterAuth0Tenant`: where an Auth0 tenant is and how the operator signs in to its Management API.

#![expect(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "KubeSchema's helper types; printcolumn is repeated"
)]

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use rotation::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An Auth0 tenant that the resources of one namespace may use.
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
    doc = "An Auth0 tenant: where it is, and how to sign in to its Management API. For the resources \
           of its own namespace.",
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
    /// Where the tenant is, and how to sign in.
    #[serde(flatten)]
    pub access: TenantAccess,
}

/// An Auth0 tenant that the resources of several namespaces may use, as far as it allows.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "auth0-rotator.dev",
    version = "v1alpha1",
    kind = "ClusterAuth0Tenant",
    plural = "clusterauth0tenants",
    status = "Auth0TenantStatus",
    shortname = "ca0t",
    category = "auth0",
    doc = "An Auth0 tenant for the resources of several namespaces: which namespace may use which \
           clients stands in spec.allow. Its credentials are in the operator's namespace.",
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
pub struct ClusterAuth0TenantSpec {
    /// Where the tenant is, and how to sign in.
    #[serde(flatten)]
    pub access: TenantAccess,
    /// Which namespaces may use which clients. Rules add up; what no rule allows is not allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub allow: Vec<AllowRule>,
}

/// Where an Auth0 tenant is, and how to sign in to its Management API.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TenantAccess {
    /// The tenant's canonical domain, such as acme.eu.auth0.com, or a custom one.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub domain: String,
    /// The audience of Management API tokens, such as `https://acme.eu.auth0.com/api/v2/`. By default
    /// it follows from the domain; needed with a custom domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub audience: Option<String>,
    /// The base URL to call. By default https:// and the domain; for a proxy or a simulator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("isURL(self)").message("endpoint must be a URL, such as https://acme.eu.auth0.com"))]
    pub endpoint: Option<String>,
    /// Certificate authorities to trust for this tenant, in PEM; those of the system when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub ca_bundle: Option<String>,
    /// How to sign in to the Management API.
    pub credentials: CredentialsSpec,
    /// How much of the tenant's rate limit to use.
    #[serde(default)]
    pub rate_limit: RateLimitSpec,
}

/// How to sign in to the Management API: exactly one way.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.clientSecret) != has(self.privateKeyJwt)")
        .message("credentials: set exactly one of clientSecret and privateKeyJwt")
)]
pub struct CredentialsSpec {
    /// With a client secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ClientSecretCredentials>,
    /// With assertions that a private key signs (Private Key JWT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key_jwt: Option<PrivateKeyJwtCredentials>,
}

/// A machine-to-machine application's client ID and secret.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecretCredentials {
    /// A Secret with the keys client_id and client_secrets (a list, tried in order) or client_secret.
    /// It is in this namespace, or in the operator's for a ClusterAuth0Tenant.
    pub secret_ref: SecretRef,
}

/// A machine-to-machine application's client ID and private key.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PrivateKeyJwtCredentials {
    /// The application's client ID.
    #[schemars(length(min = 1, max = 64))]
    pub client_id: String,
    /// The algorithm that the public key is registered with at Auth0.
    #[serde(default)]
    pub algorithm: AssertionAlgorithm,
    /// Where the private key is, an RSA key of 2048 bits or more in PEM (PKCS#1 or PKCS#8).
    pub key_ref: KeyRef,
    /// The key ID that Auth0 gave the public key; Auth0 finds the key without it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub key_id: Option<String>,
}

/// An algorithm of assertions.
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

/// A key of a Secret, which is where the tenant's credentials are.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key in it.
    #[serde(default = "tls_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// The key that Secrets of type kubernetes.io/tls have a private key under.
fn tls_key() -> String {
    "tls.key".to_owned()
}

/// A Secret by name.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// How much of the tenant's rate limit to use. The limit is shared with everything else that uses
/// the tenant's Management API.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitSpec {
    /// Requests per second in the long run.
    #[schemars(with = "i32", range(min = 1, max = 1000))]
    pub requests_per_second: u32,
    /// Requests at once.
    #[schemars(with = "i32", range(min = 1, max = 1000))]
    pub burst: u32,
}

/// Lets namespaces use clients. Namespaces must be selected; clients are given by their ID, by
/// their metadata, or by both, and then both must fit.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.clientIds) || has(self.clientMetadata)")
        .message("allow: a rule needs clientIds or clientMetadata; to allow all clients write clientIds: [\"*\"]")
)]
pub struct AllowRule {
    /// The namespaces, by their labels. An empty selector selects all.
    pub namespaces: LabelSelector,
    /// Client IDs. A `*` stands for any characters, also none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 1, max = 256), regex(pattern = r"^[!-~]+$"))
    )]
    pub client_ids: Vec<String>,
    /// What the client's client_metadata must have at Auth0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_metadata: Option<ClientMetadata>,
}

/// An entry of a client's `client_metadata` at Auth0.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct ClientMetadata {
    /// Its key.
    #[schemars(length(min = 1, max = 255))]
    pub key: String,
    /// Its value, which must be the same to the letter.
    #[schemars(length(min = 1, max = 255))]
    pub value: String,
}

/// The status of an `Auth0Tenant` or a `ClusterAuth0Tenant`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Auth0TenantStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Reachable: Auth0 answers. Authorized: it takes the credentials. Ready: the Management API
    /// gave a token with the scopes that rotations need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The scopes of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    /// When the token was got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_time: Option<DateTime<Utc>>,
    /// What was left of the Management API's rate limit when it was last looked at: every ten
    /// minutes, or a minute after that when it is used up. The metrics have it at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<RateLimitStatus>,
}

/// What Auth0 said of the Management API's rate limit.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitStatus {
    /// Requests in all (`x-ratelimit-limit`).
    #[schemars(with = "i64", range(min = 0))]
    pub limit: u32,
    /// Requests that are left (`x-ratelimit-remaining`).
    #[schemars(with = "i64", range(min = 0))]
    pub remaining: u32,
    /// When it is full again (`x-ratelimit-reset`), as far as that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_time: Option<DateTime<Utc>>,
}

/// The scopes of a tenant's token that matter here.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Those that the token has.
    #[serde(default)]
    pub granted: Vec<String>,
    /// Those that would be used, and that the token doesn't have.
    #[serde(default)]
    pub missing: Vec<String>,
}

impl Default for RateLimitSpec {
    /// The rate limit of Auth0's free plan: 2 requests per second with a burst of 2.
    fn default() -> Self {
        RateLimitSpec { requests_per_second: 2, burst: 2 }
    }
}
