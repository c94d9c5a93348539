//! `ClientSecretRotation`: which client's secret is rotated, when, how, and into which Secret.

#![expect(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "KubeSchema's helper types; printcolumn is repeated"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use rotation::{K8sDuration, Status, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rotates the client secret of one Auth0 application and keeps a Secret in step.
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
    doc = "Rotates the client secret of one Auth0 application and keeps a Secret in step, so that \
           no login fails while it happens.",
    printcolumn(name = "Client", type_ = "string", json_path = ".spec.clientId"),
    printcolumn(name = "Strategy", type_ = "string", json_path = ".spec.strategy"),
    printcolumn(name = "Current", type_ = "integer", json_path = ".status.current"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastRotationTime"),
    // A date column counts from the past; what is to come is shown as it is.
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
    /// The client ID of the application at Auth0. It can't be changed: it is what this resource is
    /// about.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[!-~]+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("clientId can't be changed: create another ClientSecretRotation"))]
    pub client_id: String,
    /// The Auth0 tenant that the application belongs to.
    pub tenant_ref: TenantRef,
    /// When to rotate. Without it, only on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,
    /// When a scheduled rotation may start; at any time when there are none. What comes due outside
    /// waits for the next one. Requests don't wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub windows: Vec<WindowSpec>,
    /// How to rotate. Rotate: call Auth0's rotate-secret and publish what comes back. Staged:
    /// publish a new value as a fallback first, wait until consumers have it, then activate it.
    #[serde(default)]
    pub strategy: Strategy,
    /// For the strategy Staged.
    #[serde(default)]
    pub staging: StagingSpec,
    /// How long the previous secret stays in the Secret as a fallback after activation; at least
    /// Auth0's propagation window of 30s.
    #[serde(default = "default_grace_period")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('8760h')")
        .message("gracePeriod must be longer than 0s and at most 8760h"))]
    pub grace_period: K8sDuration,
    /// What to do with a new resource. Import: publish the client's present secret without
    /// rotating. Rotate: rotate once at the start.
    #[serde(default)]
    pub initial: Initial,
    /// The Secret that is kept in step.
    #[x_kube(validation = Rule::new("self.name == oldSelf.name")
        .message("target.name can't be changed: pods mount the Secret by it; create another ClientSecretRotation"))]
    pub target: TargetSpec,
    /// The applications that use the Secret.
    #[serde(default)]
    pub consumers: ConsumersSpec,
    /// How often it is looked whether someone else has changed the secret at Auth0.
    #[serde(default)]
    pub drift_check: DriftCheckSpec,
    /// Start no rotation. One that is in progress is finished.
    #[serde(default)]
    pub suspend: bool,
}

/// A reference to an Auth0 tenant.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct TenantRef {
    /// The kind of the tenant resource.
    #[serde(default)]
    pub kind: TenantKind,
    /// The name of the tenant resource. An Auth0Tenant is looked up in this resource's namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// The kinds of tenant resources.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TenantKind {
    /// A tenant of this namespace.
    #[default]
    Auth0Tenant,
    /// A tenant of the cluster, which says what this namespace may use.
    ClusterAuth0Tenant,
}

/// When to rotate: exactly one of cron and every.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.cron) != has(self.every)")
        .message("schedule: set exactly one of cron and every"),
    validation = Rule::new("!has(self.timeZone) || has(self.cron)")
        .message("schedule.timeZone has no meaning without cron: remove it, or use cron")
)]
pub struct ScheduleSpec {
    /// A cron expression of five fields, such as "0 3 1 * *": at 3:00 on the first of each month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 128))]
    pub cron: Option<String>,
    /// The IANA time zone of the cron expression, such as Europe/Berlin. UTC when absent. A time
    /// that spring skips comes right after the gap; one that autumn repeats comes once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// An interval, such as 720h, counted from the last change of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('87600h')")
        .message("schedule.every must be longer than 0s and at most 87600h"))]
    pub every: Option<K8sDuration>,
    /// Delays each due time by up to this much, by an amount that is fixed for a resource and a due
    /// time, so that many resources don't rotate at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')")
        .message("schedule.jitter must be at most 24h"))]
    pub jitter: Option<K8sDuration>,
}

/// A time in which scheduled rotations may start.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WindowSpec {
    /// When the window opens: a cron expression of five fields.
    #[schemars(length(min = 9, max = 128))]
    pub cron: String,
    /// The IANA time zone of the cron expression. UTC when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// How long the window is open.
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('168h')")
        .message("windows: duration must be longer than 0s and at most 168h"))]
    pub duration: K8sDuration,
}

