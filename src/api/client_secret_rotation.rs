//! `ClientSecretRotation`: rotates the secret of one client on a schedule, and publishes it in a
//! Secret.

#![expect(unreachable_pub, reason = "KubeSchema generates helper types")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use rotation::{K8sDuration, ProbeMethod, Status, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{CLIENT_ID, DNS_SUBDOMAIN, OBJECT_NAME, SECRET_DATA_KEY};

/// Desired rotation of the client secret of one Auth0 application.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[kube(
    group = "auth0-rotator.dev",
    version = "v1alpha1",
    kind = "ClientSecretRotation",
    plural = "clientsecretrotations",
    namespaced,
    status = "Status",
    shortname = "csrot",
    category = "auth0",
    doc = "Rotates the client secret of one Auth0 application and keeps a Secret in sync with it, \
           so that no login fails during a rotation.",
    // A rotation that has changed nothing may have started with a mistyped reference.
    validation = Rule::new("self.spec.tenantRef == oldSelf.spec.tenantRef || !has(oldSelf.status) || !has(oldSelf.status.rotation) || (oldSelf.status.rotation.phase == 'Started' && oldSelf.status.rotation.attempts == 0)")
        .message("tenantRef can't be changed while a rotation is in progress: wait until it has ended, or request abort"),
    printcolumn(name = "Client", type_ = "string", json_path = ".spec.clientId"),
    printcolumn(name = "Strategy", type_ = "string", json_path = ".spec.strategy"),
    printcolumn(name = "Current", type_ = "integer", json_path = ".status.current"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastRotationTime"),
    // kubectl shows a date column as an age, which doesn't work for a time in the future.
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextRotationTime"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.rotation.phase",
        priority = "1"
    ),
    printcolumn(
        name = "Secret",
        type_ = "string",
        json_path = ".spec.target.name",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecretRotationSpec {
    /// Client ID of the Auth0 application whose secret is rotated. Immutable.
    #[schemars(length(min = 1, max = 256), regex(pattern = CLIENT_ID))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("clientId can't be changed: create another ClientSecretRotation"))]
    #[x_kube(validation = Rule::new("self != '.' && self != '..'")
        .message("clientId is not the ID of an Auth0 client"))]
    pub client_id: String,
    /// Auth0 tenant of the application.
    pub tenant_ref: TenantRef,
    /// When to rotate. If absent, the operator rotates on request only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,
    /// Windows in which scheduled rotations may start. A rotation that is due outside of all
    /// windows starts in the next one. Requests are not restricted. If empty, rotations may start
    /// at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub windows: Vec<WindowSpec>,
    /// How to rotate. `Rotate` calls Auth0's rotate-secret endpoint and publishes the secret that
    /// it returns. `Staged` publishes a new secret as the fallback first, waits for the staging
    /// period until consumers have it, and then activates it at Auth0.
    #[serde(default)]
    pub strategy: Strategy,
    /// Settings of the strategy `Staged`.
    #[serde(default)]
    pub staging: StagingSpec,
    /// How long the previous secret stays in the Secret as a fallback after the new one is
    /// activated. Must not be shorter than Auth0's propagation window of 30s.
    #[serde(default = "default_grace_period")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('8760h')")
        .message("gracePeriod must be longer than 0s and at most 8760h"))]
    pub grace_period: K8sDuration,
    /// What to do when the resource is created. `Import` publishes the current secret of the client
    /// without rotating it. `Rotate` starts a rotation.
    #[serde(default)]
    pub initial: Initial,
    /// Secret in which the client secret is published.
    #[x_kube(validation = Rule::new("self.name == oldSelf.name")
        .message("target.name can't be changed, because Pods mount the Secret by it: create another ClientSecretRotation"))]
    pub target: TargetSpec,
    /// Applications that read the Secret.
    #[serde(default)]
    pub consumers: ConsumersSpec,
    /// How often to check Auth0 for out-of-band changes of the secret.
    #[serde(default)]
    pub drift_check: DriftCheckSpec,
    /// How the operator asks Auth0 whether it accepts a new secret.
    #[serde(default)]
    pub probe: ProbeSpec,
    /// If true, no rotation starts. A rotation in progress is completed.
    #[serde(default)]
    pub suspend: bool,
}

/// Reference to an Auth0 tenant.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct TenantRef {
    /// Kind of the tenant resource.
    #[serde(default)]
    pub kind: TenantKind,
    /// Name of the tenant resource. An `Auth0Tenant` must be in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
}

/// Kind of a tenant resource.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TenantKind {
    /// Tenant in the same namespace.
    #[default]
    Auth0Tenant,
    /// Cluster-scoped tenant, which declares which clients this namespace may use.
    ClusterAuth0Tenant,
}

