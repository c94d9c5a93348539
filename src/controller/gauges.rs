//! What is so at the moment, for Prometheus: worked out of the caches of the watches when somebody
//! asks, by the process that leads. A resource or tenant that is gone is not told of any more.

use std::sync::{Arc, Weak};

use chrono::{DateTime, Utc};
use kube::ResourceExt as _;
use prometheus::{
    core::{Collector, Desc},
    proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType},
};
use rotation::{Condition, ConditionStatus, Phase, Rotation, condition_types};

use super::{context::Context, tenants::AnyTenant};
use crate::{
    api::ClientSecretRotation,
    metrics::{TENANT_LABELS, opts, phase_label},
};

/// A metric that is told here.
struct Told {
    name: &'static str,
    help: &'static str,
    /// Its labels after those that say which resource or tenant it is about.
    labels: &'static [&'static str],
}

const RESOURCE_LABELS: [&str; 2] = ["namespace", "name"];

const LAST: Told = Told {
    name: "last_rotation_timestamp_seconds",
    help: "When the current secret became active at Auth0, or was imported",
    labels: &[],
};
const NEXT: Told = Told {
    name: "next_rotation_timestamp_seconds",
    help: "When the next scheduled rotation is due; absent while the resource is suspended",
    labels: &[],
};
const DEADLINE: Told = Told {
    name: "rotation_phase_deadline_timestamp_seconds",
    help: "When the present phase of a rotation in progress is over if all goes well",
    labels: &["phase"],
};
const READY: Told = Told {
    name: "resource_ready",
    help: "The condition Ready of a ClientSecretRotation: 1 for True, 0 otherwise",
    labels: &[],
};
const TROUBLE: Told = Told {
    name: "condition_unhealthy",
    help: "A condition of a ClientSecretRotation that says that something is wrong; always 1",
    labels: &["condition", "reason"],
};
const OF_RESOURCES: [&Told; 5] = [&LAST, &NEXT, &DEADLINE, &READY, &TROUBLE];

const TENANT_READY: Told = Told {
    name: "tenant_ready",
    help: "The condition Ready of a tenant: 1 for True, 0 otherwise",
    labels: &[],
};
const TENANT_TROUBLE: Told = Told {
    name: "tenant_condition_unhealthy",
    help: "A condition of a tenant that says that something is wrong; always 1",
    labels: &["condition", "reason"],
};
const MISSING_SCOPE: Told = Told {
    name: "tenant_missing_scope",
    help: "A scope that would be used and that a tenant's token doesn't have; always 1",
    labels: &["scope"],
};
const BUDGET: Told = Told {
    name: "auth0_rate_limit_remaining",
    help: "Calls of a tenant's Management API that were left when Auth0 last told",
    labels: &[],
};
const BUDGET_LIMIT: Told = Told {
    name: "auth0_rate_limit",
    help: "Calls of a tenant's Management API that there are when none is used up",
    labels: &[],
};
const OF_TENANTS: [&Told; 5] =
    [&TENANT_READY, &TENANT_TROUBLE, &MISSING_SCOPE, &BUDGET, &BUDGET_LIMIT];

/// Tells what is so when it is asked.
pub(super) struct Gauges {
    context: Weak<Context>,
    descriptions: Vec<Desc>,
}

impl Gauges {
    pub(super) fn new(context: &Arc<Context>) -> Result<Gauges, prometheus::Error> {
        let describe = |first: &'static [&'static str]| {
            move |told: &&Told| {
                let labels = first.iter().chain(told.labels).map(|&label| label.to_owned());
                let help = told.help.to_owned();
                Desc::new(full_name(told), help, labels.collect(), Default::default())
            }
        };
        let resources = OF_RESOURCES.iter().map(describe(&RESOURCE_LABELS));
        let tenants = OF_TENANTS.iter().map(describe(&TENANT_LABELS));
        let descriptions = resources.chain(tenants).collect::<Result<_, _>>()?;
        Ok(Gauges { context: Arc::downgrade(context), descriptions })
    }
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(context) = self.context.upgrade() else { return Vec::new() };
        // Whoever stands by would only say the same again.
        if !context.metrics.is_leader() {
            return Vec::new();
        }
        let mut families = Families::default();
        for resource in context.watched.resources() {
            if let Ok(resource) = &resource.0 {
                families.resource(resource, &context);
            }
        }
        for tenant in context.watched.all_tenants() {
            families.tenant(&tenant, &context);
        }
        families.0
    }
}

#[derive(Default)]
struct Families(Vec<MetricFamily>);