/// The applications that use the Secret.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConsumersSpec {
    /// Workloads that are restarted once in each rotation, as kubectl rollout restart does: those
    /// that take the Secret through environment variables or subPath, which are never updated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub restart: Vec<WorkloadRef>,
    /// How long their rollouts may take, before it is said who holds a Staged rotation up. The next
    /// secret is not activated before they are done.
    #[serde(default = "default_rollout_timeout")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('24h')")
        .message("consumers.rolloutTimeout must be longer than 0s and at most 24h"))]
    pub rollout_timeout: K8sDuration,
}

/// A workload of this namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRef {
    /// The kind of the workload.
    pub kind: WorkloadKind,
    /// The name of the workload.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// The kinds of workloads that can be restarted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
}

/// How often it is looked whether someone else has changed the secret at Auth0.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
pub struct DriftCheckSpec {
    /// The interval. One look serves all resources of a tenant, at the shortest of their intervals.
    #[serde(default = "default_drift_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('8760h')")
        .message("driftCheck.every must be at least 1s and at most 8760h"))]
    pub every: K8sDuration,
}

/// For the strategy Staged.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
pub struct StagingSpec {
    /// How long current and next secret are published together before the next one is activated:
    /// the time that a kubelet may take to update a mounted Secret.
    #[serde(default = "default_staging_period")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('24h')")
        .message("staging.period must be longer than 0s and at most 24h"))]
    pub period: K8sDuration,
}

/// What to do with a new resource.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// Publish the client's present secret without rotating.
    #[default]
    Import,
    /// Rotate once at the start.
    Rotate,
}

/// The Secret that is kept in step.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[self.keys.clientId, self.keys.domain, self.keys.current, self.keys.fallback, self.keys.list].all(key, [self.keys.clientId, self.keys.domain, self.keys.current, self.keys.fallback, self.keys.list].exists_one(other, other == key))")
        .message("target.keys: each key needs a name of its own"),
    validation = Rule::new("self.template.all(key, !(key in [self.keys.clientId, self.keys.domain, self.keys.current, self.keys.fallback, self.keys.list]))")
        .message("target.template: a key is already used by target.keys: rename one of them"),
    validation = Rule::new("!has(self.labels) || self.labels.all(key, key.size() <= 317 && key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$') && self.labels[key].matches('^([A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)?$'))")
        .message("target.labels: a name or a value is not one of a Kubernetes label"),
    validation = Rule::new("!has(self.annotations) || self.annotations.all(key, key.size() <= 317 && key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$'))")
        .message("target.annotations: a name is not one of a Kubernetes annotation"),
    validation = Rule::new("self.template.all(key, key.matches('^([-_a-zA-Z0-9]|\\\\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]{0,251}$'))")
        .message("target.template: keys may have letters, digits, '-', '_' and '.' only")
)]
pub struct TargetSpec {
    /// The name of the Secret, in this resource's namespace.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// Take over a Secret of that name that exists already. Only this resource's own keys are
    /// written in it.
    #[serde(default)]
    pub adopt: bool,
    /// What becomes of the Secret when this resource is deleted. Retain: it stays. Delete: it goes
    /// too.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// The keys of the Secret's data.
    #[serde(default)]
    pub keys: Keys,
    /// How the list of secrets is written. JSON: an array of strings. Lines: one per line.
    #[serde(default)]
    pub list_format: ListFormat,
    /// Further keys, rendered as Jinja templates of client_id, domain, client_secret,
    /// client_secret_fallback (empty when there is none) and client_secrets (the list in the order
    /// to try). They have filters, if and for, and nothing that calculates or makes lists.
    #[serde(default)]
    #[schemars(extend(
        "maxProperties" = 16,
        "additionalProperties" = {"type": "string", "maxLength": 16384}
    ))]
    pub template: BTreeMap<String, String>,
    /// Labels to set on the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub labels: BTreeMap<String, String>,
    /// Annotations to set on the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    pub annotations: BTreeMap<String, String>,
}

/// What becomes of the target Secret when its resource is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It goes too, by an owner reference.
    Delete,
}

/// The keys of the target Secret's data.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Keys {
    /// The client ID.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$")
    )]
    pub client_id: String,
    /// The tenant's domain.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$")
    )]
    pub domain: String,
    /// The secret to try first.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$")
    )]
    pub current: String,
    /// The secret to try second; the key is absent when there is none.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$")
    )]
    pub fallback: String,
    /// All secrets in the order to try.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$")
    )]
    pub list: String,
}

/// How the list of secrets is written.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// A JSON array of strings.
    #[default]
    #[serde(rename = "JSON")]
    Json,
    /// One per line, each with a line feed at its end.
    Lines,
}

impl Default for StagingSpec {
    fn default() -> Self {
        StagingSpec { period: default_staging_period() }
    }
}

impl Default for ConsumersSpec {
    fn default() -> Self {
        ConsumersSpec { restart: Vec::new(), rollout_timeout: default_rollout_timeout() }
    }
}

impl Default for DriftCheckSpec {
    fn default() -> Self {
        DriftCheckSpec { every: default_drift_interval() }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Keys {
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