/// Schedule of rotations. Exactly one of `cron` and `every` must be set.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.cron) != has(self.every)")
        .message("schedule: set exactly one of cron and every"),
    validation = Rule::new("!has(self.timeZone) || has(self.cron)")
        .message("schedule.timeZone has no meaning without cron: remove it, or use cron")
)]
pub struct ScheduleSpec {
    /// Cron expression with five fields, for example "0 3 1 * *": at 3:00 on the first day of each
    /// month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 128))]
    pub cron: Option<String>,
    /// IANA time zone of the cron expression, for example Europe/Berlin. Defaults to UTC. A time
    /// that daylight saving time skips is due right after the gap; a time that it repeats is due
    /// once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// Interval, counted from the last change of the secret, for example 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('87600h')")
        .message("schedule.every must be longer than 0s and at most 87600h"))]
    pub every: Option<K8sDuration>,
    /// Maximum delay of each due time, so that many resources don't rotate at once. The delay is
    /// fixed for a resource and a due time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')")
        .message("schedule.jitter must be at most 24h"))]
    pub jitter: Option<K8sDuration>,
}

/// Window in which scheduled rotations may start.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WindowSpec {
    /// When the window opens: a cron expression with five fields, for example "0 2 * * 1-5".
    #[schemars(length(min = 9, max = 128))]
    pub cron: String,
    /// IANA time zone of the cron expression, for example Europe/Berlin. Defaults to UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// How long the window is open, for example 3h.
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('168h')")
        .message("windows: duration must be longer than 0s and at most 168h"))]
    pub duration: K8sDuration,
}

/// Applications that read the Secret.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.onRolloutTimeout == 'Wait' || (has(self.restart) && self.restart.size() > 0)")
        .message("consumers.onRolloutTimeout has no meaning without consumers.restart: remove it, or list the workloads")
)]
pub struct ConsumersSpec {
    /// Workloads to restart in each rotation, as `kubectl rollout restart` does. Needed for
    /// workloads that read the Secret from environment variables or a subPath mount, which
    /// Kubernetes doesn't update in running containers. A workload is restarted when the secrets that
    /// it takes are published: the list before activation, the current secret alone after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub restart: Vec<WorkloadRef>,
    /// How long the rollouts of these workloads may take before the condition `ConsumersReached`
    /// reports which of them delay the rotation. With the strategy `Staged`, the next secret is not
    /// activated before the rollouts are complete.
    #[serde(default = "default_rollout_timeout")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('24h')")
        .message("consumers.rolloutTimeout must be longer than 0s and at most 24h"))]
    pub rollout_timeout: K8sDuration,
    /// What to do with the strategy `Staged` when the rollouts take longer. `Wait` does not activate
    /// the next secret before they are complete. `Proceed` activates it, for example because a node
    /// with a Pod of a DaemonSet is dead; logins of the Pods that were not restarted fail from then
    /// on.
    #[serde(default)]
    pub on_rollout_timeout: OnRolloutTimeout,
}

/// What to do when rollouts take longer than their timeout.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRolloutTimeout {
    /// Wait until the rollouts are complete.
    #[default]
    Wait,
    /// Proceed without the workloads that are not ready.
    Proceed,
}

/// Workload in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRef {
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
}

/// Kind of a workload that the operator can restart.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// A Rollout of Argo Rollouts (`argoproj.io`). The operator sets its `spec.restartAt`.
    Rollout,
}

/// Check of Auth0 for out-of-band changes of the secret.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
pub struct DriftCheckSpec {
    /// Interval of the check. One check covers all resources of a tenant, at the shortest of their
    /// intervals.
    #[serde(default = "default_drift_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('8760h')")
        .message("driftCheck.every must be at least 1s and at most 8760h"))]
    pub every: K8sDuration,
}

/// How to ask Auth0 whether it accepts a secret.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.audience) || self.method == 'ClientCredentials'")
    .message("probe.audience has no meaning without probe.method: ClientCredentials"))]
pub struct ProbeSpec {
    /// `Revocation` revokes a token that doesn't exist, which has no effect. Auth0 documents that
    /// this checks the secret of Regular Web Applications only. `ClientCredentials` requests a token,
    /// which is a real one and counts toward the tenant's quota of machine-to-machine tokens; the
    /// client needs the grant client_credentials.
    #[serde(default)]
    pub method: ProbeMethod,
    /// Audience of the tokens that `ClientCredentials` requests, which the client must be authorized
    /// for. May be absent if the tenant has a default audience.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 600))]
    pub audience: Option<String>,
}

/// Settings of the strategy `Staged`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
pub struct StagingSpec {
    /// How long the current and the next secret are published together before the next one is
    /// activated. Must cover the time that a kubelet needs to update a mounted Secret.
    #[serde(default = "default_staging_period")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('24h')")
        .message("staging.period must be longer than 0s and at most 24h"))]
    pub period: K8sDuration,
}

/// What to do when a resource is created.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// Publish the current secret of the client without rotating it.
    #[default]
    Import,
    /// Start a rotation.
    Rotate,
}

