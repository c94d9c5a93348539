//! Metrics in Prometheus' text format. Labels are words from closed sets, or name a tenant or a
//! resource that exists: `docs/monitoring.md` lists them all.
//!
//! What is counted stands here. What is so at the moment is worked out when somebody asks, by the
//! controller: see its module `gauges`.

mod tenant;
mod words;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry, TextEncoder, core::Collector,
};
use rotation::{HistoryEntry, Phase, Purpose, Rotation, Status, Strategy};

pub(crate) use tenant::{TENANT_LABELS, TenantMeter};
use words::{CAUSES, OUTCOMES, PASSES, PHASES, PURPOSES, STRATEGIES};
pub(crate) use words::{class as class_word, phase as phase_word};

/// What the names of metrics begin with.
const PREFIX: &str = "auth0_rotator";

/// From a local server to one that is far away and busy.
const CALL_BUCKETS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// From a confirmation at once to a grace period of a week.
const PHASE_BUCKETS: [f64; 13] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 604_800.0];

/// What the operator counts and measures.
pub struct Metrics {
    registry: Registry,
    leader: IntGauge,
    passes: IntCounterVec,
    pass_seconds: Histogram,
    waiting: IntGauge,
    started: IntCounterVec,
    ended: IntCounterVec,
    phase_seconds: HistogramVec,
    confirmations: IntCounterVec,
    secret_writes: IntCounterVec,
    status_writes: IntCounter,
    publishing: Histogram,
    calls: IntCounterVec,
    call_seconds: HistogramVec,
}

/// Defects of this program: names that clash or are malformed.
type Result<T> = std::result::Result<T, prometheus::Error>;

impl Metrics {
    /// All at zero, and not leading.
    ///
    /// # Errors
    /// When a metric can't be made, which would be a defect of this program.
    pub fn new() -> Result<Arc<Metrics>> {
        let metrics = Metrics {
            registry: Registry::new(),
            leader: gauge("leader", "Whether this process leads: 1 if so, 0 if it stands by")?,
            passes: counters(
                "reconcile_total",
                "Passes over ClientSecretRotations, by how they ended",
                &["result"],
            )?,
            pass_seconds: Histogram::with_opts(histogram(
                "reconcile_duration_seconds",
                "How long a pass over a ClientSecretRotation took",
                &CALL_BUCKETS,
            ))?,
            waiting: gauge("workqueue_depth", "ClientSecretRotations that wait for their turn")?,
            started: counters(
                "rotations_started_total",
                "Rotations that started, by strategy and cause",
                &["strategy", "cause"],
            )?,
            ended: counters(
                "rotations_total",
                "Rotations that ended, by strategy, cause and outcome",
                &["strategy", "cause", "outcome"],
            )?,
            phase_seconds: HistogramVec::new(
                histogram(
                    "rotation_phase_duration_seconds",
                    "How long rotations were in a phase, by strategy",
                    &PHASE_BUCKETS,
                ),
                &["strategy", "phase"],
            )?,
            confirmations: counters(
                "probes_total",
                "Logins by which Auth0 was asked whether it accepts a published secret, by its answer",
                &["result"],
            )?,
            secret_writes: counters(
                "secret_writes_total",
                "Writes of target Secrets, by what they were for",
                &["purpose"],
            )?,
            status_writes: IntCounter::with_opts(opts(
                "status_writes_total",
                "Writes of the status of ClientSecretRotations",
            ))?,
            publishing: Histogram::with_opts(histogram(
                "publish_duration_seconds",
                "From the end of Auth0's answer to rotate-secret to the moment the API server has \
                 acknowledged the target Secret",
                &CALL_BUCKETS,
            ))?,
            calls: tenant::calls()?,
            call_seconds: tenant::call_seconds()?,
        };
        metrics.register_all()?;
        metrics.begin_at_zero();
        Ok(Arc::new(metrics))
    }

