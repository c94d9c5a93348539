//! Metrics in the Prometheus text format; `docs/monitoring.md` lists them all.
//!
//! Counters and histograms live here. Gauges of resources and tenants are collected by the
//! controller when `/metrics` is scraped. Labels have a fixed set of values, or name an existing
//! resource or tenant.

mod labels;
mod tenant;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use labels::{CAUSES, OUTCOMES, PHASES, PROBE_RESULTS, PURPOSES, RECONCILE_RESULTS, STRATEGIES};
pub(crate) use labels::{ProbeResult, ReconcileResult, phase as phase_label};
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry, TextEncoder, core::Collector,
};
use rotation::{HistoryEntry, Phase, Purpose, Rotation, Status, Strategy};
pub(crate) use tenant::{TENANT_LABELS, TenantMetrics};

/// Prefix of the names of all metrics.
const PREFIX: &str = "auth0_rotator";

/// Buckets for requests and reconciliations, in seconds: from a local server to one that is far
/// away and busy.
const REQUEST_BUCKETS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Buckets for phases, in seconds: from an immediate confirmation to a grace period of a week.
const PHASE_BUCKETS: [f64; 13] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 604_800.0];

/// Counters and histograms of the operator, and the registry of all metrics.
pub struct Metrics {
    registry: Registry,
    leader: IntGauge,
    reconcile_total: IntCounterVec,
    reconcile_duration: Histogram,
    workqueue_depth: IntGauge,
    rotations_started: IntCounterVec,
    rotations_ended: IntCounterVec,
    phase_duration: HistogramVec,
    probes: IntCounterVec,
    secret_writes: IntCounterVec,
    status_writes: IntCounter,
    publish_duration: Histogram,
    auth0_requests: IntCounterVec,
    auth0_request_duration: HistogramVec,
}

/// Errors are defects of this program: conflicting or malformed names.
type Result<T> = std::result::Result<T, prometheus::Error>;

impl Metrics {
    /// Creates all metrics with the value 0.
    ///
    /// # Errors
    ///
    /// When the name of a metric is malformed, or conflicts with another one.
    pub fn new() -> Result<Arc<Self>> {
        let metrics = Self {
            registry: Registry::new(),
            leader: gauge("leader", "1 for the leader, 0 for a standby")?,
            reconcile_total: counters(
                "reconcile_total",
                "Reconciliations of ClientSecretRotations, by result",
                &["result"],
            )?,
            reconcile_duration: Histogram::with_opts(histogram(
                "reconcile_duration_seconds",
                "Duration of reconciliations, including the time that requests to Auth0 waited for \
                 the rate limit",
                &REQUEST_BUCKETS,
            ))?,
            workqueue_depth: gauge(
                "workqueue_depth",
                "ClientSecretRotations that wait in the work queue",
            )?,
            rotations_started: counters(
                "rotations_started_total",
                "Rotations that started, by strategy and cause",
                &["strategy", "cause"],
            )?,
            rotations_ended: counters(
                "rotations_total",
                "Rotations that ended, by strategy, cause and outcome",
                &["strategy", "cause", "outcome"],
            )?,
            phase_duration: HistogramVec::new(
                histogram(
                    "rotation_phase_duration_seconds",
                    "Time that rotations spent in a phase, by strategy",
                    &PHASE_BUCKETS,
                ),
                &["strategy", "phase"],
            )?,
            probes: counters(
                "probes_total",
                "Probes of whether Auth0 accepts a published secret, by result",
                &["result"],
            )?,
            secret_writes: counters(
                "secret_writes_total",
                "Writes of target Secrets, by purpose",
                &["purpose"],
            )?,
            status_writes: IntCounter::with_opts(opts(
                "status_writes_total",
                "Writes of the status of ClientSecretRotations",
            ))?,
            publish_duration: Histogram::with_opts(histogram(
                "publish_duration_seconds",
                "Time from the end of the response of rotate-secret until the API server \
                 acknowledges the write of the target Secret",
                &REQUEST_BUCKETS,
            ))?,
            auth0_requests: tenant::requests()?,
            auth0_request_duration: tenant::request_duration()?,
        };
        metrics.register_all()?;
        metrics.initialize_series();
        Ok(Arc::new(metrics))
    }

