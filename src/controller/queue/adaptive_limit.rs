//! How many reconciles may work at a time, from the latency of the API server.
//!
//! A gradient limit, as in TCP Vegas and Netflix's concurrency-limits. While responses take about as
//! long as without load, the API server has room and the limit rises. When they take longer, calls
//! queue there, and the limit falls, by a third at once if the API server rejects calls. Pure: time is
//! an argument.

use std::time::{Duration, Instant};

/// The limit never falls below this: below it, the API server is not slow because of this operator.
const FLOOR: usize = 8;

/// The limit of a process that has measured nothing yet.
const FIRST: usize = 16;

/// How many times longer than without load responses may take in the median before the limit falls.
const TOLERANCE: f64 = 2.0;

/// Largest decrease of one window.
const MAX_DECREASE: f64 = 0.5;

/// Decrease when the API server rejects a call or does not respond.
const DECREASE_ON_OVERLOAD: f64 = 0.7;

/// Shortest time between two changes of the limit. The calls in flight, and those that one overload
/// rejects together, count once.
const MIN_WINDOW: Duration = Duration::from_millis(100);

/// Number of calls between two changes of the limit.
const MIN_SAMPLES: usize = 16;
const MAX_SAMPLES: usize = 512;

/// How long the latency without load takes to rise halfway to a new, higher value.
const BASELINE_HALF_LIFE: Duration = Duration::from_secs(30);

/// How often the latency without load is measured while more than the floor work: calls of a higher
/// number may queue behind one another.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// How long the number of working reconciles takes at most to fall for such a measurement.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// Calls with the same cost at the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Reads one object.
    Read,
    /// Writes one object, which etcd syncs to its disk.
    Write,
}

/// How a call to the API server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallResult {
    /// With a response after this time.
    Responded(Duration),
    /// The API server asks for fewer calls (429, 503, 504), or did not respond.
    Overloaded,
}

/// A limit for the number of working reconciles.
#[derive(Debug)]
pub(super) struct AdaptiveLimit {
    limit: f64,
    floor: usize,
    ceiling: usize,
    reads: Baseline,
    writes: Baseline,
    /// When the latencies without load were measured last.
    measured_at: Option<Instant>,
    /// Since when the limit is at the floor, to measure them.
    probing_since: Option<Instant>,
    window: Window,
}

/// The calls since the last change of the limit.
#[derive(Debug, Default)]
struct Window {
    start: Option<Instant>,
    /// Latencies as multiples of those without load.
    ratios: Vec<f64>,
    /// Most reconciles that worked at a time.
    peak: usize,
}

/// The latency of one kind of calls without load, in seconds.
#[derive(Debug, Default)]
struct Baseline {
    latency: Option<f64>,
    /// Shortest latency since the last change of the limit.
    shortest: Option<f64>,
}

impl AdaptiveLimit {
    /// Returns a limit of at most `ceiling`.
    pub(super) fn new(ceiling: usize) -> Self {
        let ceiling = ceiling.max(1);
        Self {
            limit: FIRST.min(ceiling) as f64,
            floor: FLOOR.min(ceiling),
            ceiling,
            reads: Baseline::default(),
            writes: Baseline::default(),
            measured_at: None,
            probing_since: None,
            window: Window::default(),
        }
    }

    /// Returns how many reconciles may work at a time.
    pub(super) fn limit(&self) -> usize {
        if self.probing_since.is_some() {
            return self.floor;
        }
        // Between 1 and the ceiling, which is a `usize`.
        self.limit.round() as usize
    }

    /// Records the end of a call while `working` reconciles worked.
    pub(super) fn record(
        &mut self,
        kind: CallKind,
        result: CallResult,
        working: usize,
        now: Instant,
    ) {
        match result {
            CallResult::Responded(latency) if !self.is_draining(working, now) => {
                self.record_latency(kind, latency, working, now);
            }
            CallResult::Responded(_) => {}
            CallResult::Overloaded => {
                let start = *self.window.start.get_or_insert(now);
                if now.saturating_duration_since(start) >= MIN_WINDOW {
                    self.probing_since = None;
                    self.set(self.limit * DECREASE_ON_OVERLOAD);
                    self.start_window(now);
                }
            }
        }
    }

    /// Returns whether a measurement waits until fewer reconciles work. One that waits for too long is
    /// given up: calls may hang.
    fn is_draining(&mut self, working: usize, now: Instant) -> bool {
        let Some(since) = self.probing_since else { return false };
        if working <= self.floor {
            return false;
        }
        if now.saturating_duration_since(since) > PROBE_PATIENCE {
            self.probing_since = None;
            self.measured_at = Some(now);
            self.start_window(now);
        }
        true
    }

