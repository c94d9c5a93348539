//! Gauges of the present state, for Prometheus: computed from the stores at each scrape, by the leader.
//! A resource or tenant that is gone has no series.

use std::sync::{Arc, Weak};

use chrono::{DateTime, Utc};
use kube::ResourceExt as _;
use parking_lot::Mutex;
use prometheus::{
    GaugeVec,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use rotation::{
    Condition, ConditionStatus, K8sDuration, Phase, Rotation, condition_types, find_condition,
    is_unresolved,
};

use super::tenant::TenantRegistry;
use crate::{
    api::{AnyTenant, ClientSecretRotation},
    metrics::{TENANT_LABELS, opts, phase_label},
};

/// Labels of a ClientSecretRotation.
const RESOURCE_LABELS: [&str; 2] = ["namespace", "name"];

/// Collects gauges when Prometheus scrapes.
pub(super) struct StateCollector {
    tenants: Weak<TenantRegistry>,
    gauges: Mutex<Gauges>,
    descriptions: Vec<Desc>,
}

struct Gauges {
    last_rotation: GaugeVec,
    next_rotation: GaugeVec,
    phase_deadline: GaugeVec,
    unresolved_change_deadline: GaugeVec,
    resource_ready: GaugeVec,
    condition_unhealthy: GaugeVec,
    tenant_ready: GaugeVec,
    tenant_condition_unhealthy: GaugeVec,
    tenant_missing_scope: GaugeVec,
    rate_limit_remaining: GaugeVec,
    rate_limit: GaugeVec,
}

impl StateCollector {
    pub(super) fn new(tenants: &Arc<TenantRegistry>) -> Result<Self, prometheus::Error> {
        let gauges = Gauges::new()?;
        let descriptions = gauges.all().into_iter().flat_map(Collector::desc).cloned().collect();
        Ok(Self { tenants: Arc::downgrade(tenants), gauges: Mutex::new(gauges), descriptions })
    }
}

impl Collector for StateCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(tenants) = self.tenants.upgrade() else { return Vec::new() };
        let context = &tenants.context;
        // A standby would only repeat what the leader reports.
        if !context.metrics.is_leader() {
            return Vec::new();
        }
        let gauges = self.gauges.lock();
        gauges.all().into_iter().for_each(|gauge| gauge.reset());
        for resource in context.stores.rotations() {
            if let Ok(resource) = &resource.0
                && context.stores.selector.selects(&resource.metadata)
            {
                gauges.set_resource(resource, context.settings.propagation_window);
            }
        }
        for tenant in context.stores.selected_tenants() {
            gauges.set_tenant(&tenant, &tenants);
        }
        let families = gauges.all().into_iter().flat_map(Collector::collect).collect();
        // They have several series for each resource, which are not kept until the next scrape.
        gauges.all().into_iter().for_each(|gauge| gauge.reset());
        families
    }
}

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let resource = |name, help, more: &[&str]| gauge(name, help, &RESOURCE_LABELS, more);
        let tenant = |name, help, more: &[&str]| gauge(name, help, &TENANT_LABELS, more);
        Ok(Self {
            last_rotation: resource(
                "last_rotation_timestamp_seconds",
                "When the current secret became active at Auth0 or was imported",
                &[],
            )?,
            next_rotation: resource(
                "next_rotation_timestamp_seconds",
                "When the next scheduled rotation is due; absent while the resource is suspended",
                &[],
            )?,
            phase_deadline: resource(
                "rotation_phase_deadline_timestamp_seconds",
                "When the present phase of a rotation in progress should end",
                &["phase"],
            )?,
            unresolved_change_deadline: resource(
                "unresolved_change_deadline_timestamp_seconds",
                "Until when a change at Auth0 whose result is not published should be resolved: the \
                 end of its propagation window",
                &[],
            )?,
            resource_ready: resource(
                "resource_ready",
                "Condition Ready of a ClientSecretRotation: 1 for True, 0 otherwise",
                &[],
            )?,
            condition_unhealthy: resource(
                "condition_unhealthy",
                "A condition of a ClientSecretRotation that reports a problem; always 1",
                &["condition", "reason"],
            )?,
            tenant_ready: tenant(
                "tenant_ready",
                "Condition Ready of a tenant: 1 for True, 0 otherwise",
                &[],
            )?,
            tenant_condition_unhealthy: tenant(
                "tenant_condition_unhealthy",
                "A condition of a tenant that reports a problem; always 1",
                &["condition", "reason"],
            )?,
            tenant_missing_scope: tenant(
                "tenant_missing_scope",
                "A scope that the operator uses and the tenant's token lacks; always 1",
                &["scope"],
            )?,
            rate_limit_remaining: tenant(
                "auth0_rate_limit_remaining",
                "Remaining Management API requests, from the last rate-limit header",
                &[],
            )?,
            rate_limit: tenant(
                "auth0_rate_limit",
                "Management API requests that the rate limit allows, from the last rate-limit header",
                &[],
            )?,
        })
    }

    fn all(&self) -> [&GaugeVec; 11] {
        [
            &self.last_rotation,
            &self.next_rotation,
            &self.phase_deadline,
            &self.unresolved_change_deadline,
            &self.resource_ready,
            &self.condition_unhealthy,
            &self.tenant_ready,
            &self.tenant_condition_unhealthy,
            &self.tenant_missing_scope,
            &self.rate_limit_remaining,
            &self.rate_limit,
        ]
    }

    fn set_resource(&self, resource: &ClientSecretRotation, propagation_window: K8sDuration) {
        let Some(status) = &resource.status else { return };
        let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
        let labels = [namespace.as_str(), name.as_str()];
        if let Some(last) = status.last_rotation_time {
            self.last_rotation.with_label_values(&labels).set(timestamp(last));
        }
        if let Some(next) = status.next_rotation_time.filter(|_| !resource.spec.suspend) {
            self.next_rotation.with_label_values(&labels).set(timestamp(next));
        }
        if let Some(rotation) = &status.rotation {
            let [namespace, name] = labels;
            let phase = phase_label(rotation.phase);
            self.phase_deadline
                .with_label_values(&[namespace, name, phase])
                .set(timestamp(deadline(rotation, resource, propagation_window)));
            if let Some(since) = rotation.unresolved_since.filter(|_| is_unresolved(rotation)) {
                let deadline = since + propagation_window.to_delta();
                self.unresolved_change_deadline.with_label_values(&labels).set(timestamp(deadline));
            }
        }
        if let Some(ready) = find_condition(&status.conditions, condition_types::READY) {
            self.resource_ready.with_label_values(&labels).set(is_true(ready));
        }
        for condition in status.conditions.iter().filter(|condition| is_unhealthy(condition)) {
            let [namespace, name] = labels;
            self.condition_unhealthy
                .with_label_values(&[namespace, name, &condition.type_, &condition.reason])
                .set(1.0);
        }
    }

    fn set_tenant(&self, tenant: &AnyTenant, registry: &TenantRegistry) {
        let labels = tenant.id().labels();
        let [kind, namespace, name] = labels.each_ref().map(String::as_str);
        let labels = [kind, namespace, name];
        if let Some(limit) = tenant.uid().and_then(|uid| registry.rate_limit(&uid)) {
            self.rate_limit_remaining.with_label_values(&labels).set(f64::from(limit.remaining));
            self.rate_limit.with_label_values(&labels).set(f64::from(limit.limit));
        }
        let Some(status) = tenant.status() else { return };
        if let Some(ready) = find_condition(&status.conditions, condition_types::READY) {
            self.tenant_ready.with_label_values(&labels).set(is_true(ready));
        }
        for condition in &status.conditions {
            if condition.status == ConditionStatus::False {
                let labels = [kind, namespace, name, &condition.type_, &condition.reason];
                self.tenant_condition_unhealthy.with_label_values(&labels).set(1.0);
            }
        }
        for scope in status.scopes.iter().flat_map(|scopes| &scopes.missing) {
            let labels = [kind, namespace, name, scope];
            self.tenant_missing_scope.with_label_values(&labels).set(1.0);
        }
    }
}