    fn register_all(&self) -> Result<()> {
        let build_info = opts("build_info", "Build of the operator; always 1")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let build_info = IntGauge::with_opts(build_info)?;
        build_info.set(1);
        self.register(build_info)?;
        self.register(self.leader.clone())?;
        self.register(self.reconcile_total.clone())?;
        self.register(self.reconcile_duration.clone())?;
        self.register(self.workqueue_depth.clone())?;
        self.register(self.rotations_started.clone())?;
        self.register(self.rotations_ended.clone())?;
        self.register(self.phase_duration.clone())?;
        self.register(self.probes.clone())?;
        self.register(self.secret_writes.clone())?;
        self.register(self.status_writes.clone())?;
        self.register(self.publish_duration.clone())?;
        self.register(self.auth0_requests.clone())?;
        self.register(self.auth0_request_duration.clone())?;
        #[cfg(target_os = "linux")]
        self.register(prometheus::process_collector::ProcessCollector::for_self())?;
        Ok(())
    }

    /// Creates all series whose labels are known, with the value 0: Prometheus doesn't count the
    /// appearance of a series with the value 1 as an increase.
    fn initialize_series(&self) {
        for result in RECONCILE_RESULTS.map(labels::reconcile_result) {
            self.reconcile_total.with_label_values(&[result]);
        }
        for result in PROBE_RESULTS.map(labels::probe_result) {
            self.probes.with_label_values(&[result]);
        }
        for purpose in PURPOSES.map(labels::purpose) {
            self.secret_writes.with_label_values(&[purpose]);
        }
        for strategy in STRATEGIES.map(labels::strategy) {
            for cause in CAUSES.map(labels::cause) {
                self.rotations_started.with_label_values(&[strategy, cause]);
                for outcome in OUTCOMES.map(labels::outcome) {
                    self.rotations_ended.with_label_values(&[strategy, cause, outcome]);
                }
            }
            for phase in PHASES.map(labels::phase) {
                self.phase_duration.with_label_values(&[strategy, phase]);
            }
        }
    }

    /// Registers a collector, whose metrics are collected when `/metrics` is scraped.
    ///
    /// # Errors
    ///
    /// When a name conflicts with another metric.
    pub(crate) fn register(&self, collector: impl Collector + 'static) -> Result<()> {
        self.registry.register(Box::new(collector))
    }

    /// Encodes all metrics in the Prometheus text format.
    ///
    /// # Errors
    ///
    /// When a metric is inconsistent.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Sets whether this process is the leader.
    pub fn set_leader(&self, is_leader: bool) {
        self.leader.set(is_leader.into());
    }

    /// Returns whether this process is the leader, as set last.
    pub(crate) fn is_leader(&self) -> bool {
        self.leader.get() == 1
    }

    pub(crate) fn count_reconcile(&self, result: ReconcileResult) {
        self.reconcile_total.with_label_values(&[labels::reconcile_result(result)]).inc();
    }

    pub(crate) fn observe_reconcile_duration(&self, duration: Duration) {
        self.reconcile_duration.observe(duration.as_secs_f64());
    }

    pub(crate) fn set_workqueue_depth(&self, depth: usize) {
        self.workqueue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    pub(crate) fn count_status_write(&self) {
        self.status_writes.inc();
    }

    pub(crate) fn count_secret_write(&self, purpose: Purpose) {
        self.secret_writes.with_label_values(&[labels::purpose(purpose)]).inc();
    }

    pub(crate) fn observe_publish_duration(&self, duration: Duration) {
        let milliseconds = duration.as_secs_f64() * 1000.0;
        tracing::debug!(milliseconds, "published the response of rotate-secret");
        self.publish_duration.observe(duration.as_secs_f64());
    }

    pub(crate) fn count_probe(&self, result: ProbeResult) {
        self.probes.with_label_values(&[labels::probe_result(result)]).inc();
    }

    /// Counts rotations that started or ended, and observes a phase that ended, between two
    /// statuses stored in a row. `strategy` is the one of the spec, which applies to a rotation
    /// that started and ended between the two.
    pub(crate) fn observe_status_change(
        &self,
        before: &Status,
        after: &Status,
        strategy: Strategy,
        now: DateTime<Utc>,
    ) {
        self.count_ended_rotations(before, after, strategy);
        let (left, entered) = (before.rotation.as_ref(), after.rotation.as_ref());
        if let Some(rotation) = entered
            && left.is_none_or(|left| left.number != rotation.number)
        {
            let labels = [labels::strategy(rotation.strategy), labels::cause(rotation.cause)];
            self.rotations_started.with_label_values(&labels).inc();
        }
        if let Some(rotation) = left
            && entered.is_none_or(|entered| !is_same_phase(rotation, entered))
            && let Some(since) = phase_started_at(rotation)
        {
            let labels = [labels::strategy(rotation.strategy), labels::phase(rotation.phase)];
            let duration = (now - since).to_std().unwrap_or_default();
            self.phase_duration.with_label_values(&labels).observe(duration.as_secs_f64());
        }
    }

    fn count_ended_rotations(&self, before: &Status, after: &Status, spec_strategy: Strategy) {
        for entry in &after.history {
            if before.history.contains(entry) {
                continue;
            }
            let strategy = strategy_of(entry, before).unwrap_or(spec_strategy);
            let labels = [
                labels::strategy(strategy),
                labels::cause(entry.cause),
                labels::outcome(entry.outcome),
            ];
            self.rotations_ended.with_label_values(&labels).inc();
        }
    }
}

/// Returns the strategy of a rotation that was in progress before it ended.
fn strategy_of(entry: &HistoryEntry, before: &Status) -> Option<Strategy> {
    let rotation = before.rotation.as_ref()?;
    (rotation.number == entry.number).then_some(rotation.strategy)
}

fn is_same_phase(a: &Rotation, b: &Rotation) -> bool {
    (a.number, a.phase) == (b.number, b.phase)
}

/// Returns when a rotation entered its current phase, if the status records that.
fn phase_started_at(rotation: &Rotation) -> Option<DateTime<Utc>> {
    match rotation.phase {
        Phase::Started => Some(rotation.started_at),
        Phase::Staging => rotation.staged_at,
        Phase::Activating => rotation.activating_at,
        Phase::Confirming => rotation.activated_at,
        Phase::Grace => rotation.confirmed_at,
        Phase::Withdrawing => None,
    }
}

/// Returns the options of a metric, whose name gets the prefix of the operator.
pub(crate) fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(PREFIX)
}