    fn record_latency(&mut self, kind: CallKind, latency: Duration, working: usize, now: Instant) {
        let start = *self.window.start.get_or_insert(now);
        let elapsed = now.saturating_duration_since(start);
        let baseline = match kind {
            CallKind::Read => &mut self.reads,
            CallKind::Write => &mut self.writes,
        };
        let ratio = baseline.record(latency);
        self.window.peak = self.window.peak.max(working);
        if self.window.ratios.len() < MAX_SAMPLES {
            self.window.ratios.push(ratio);
        }
        let wanted = MIN_SAMPLES.max(self.limit());
        if self.window.ratios.len() >= wanted && elapsed >= MIN_WINDOW {
            self.end_window(now);
        }
    }

    fn end_window(&mut self, now: Instant) {
        if self.probing_since.take().is_none() {
            self.adjust();
        }
        let measured_at = *self.measured_at.get_or_insert(now);
        let since_measured = now.saturating_duration_since(measured_at);
        if self.window.peak <= self.floor {
            self.reads.rise(since_measured);
            self.writes.rise(since_measured);
            self.measured_at = Some(now);
        } else if since_measured >= PROBE_INTERVAL {
            self.probing_since = Some(now);
        }
        self.start_window(now);
        if self.probing_since.is_some() {
            // The window starts when few enough work.
            self.window.start = None;
        }
    }

    fn adjust(&mut self) {
        let Window { ratios, peak, .. } = &mut self.window;
        // The median: in a few namespaces, an admission webhook may be slow.
        let middle = ratios.len() / 2;
        let (_, median, _) = ratios.select_nth_unstable_by(middle, f64::total_cmp);
        let gradient = (TOLERANCE / *median).clamp(MAX_DECREASE, 1.0);
        let proposed = self.limit * gradient + self.limit.sqrt();
        // A limit that is not used says nothing about a higher one.
        let is_used = 2 * *peak >= self.limit();
        if is_used || proposed < self.limit {
            self.set(proposed);
        }
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(self.floor as f64, self.ceiling as f64);
    }

    fn start_window(&mut self, now: Instant) {
        self.window.start = Some(now);
        self.window.ratios.clear();
        self.window.peak = 0;
        self.reads.shortest = None;
        self.writes.shortest = None;
    }
}

impl Baseline {
    /// Returns how many times longer than without load a call took.
    fn record(&mut self, latency: Duration) -> f64 {
        let latency = latency.as_secs_f64().max(1e-6);
        let shortest = |known: Option<f64>| known.map_or(latency, |known| known.min(latency));
        self.shortest = Some(shortest(self.shortest));
        let baseline = shortest(self.latency);
        self.latency = Some(baseline);
        latency / baseline
    }