fn gauge(
    name: &str,
    help: &str,
    first: &[&str],
    more: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    GaugeVec::new(opts(name, help), &[first, more].concat())
}

/// Returns whether a condition of a ClientSecretRotation reports a problem.
fn is_unhealthy(condition: &Condition) -> bool {
    match condition.type_.as_str() {
        condition_types::STALLED | condition_types::PROBE_INCONCLUSIVE => {
            condition.status == ConditionStatus::True
        }
        condition_types::READY
        | condition_types::TENANT_READY
        | condition_types::CLIENT_ROTATABLE
        | condition_types::REVOKED_SECRET_REJECTED
        | condition_types::REQUEST_ACCEPTED
        | condition_types::CONSUMERS_REACHED => condition.status == ConditionStatus::False,
        _ => false,
    }
}

fn is_true(condition: &Condition) -> f64 {
    f64::from(u8::from(condition.status == ConditionStatus::True))
}

fn timestamp(at: DateTime<Utc>) -> f64 {
    at.timestamp() as f64
}

/// Returns when the present phase should end. For a phase that waits for no time, returns when it
/// began, as far as that is recorded.
fn deadline(
    rotation: &Rotation,
    resource: &ClientSecretRotation,
    propagation_window: K8sDuration,
) -> DateTime<Utc> {
    let Rotation { started_at, staged_at, restart_at, activating_at, .. } = rotation;
    let spec = &resource.spec;
    let recorded = match rotation.phase {
        Phase::Started => None,
        Phase::Staging => {
            let staged = staged_at.map(|at| at + spec.staging.period.to_delta());
            let restarted = restart_at.map(|at| at + spec.consumers.rollout_timeout.to_delta());
            staged.max(restarted)
        }
        Phase::Activating => activating_at.map(|at| at + propagation_window.to_delta()),
        Phase::Confirming => rotation.activated_at.map(|at| at + propagation_window.to_delta()),
        Phase::Grace => rotation.retire_at,
        Phase::Withdrawing => *staged_at,
    };
    recorded.unwrap_or(*started_at)
}

