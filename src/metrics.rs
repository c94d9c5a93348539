//! Metrics in the OpenMetrics text format. Labels are words from closed sets.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};
use rotation::{Cause, HistoryEntry, Outcome, Purpose, Status};

use crate::auth0::Auth0Error;

/// What the operator counts and measures.
pub struct Metrics {
    registry: Registry,
    passes: Family<PassLabels, Counter>,
    calls: Family<CallLabels, Counter>,
    rotations: Family<RotationLabels, Counter>,
    secret_writes: Family<PurposeLabels, Counter>,
    status_writes: Counter,
    publishing: Histogram,
    waiting: Gauge,
    leader: Gauge,
    budget: Family<TenantLabels, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PassLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    operation: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RotationLabels {
    cause: &'static str,
    outcome: &'static str,
}

/// There are as many as there are tenants.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TenantLabels {
    namespace: String,
    tenant: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PurposeLabels {
    purpose: &'static str,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Arc<Metrics> {
        let mut registry = Registry::with_prefix("auth0_rotator");
        let metrics = Metrics {
            passes: Family::default(),
            calls: Family::default(),
            rotations: Family::default(),
            secret_writes: Family::default(),
            status_writes: Counter::default(),
            // From a local API server to one that is far away and busy.
            publishing: Histogram::new([
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]),
            waiting: Gauge::default(),
            leader: Gauge::default(),
            budget: Family::default(),
            registry: Registry::default(),
        };
        registry.register(
            "passes",
            "Passes over resources, by how they ended",
            metrics.passes.clone(),
        );
        registry.register(
            "auth0_requests",
            "Operations at Auth0, by how they ended",
            metrics.calls.clone(),
        );
        registry.register(
            "rotations",
            "Rotations that ended, by cause and outcome",
            metrics.rotations.clone(),
        );
        registry.register(
            "secret_writes",
            "Writes of target Secrets, by what they were for",
            metrics.secret_writes.clone(),
        );
        registry.register(
            "status_writes",
            "Writes of the status of ClientSecretRotations",
            metrics.status_writes.clone(),
        );
        registry.register_with_unit(
            "publishing_duration",
            "From the end of Auth0's answer to rotate-secret to the moment the API server has \
             acknowledged the target Secret",
            Unit::Seconds,
            metrics.publishing.clone(),
        );
        registry.register(
            "waiting",
            "ClientSecretRotations that wait for their turn",
            metrics.waiting.clone(),
        );
        registry.register("leader", "1 while this replica leads", metrics.leader.clone());
        registry.register(
            "auth0_budget_remaining",
            "Calls of a tenant's Management API that were left when Auth0 last told",
            metrics.budget.clone(),
        );
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The operator's build", version);
        Arc::new(Metrics { registry, ..metrics })
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// When a metric can't be written, which would be a defect of this program.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    pub(crate) fn passed(&self, result: &'static str) {
        self.passes.get_or_create(&PassLabels { result }).inc();
    }

    pub(crate) fn auth0_called<T>(&self, operation: &'static str, called: &Result<T, Auth0Error>) {
        let result = called.as_ref().err().map_or("ok", Auth0Error::reason);
        self.calls.get_or_create(&CallLabels { operation, result }).inc();
    }

    pub(crate) fn waiting(&self, resources: usize) {
        self.waiting.set(i64::try_from(resources).unwrap_or(i64::MAX));
    }

    /// Whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// What is left of a tenant's budget.
    pub(crate) fn budget_left(&self, namespace: &str, tenant: &str, remaining: u32) {
        let labels = TenantLabels { namespace: namespace.to_owned(), tenant: tenant.to_owned() };
        self.budget.get_or_create(&labels).set(i64::from(remaining));
    }

    /// Tenants that are gone are not told of any more; the others are with their next pass.
    pub(crate) fn forget_budgets(&self) {
        self.budget.clear();
    }

    pub(crate) fn status_written(&self) {
        self.status_writes.inc();
    }

    pub(crate) fn secret_written(&self, purpose: Purpose) {
        let purpose = match purpose {
            Purpose::Import => "import",
            Purpose::Answer => "answer",
            Purpose::ReadBack => "read-back",
            Purpose::Stage => "stage",
            Purpose::Promote => "promote",
            Purpose::Retire => "retire",
            Purpose::Withdraw => "withdraw",
            Purpose::Repair => "repair",
            Purpose::Render => "render",
        };
        self.secret_writes.get_or_create(&PurposeLabels { purpose }).inc();
    }

    pub(crate) fn answer_published(&self, took: Duration) {
        tracing::debug!(milliseconds = took.as_secs_f64() * 1000.0, "published the answer");
        self.publishing.observe(took.as_secs_f64());
    }

    pub(crate) fn rotations_ended(&self, before: &Status, after: &Status) {
        let new = |entry: &&HistoryEntry| !before.history.contains(entry);
        for entry in after.history.iter().filter(new) {
            let cause = match entry.cause {
                Cause::Initial => "initial",
                Cause::Schedule => "schedule",
                Cause::Request => "request",
                Cause::Drift => "drift",
                Cause::Recovery => "recovery",
            };
            let outcome = match entry.outcome {
                Outcome::Completed => "completed",
                Outcome::Superseded => "superseded",
                Outcome::Aborted => "aborted",
                Outcome::Refused => "refused",
            };
            self.rotations.get_or_create(&RotationLabels { cause, outcome }).inc();
        }
    }
}