    /// Adapts to an API server that has become slower, after this time since the last measurement.
    fn rise(&mut self, elapsed: Duration) {
        if let (Some(latency), Some(shortest)) = (&mut self.latency, self.shortest) {
            let half_lives = elapsed.as_secs_f64() / BASELINE_HALF_LIFE.as_secs_f64();
            *latency += (shortest - *latency) * (1.0 - 0.5f64.powf(half_lives));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An API server that serves `capacity` calls at a time, each in `service` time. Others queue.
    struct Server {
        capacity: usize,
        service: Duration,
        now: Instant,
    }

    impl Server {
        fn new(capacity: usize, service: Duration) -> Self {
            Self { capacity, service, now: Instant::now() }
        }

        /// Keeps all permits in use, for a time.
        fn run(&mut self, limit: &mut AdaptiveLimit, time: Duration) {
            self.run_with(limit, time, usize::MAX);
        }

        /// Keeps at most `wanted` permits in use, for a time.
        fn run_with(&mut self, limit: &mut AdaptiveLimit, time: Duration, wanted: usize) {
            let end = self.now + time;
            while self.now < end {
                let working = limit.limit().min(wanted);
                let queueing = working.max(self.capacity) as f64 / self.capacity as f64;
                let latency = self.service.mul_f64(queueing);
                self.now += latency;
                for _ in 0..working {
                    let result = CallResult::Responded(latency);
                    limit.record(CallKind::Write, result, working, self.now);
                }
            }
        }
    }

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn rises_to_the_ceiling_while_latency_stays_low() {
        let mut limit = AdaptiveLimit::new(64);
        assert_eq!(limit.limit(), FIRST);
        Server::new(1000, 10 * MS).run(&mut limit, 3 * SECOND);
        assert_eq!(limit.limit(), 64);
    }

    #[test]
    fn falls_when_the_latency_of_the_api_server_grows() {
        let mut limit = AdaptiveLimit::new(64);
        let mut server = Server::new(1000, 10 * MS);
        server.run(&mut limit, 3 * SECOND);
        server.service = 100 * MS;
        server.run(&mut limit, 3 * SECOND);
        assert!(limit.limit() <= 8, "{}", limit.limit());
        server.service = 10 * MS;
        server.run(&mut limit, 3 * SECOND);
        assert_eq!(limit.limit(), 64);
    }

    #[test]
    fn rises_again_if_the_api_server_stays_slower() {
        let mut limit = AdaptiveLimit::new(64);
        let mut server = Server::new(1000, 2 * MS);
        server.run(&mut limit, 3 * SECOND);
        server.service = 20 * MS;
        server.run(&mut limit, 3 * SECOND);
        assert!(limit.limit() <= FLOOR + 1);
        server.run(&mut limit, 600 * SECOND);
        assert_eq!(limit.limit(), 64);
    }

    #[test]
    fn measures_the_latency_without_load_again() {
        let mut limit = AdaptiveLimit::new(64);
        let mut server = Server::new(16, 10 * MS);
        let mut lowest = usize::MAX;
        for _ in 0..400 {
            server.run(&mut limit, 50 * MS);
            lowest = lowest.min(limit.limit());
        }
        assert_eq!(lowest, FLOOR, "measured within 20 s");
        assert!((16..=64).contains(&limit.limit()));
    }

    #[test]
    fn hanging_calls_do_not_keep_the_limit_at_the_floor() {
        let mut limit = AdaptiveLimit::new(64);
        let mut now = Instant::now();
        let mut longest_low = Duration::ZERO;
        let mut low_since = None;
        for _ in 0..60_000 {
            now += MS;
            // Twenty calls never end.
            let working = limit.limit().max(20);
            limit.record(CallKind::Write, CallResult::Responded(5 * MS), working, now);
            if limit.limit() > FLOOR {
                low_since = None;
            } else {
                longest_low = longest_low.max(now - *low_since.get_or_insert(now));
            }
        }
        assert!(longest_low <= PROBE_PATIENCE + MS, "{longest_low:?}");
        assert_eq!(limit.limit(), 64);
    }

    #[test]
    fn unused_limit_does_not_rise() {
        let mut limit = AdaptiveLimit::new(64);
        Server::new(1000, 10 * MS).run_with(&mut limit, 10 * SECOND, 2);
        assert_eq!(limit.limit(), FIRST);
    }

    #[test]
    fn slow_calls_of_a_few_namespaces_do_not_lower_the_limit() {
        let mut limit = AdaptiveLimit::new(64);
        let mut now = Instant::now();
        for number in 0..10_000 {
            now += MS;
            let latency = if number % 5 == 0 { 3 * SECOND } else { 5 * MS };
            let result = CallResult::Responded(latency);
            limit.record(CallKind::Write, result, limit.limit(), now);
        }
        assert_eq!(limit.limit(), 64);
    }

    #[test]
    fn reads_and_writes_have_latencies_of_their_own() {
        let mut limit = AdaptiveLimit::new(64);
        let mut now = Instant::now();
        for _ in 0..5_000 {
            for (kind, latency) in [(CallKind::Read, MS), (CallKind::Write, 20 * MS)] {
                now += MS;
                limit.record(kind, CallResult::Responded(latency), limit.limit(), now);
            }
        }
        assert_eq!(limit.limit(), 64);
    }

    #[test]
    fn rejections_of_one_overload_lower_the_limit_once() {
        let mut limit = AdaptiveLimit::new(64);
        let mut server = Server::new(1000, 10 * MS);
        server.run(&mut limit, 3 * SECOND);
        let mut reject = |after: Duration| {
            server.now += after;
            for _ in 0..50 {
                limit.record(CallKind::Write, CallResult::Overloaded, 64, server.now);
            }
            limit.limit()
        };
        assert_eq!(reject(SECOND), 45);
        assert_eq!(reject(MS), 45);
        assert_eq!(reject(SECOND), 31);
        for _ in 0..20 {
            reject(SECOND);
        }
        assert_eq!(limit.limit(), FLOOR);
    }

    proptest! {
        /// The limit ends where the API server is busy, and not far beyond that.
        #[test]
        fn follows_the_capacity_of_the_api_server(
            capacity in 4usize..100, service in 1u64..50, ceiling in 1usize..400,
        ) {
            let mut limit = AdaptiveLimit::new(ceiling);
            let mut server = Server::new(capacity, Duration::from_millis(service));
            server.run(&mut limit, 60 * SECOND);
            let settled = limit.limit();
            prop_assert!(settled >= ceiling.min(capacity), "{settled}");
            prop_assert!(settled <= ceiling.min(4 * capacity + 8), "{settled}");
        }

        #[test]
        fn stays_between_floor_and_ceiling(
            ceiling in 0usize..200,
            calls in prop::collection::vec(
                (any::<bool>(), prop::option::weighted(0.9, 0u64..20_000), 0usize..300, 0u64..500),
                1..500,
            ),
        ) {
            let mut limit = AdaptiveLimit::new(ceiling);
            let mut now = Instant::now();
            for (is_read, milliseconds, working, wait) in calls {
                now += Duration::from_millis(wait);
                let kind = if is_read { CallKind::Read } else { CallKind::Write };
                let latency = milliseconds.map(Duration::from_millis);
                let result = latency.map_or(CallResult::Overloaded, CallResult::Responded);
                limit.record(kind, result, working, now);
                prop_assert!(limit.limit() >= ceiling.clamp(1, FLOOR));
                prop_assert!(limit.limit() <= ceiling.max(1));
            }
        }
    }
}