#[cfg(test)]
mod tests {
    use rotation::K8sDuration;
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn phase_deadline_is_the_end_of_what_the_phase_waits_for() {
        let resource: ClientSecretRotation = serde_json::from_value(json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
            "metadata": { "name": "shop", "namespace": "team" },
            "spec": {
                "clientId": "c", "tenantRef": { "name": "acme" }, "target": { "name": "t" },
                "staging": { "period": "3m" }, "consumers": { "rolloutTimeout": "10m" },
            },
        }))
        .unwrap();
        for (phase, times, expected) in [
            ("Started", json!({}), 0),
            ("Staging", json!({ "stagedAt": at(5) }), 185),
            ("Staging", json!({ "stagedAt": at(5), "restartAt": at(6) }), 606),
            ("Activating", json!({ "activatingAt": at(200) }), 230),
            ("Confirming", json!({ "activatedAt": at(300) }), 330),
            ("Grace", json!({ "activatedAt": at(300), "retireAt": at(3900) }), 3900),
            ("Withdrawing", json!({ "stagedAt": at(5) }), 5),
        ] {
            let mut rotation = json!({
                "number": 2, "cause": "Schedule", "strategy": "Staged", "phase": phase,
                "startedAt": at(0),
            });
            rotation.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
            let rotation: Rotation = serde_json::from_value(rotation).unwrap();
            let found = deadline(&rotation, &resource, K8sDuration::from_secs(30));
            assert_eq!(found, at(expected), "{phase}");
        }
    }
}