    fn register_all(&self) -> Result<()> {
        let version = opts("build_info", "The operator's build; always 1")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let build = IntGauge::with_opts(version)?;
        build.set(1);
        self.register(build)?;
        self.register(self.leader.clone())?;
        self.register(self.passes.clone())?;
        self.register(self.pass_seconds.clone())?;
        self.register(self.waiting.clone())?;
        self.register(self.started.clone())?;
        self.register(self.ended.clone())?;
        self.register(self.phase_seconds.clone())?;
        self.register(self.confirmations.clone())?;
        self.register(self.secret_writes.clone())?;
        self.register(self.status_writes.clone())?;
        self.register(self.publishing.clone())?;
        self.register(self.calls.clone())?;
        self.register(self.call_seconds.clone())?;
        #[cfg(target_os = "linux")]
        self.register(prometheus::process_collector::ProcessCollector::for_self())?;
        Ok(())
    }

    /// A series that begins at 1 has not increased, for Prometheus: all whose labels are known
    /// begin at 0.
    fn begin_at_zero(&self) {
        PASSES.iter().for_each(|result| drop(self.passes.with_label_values(&[result])));
        for result in ["accepted", "refused", "unknown"] {
            self.confirmations.with_label_values(&[result]);
        }
        for purpose in PURPOSES {
            self.secret_writes.with_label_values(&[words::purpose(purpose)]);
        }
        for strategy in STRATEGIES.map(words::strategy) {
            for cause in CAUSES.map(words::cause) {
                self.started.with_label_values(&[strategy, cause]);
                for outcome in OUTCOMES.map(words::outcome) {
                    self.ended.with_label_values(&[strategy, cause, outcome]);
                }
            }
            for phase in PHASES.map(words::phase) {
                self.phase_seconds.with_label_values(&[strategy, phase]);
            }
        }
    }

    /// Adds what is worked out when somebody asks.
    ///
    /// # Errors
    /// When its names clash with others, which would be a defect of this program.
    pub(crate) fn register(&self, collector: impl Collector + 'static) -> Result<()> {
        self.registry.register(Box::new(collector))
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric can't be written, which would be a defect of this program.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Whether this process is the one that works.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Whether this process is the one that works, as was told last.
    pub(crate) fn is_leading(&self) -> bool {
        self.leader.get() == 1
    }

    pub(crate) fn passed(&self, result: &'static str) {
        self.passes.with_label_values(&[result]).inc();
    }

    pub(crate) fn pass_took(&self, took: Duration) {
        self.pass_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn waiting(&self, resources: usize) {
        self.waiting.set(i64::try_from(resources).unwrap_or(i64::MAX));
    }

    pub(crate) fn status_written(&self) {
        self.status_writes.inc();
    }

    pub(crate) fn secret_written(&self, purpose: Purpose) {
        self.secret_writes.with_label_values(&[words::purpose(purpose)]).inc();
    }

    pub(crate) fn answer_published(&self, took: Duration) {
        tracing::debug!(milliseconds = took.as_secs_f64() * 1000.0, "published the answer");
        self.publishing.observe(took.as_secs_f64());
    }

    /// Auth0 was asked whether it accepts a secret; `None` when it said neither yes nor no.
    pub(crate) fn asked_whether_accepted(&self, accepted: Option<bool>) {
        let result = match accepted {
            Some(true) => "accepted",
            Some(false) => "refused",
            None => "unknown",
        };
        self.confirmations.with_label_values(&[result]).inc();
    }

    /// What happened between two statuses that were stored one after the other.
    /// What starts and ends at once has the strategy that is `wanted`.
    pub(crate) fn went_on(
        &self,
        (before, after): (&Status, &Status),
        wanted: Strategy,
        now: DateTime<Utc>,
    ) {
        self.rotation_ended(before, after, wanted);
        let (left, entered) = (before.rotation.as_ref(), after.rotation.as_ref());
        let number = |rotation: Option<&Rotation>| rotation.map(|rotation| rotation.number);
        if let Some(rotation) = entered.filter(|_| number(left) != number(entered)) {
            let labels = [words::strategy(rotation.strategy), words::cause(rotation.cause)];
            self.started.with_label_values(&labels).inc();
        }
        let phase = |rotation: Option<&Rotation>| rotation.map(|rotation| rotation.phase);
        if let Some(rotation) = left
            && (number(left), phase(left)) != (number(entered), phase(entered))
            && let Some(since) = entered_at(rotation)
        {
            let labels = [words::strategy(rotation.strategy), words::phase(rotation.phase)];
            let took = (now - since).to_std().unwrap_or_default();
            self.phase_seconds.with_label_values(&labels).observe(took.as_secs_f64());
        }
    }

    fn rotation_ended(&self, before: &Status, after: &Status, wanted: Strategy) {
        let new = |entry: &&HistoryEntry| !before.history.contains(entry);
        for entry in after.history.iter().filter(new) {
            let strategy = before.rotation.as_ref().filter(|known| known.number == entry.number);
            let strategy = strategy.map_or(wanted, |rotation| rotation.strategy);
            let labels = [
                words::strategy(strategy),
                words::cause(entry.cause),
                words::outcome(entry.outcome),
            ];
            self.ended.with_label_values(&labels).inc();
        }
    }
}

/// When a rotation came to its present phase, where its record has that.
fn entered_at(rotation: &Rotation) -> Option<DateTime<Utc>> {
    match rotation.phase {
        Phase::Started => Some(rotation.started_at),
        Phase::Staging => rotation.staged_at,
        Phase::Activating => rotation.activating_at,
        Phase::Confirming => rotation.activated_at,
        Phase::Grace => rotation.confirmed_at,
        Phase::Withdrawing => None,
    }
}

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
        let all = rotation.as_object_mut().unwrap();
        all.extend(times.as_object().unwrap().clone());
        rotation
    }