/// Secret in which the client secret is published.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[self.keys.clientId, self.keys.domain, self.keys.current, self.keys.fallback, self.keys.list].all(key, [self.keys.clientId, self.keys.domain, self.keys.current, self.keys.fallback, self.keys.list].exists_one(other, other == key))")
        .message("target.keys: the keys must be distinct"),
    validation = Rule::new("self.template.all(key, !(key in [self.keys.clientId, self.keys.domain, self.keys.current, self.keys.fallback, self.keys.list]))")
        .message("target.template: a key is already used by target.keys; rename one of them"),
    validation = Rule::new("!has(self.labels) || self.labels.all(key, key.size() <= 317 && key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$') && self.labels[key].matches('^([A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)?$'))")
        .message("target.labels: keys and values must be valid Kubernetes labels"),
    validation = Rule::new("!has(self.annotations) || self.annotations.all(key, key.size() <= 317 && key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$'))")
        .message("target.annotations: keys must be valid Kubernetes annotation keys"),
    validation = Rule::new("self.template.all(key, key.matches('^([-_a-zA-Z0-9]|\\\\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]{0,251}$'))")
        .message("target.template: a key may contain only letters, digits, '-', '_' and '.'"),
    validation = Rule::new("(self.template.map(key, key.size() + bytes(self.template[key]).size()) + (has(self.labels) ? self.labels.map(key, key.size() + self.labels[key].size()) : []) + (has(self.annotations) ? self.annotations.map(key, key.size() + bytes(self.annotations[key]).size()) : [])).sum() <= 32768")
        .message("target: template, labels and annotations are larger than 32 KiB together; shorten them")
)]
pub struct TargetSpec {
    /// Name of the Secret, in the same namespace. Immutable.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// Whether to adopt an existing Secret of this name, which must have the type Opaque. The
    /// operator then overwrites the keys in `keys`, and keeps all others.
    #[serde(default)]
    pub adopt: bool,
    /// What happens to the Secret when this resource is deleted. `Retain` keeps it. `Delete`
    /// deletes it, by an owner reference, and requires that the operator created it.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Keys of the data of the Secret.
    #[serde(default)]
    pub keys: Keys,
    /// Format of the list of secrets. `JSON` is an array of strings. `Lines` has one secret per
    /// line.
    #[serde(default)]
    pub list_format: ListFormat,
    /// Additional keys whose values are rendered from templates. They never replace content of
    /// another party. Variables: {{ client_id }},
    /// {{ domain }}, {{ client_secret }} and {{ client_secret_fallback }} (empty if there is none),
    /// each also with | json; {{ client_secrets | json }} and {{ client_secrets | lines }} are the
    /// list in the order in which to try it.
    #[serde(default)]
    #[schemars(extend(
        "maxProperties" = 16,
        "additionalProperties" = {"type": "string", "maxLength": 16384}
    ))]
    pub template: BTreeMap<String, String>,
    /// Labels to set on the Secret. The operator's administrator determines which are allowed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub labels: BTreeMap<String, String>,
    /// Annotations to set on the Secret. The operator's administrator determines which are allowed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    pub annotations: BTreeMap<String, String>,
}

/// What happens to the target Secret when its resource is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// Keep the Secret.
    #[default]
    Retain,
    /// Delete the Secret, by an owner reference.
    Delete,
}

/// Keys of the data of the target Secret.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Keys {
    /// Key of the client ID.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_DATA_KEY))]
    pub client_id: String,
    /// Key of the domain of the tenant.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_DATA_KEY))]
    pub domain: String,
    /// Key of the secret to try first.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_DATA_KEY))]
    pub current: String,
    /// Key of the secret to try second. The Secret doesn't have this key if there is no such
    /// secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_DATA_KEY))]
    pub fallback: String,
    /// Key of the list of all secrets in the order to try.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_DATA_KEY))]
    pub list: String,
}

/// Format of the list of secrets.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// JSON array of strings.
    #[default]
    #[serde(rename = "JSON")]
    Json,
    /// One secret per line; each line ends with a line feed.
    Lines,
}

impl Default for StagingSpec {
    fn default() -> Self {
        Self { period: default_staging_period() }
    }
}

impl Default for ConsumersSpec {
    fn default() -> Self {
        Self {
            restart: Vec::new(),
            rollout_timeout: default_rollout_timeout(),
            on_rollout_timeout: OnRolloutTimeout::default(),
        }
    }
}

impl Default for DriftCheckSpec {
    fn default() -> Self {
        Self { every: default_drift_interval() }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            client_id: "client_id".into(),
            domain: "domain".into(),
            current: "client_secret".into(),
            fallback: "client_secret_fallback".into(),
            list: "client_secrets".into(),
        }
    }
}

fn default_staging_period() -> K8sDuration {
    K8sDuration::from_secs(180)
}

fn default_rollout_timeout() -> K8sDuration {
    K8sDuration::from_secs(600)
}

fn default_drift_interval() -> K8sDuration {
    K8sDuration::from_secs(3600)
}

fn default_grace_period() -> K8sDuration {
    K8sDuration::from_secs(3600)
}