impl Families {
    fn resource(&mut self, resource: &ClientSecretRotation, context: &Context) {
        let Some(status) = &resource.status else { return };
        let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
        let mut tell = |told: &Told, more: &[&str], value: f64| {
            let first = RESOURCE_LABELS.into_iter().zip([namespace.as_str(), name.as_str()]);
            self.tell(told, first, more, value);
        };
        if let Some(last) = status.last_rotation_time {
            tell(&LAST, &[], seconds(last));
        }
        if let Some(next) = status.next_rotation_time.filter(|_| !resource.spec.suspend) {
            tell(&NEXT, &[], seconds(next));
        }
        if let Some(rotation) = &status.rotation {
            let deadline = deadline(rotation, resource, context.settings.propagation_window);
            tell(&DEADLINE, &[phase_label(rotation.phase)], seconds(deadline));
        }
        if let Some(ready) = rotation::find_condition(&status.conditions, condition_types::READY) {
            tell(&READY, &[], truth(ready));
        }
        for condition in &status.conditions {
            let is_wrong = match condition.type_.as_str() {
                condition_types::STALLED => condition.status == ConditionStatus::True,
                condition_types::READY
                | condition_types::TENANT_READY
                | condition_types::CONSUMERS_REACHED => condition.status == ConditionStatus::False,
                _ => false,
            };
            if is_wrong {
                tell(&TROUBLE, &[&condition.type_, &condition.reason], 1.0);
            }
        }
    }

    fn tenant(&mut self, tenant: &AnyTenant, context: &Context) {
        let name = tenant.name();
        let mut tell = |told: &Told, more: &[&str], value: f64| {
            let first = TENANT_LABELS.into_iter().zip(name.each_ref().map(String::as_str));
            self.tell(told, first, more, value);
        };
        let budget = tenant.uid().and_then(|uid| context.tenants.budget(&uid));
        if let Some(budget) = budget {
            tell(&BUDGET, &[], f64::from(budget.remaining));
            tell(&BUDGET_LIMIT, &[], f64::from(budget.limit));
        }
        let Some(status) = tenant.status() else { return };
        if let Some(ready) = rotation::find_condition(&status.conditions, condition_types::READY) {
            tell(&TENANT_READY, &[], truth(ready));
        }
        for condition in
            status.conditions.iter().filter(|found| found.status == ConditionStatus::False)
        {
            tell(&TENANT_TROUBLE, &[&condition.type_, &condition.reason], 1.0);
        }
        for scope in status.scopes.iter().flat_map(|scopes| &scopes.missing) {
            tell(&MISSING_SCOPE, &[scope], 1.0);
        }
    }

    fn tell<'l>(
        &mut self,
        told: &Told,
        first: impl Iterator<Item = (&'l str, &'l str)>,
        more: &[&'l str],
        value: f64,
    ) {
        let more = told.labels.iter().copied().zip(more.iter().copied());
        let labels = first.chain(more).map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name(name.to_owned());
            label.set_value(value.to_owned());
            label
        });
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_gauge(gauge);
        metric.set_label(labels.collect());
        self.family(told).mut_metric().push(metric);
    }

    fn family(&mut self, told: &Told) -> &mut MetricFamily {
        let name = full_name(told);
        let known = self.0.iter().position(|family| family.name() == name);
        let index = known.unwrap_or_else(|| {
            let mut family = MetricFamily::default();
            family.set_name(name);
            family.set_help(told.help.to_owned());
            family.set_field_type(MetricType::GAUGE);
            self.0.push(family);
            self.0.len() - 1
        });
        &mut self.0[index]
    }
}

fn full_name(told: &Told) -> String {
    opts(told.name, told.help).fq_name()
}

fn truth(condition: &Condition) -> f64 {
    f64::from(u8::from(condition.status == ConditionStatus::True))
}

fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp() as f64
}

/// When a phase is over if all goes well. Where no time is waited for that is when it began, or
/// what is known of that.
fn deadline(
    rotation: &Rotation,
    resource: &ClientSecretRotation,
    propagation_window: rotation::K8sDuration,
) -> DateTime<Utc> {
    let Rotation { started_at, staged_at, restart_at, activating_at, .. } = rotation;
    let spec = &resource.spec;
    let known = match rotation.phase {
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
    known.unwrap_or(*started_at)
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
    fn a_phase_is_over_when_what_it_waits_for_should_have_come() {
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
            let over = deadline(&rotation, &resource, K8sDuration::from_secs(30));
            assert_eq!(over, at(expected), "{phase}");
        }
    }
}