    /// The value of a series.
    fn value(metrics: &Metrics, series: &str) -> f64 {
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {series}: {text}")).parse().unwrap()
    }

    #[test]
    fn a_rotation_is_counted_once_when_it_starts_and_once_when_it_ends() {
        let metrics = Metrics::new().unwrap();
        let started = "auth0_rotator_rotations_started_total\
                       {cause=\"request\",strategy=\"staged\"}";
        let ended = "auth0_rotator_rotations_total\
                     {cause=\"request\",outcome=\"completed\",strategy=\"staged\"}";
        assert_eq!((value(&metrics, started), value(&metrics, ended)), (0.0, 0.0));
        let ending = json!([{
            "number": 2, "cause": "Request", "startedAt": at(0), "outcome": "Completed",
        }]);
        let statuses = [
            status(json!(null), json!([])),
            status(rotation("Started", json!({})), json!([])),
            status(rotation("Staging", json!({ "stagedAt": at(2) })), json!([])),
            status(rotation("Staging", json!({ "stagedAt": at(2), "attempts": 1 })), json!([])),
            status(rotation("Grace", json!({ "confirmedAt": at(9) })), json!([])),
            status(json!(null), ending),
        ];
        for (step, pair) in statuses.windows(2).enumerate() {
            let now = at(10 * i64::try_from(step).unwrap());
            // What is wanted by now is not what is in progress.
            metrics.went_on((&pair[0], &pair[1]), Strategy::Rotate, now);
        }
        assert_eq!((value(&metrics, started), value(&metrics, ended)), (1.0, 1.0));
        for (phase, seconds) in [("started", 10.0), ("staging", 28.0), ("grace", 31.0)] {
            let series = |what| {
                let name = format!("auth0_rotator_rotation_phase_duration_seconds_{what}");
                value(&metrics, &format!("{name}{{phase=\"{phase}\",strategy=\"staged\"}}"))
            };
            assert_eq!((series("count"), series("sum")), (1.0, seconds), "{phase}");
        }
    }
}