fn gauge(name: &str, help: &str) -> Result<IntGauge> {
    IntGauge::with_opts(opts(name, help))
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
    IntCounterVec::new(opts(name, help), labels)
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(name, help).namespace(PREFIX).buckets(buckets.to_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap()
    }

    fn status(rotation: Value, history: Value) -> Status {
        serde_json::from_value(json!({ "rotation": rotation, "history": history })).unwrap()
    }

    fn rotation(phase: &str, times: Value) -> Value {
        let mut rotation = json!({
            "number": 2, "cause": "Request", "strategy": "Staged", "phase": phase,
            "startedAt": at(0),
        });
        let fields = rotation.as_object_mut().unwrap();
        fields.extend(times.as_object().unwrap().clone());
        rotation
    }

    /// Returns the value of a series.
    fn value(metrics: &Metrics, series: &str) -> f64 {
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {series}: {text}")).parse().unwrap()
    }

    #[test]
    fn counts_a_rotation_once_when_it_starts_and_once_when_it_ends() {
        let metrics = Metrics::new().unwrap();
        let started = "auth0_rotator_rotations_started_total\
                       {cause=\"request\",strategy=\"staged\"}";
        let ended = "auth0_rotator_rotations_total\
                     {cause=\"request\",outcome=\"completed\",strategy=\"staged\"}";
        assert_eq!((value(&metrics, started), value(&metrics, ended)), (0.0, 0.0));
        let history = json!([{
            "number": 2, "cause": "Request", "startedAt": at(0), "outcome": "Completed",
        }]);
        let statuses = [
            status(json!(null), json!([])),
            status(rotation("Started", json!({})), json!([])),
            status(rotation("Staging", json!({ "stagedAt": at(2) })), json!([])),
            status(rotation("Staging", json!({ "stagedAt": at(2), "attempts": 1 })), json!([])),
            status(rotation("Grace", json!({ "confirmedAt": at(9) })), json!([])),
            status(json!(null), history),
        ];
        for (step, pair) in statuses.windows(2).enumerate() {
            let now = at(10 * i64::try_from(step).unwrap());
            // The strategy of the spec was changed since the rotation started.
            metrics.observe_status_change(&pair[0], &pair[1], Strategy::Rotate, now);
        }
        assert_eq!((value(&metrics, started), value(&metrics, ended)), (1.0, 1.0));
        for (phase, seconds) in [("started", 10.0), ("staging", 28.0), ("grace", 31.0)] {
            let series = |suffix| {
                let name = format!("auth0_rotator_rotation_phase_duration_seconds_{suffix}");
                value(&metrics, &format!("{name}{{phase=\"{phase}\",strategy=\"staged\"}}"))
            };
            assert_eq!((series("count"), series("sum")), (1.0, seconds), "{phase}");
        }
    }
}
