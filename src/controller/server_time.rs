//! The clocks of this process and of the API server.
//!
//! One replica stores a time, and another one compares it with its own clock: how long a secret has
//! been staged, whether a propagation window is over. A clock that is a minute ahead would shorten
//! both by a minute. So the clock of this machine is compared with the API server's, which each
//! response carries in its `Date` header (RFC 9110, section 6.6.1), and neither is believed alone:
//! [`rotation::WallClocks`] decides.

use std::task::{Context, Poll};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Request, Response, header::DATE};
use leader_election::BootInstant;
use parking_lot::Mutex;
use prometheus::{
    Gauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use rotation::{ClockReading, WallClocks};
use tower::{Layer, Service};

use crate::metrics::opts;

/// Largest apparent difference of the two clocks that does not count, in milliseconds.
const TOLERANCE: i64 = 2_000;

/// Resolution of the `Date` header, in milliseconds.
const DATE_RESOLUTION: i64 = 1_000;

/// How long the clocks must agree until that is logged. Of several API servers, one can be wrong.
const QUIET_PERIOD: std::time::Duration = std::time::Duration::from_secs(60);

static CLOCKS: Mutex<Clocks> = Mutex::new(Clocks { wall: WallClocks::new(), disagreed_at: None });

/// The clocks, as this process has seen them.
struct Clocks {
    wall: WallClocks,
    /// When the clocks last disagreed, if that was logged.
    disagreed_at: Option<BootInstant>,
}

/// Returns the time to record, in whole milliseconds, so that a stored time reads back the same. It is
/// no earlier than the true time if one of the clocks is right.
pub(crate) fn now() -> DateTime<Utc> {
    read().latest
}

/// Reads all clocks.
pub(crate) fn read() -> ClockReading {
    let ClockReading { earliest, latest, agrees, monotonic } =
        CLOCKS.lock().wall.read(Utc::now(), BootInstant::now().since_boot());
    let (earliest, latest) = (earliest.trunc_subsecs(3), latest.trunc_subsecs(3));
    ClockReading { earliest, latest, agrees, monotonic }
}

/// Returns the time of an instant on the scale of [`now`].
pub(crate) fn at(instant: BootInstant) -> DateTime<Utc> {
    let ago = BootInstant::now().saturating_duration_since(instant);
    now() - TimeDelta::from_std(ago).unwrap_or_default()
}

/// Returns the instant of a time on the scale of [`now`]. It does not change if a wall clock jumps.
pub(crate) fn instant(time: DateTime<Utc>) -> BootInstant {
    BootInstant::now().saturating_add((time - now()).to_std().unwrap_or_default())
}

/// Collects the difference of the clocks when Prometheus scrapes.
pub(crate) struct ClockCollector(Gauge);

impl ClockCollector {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        Gauge::with_opts(opts(
            "clock_difference_seconds",
            "How far this machine's clock is ahead of the API server's; up to two seconds count as 0",
        ))
        .map(Self)
    }
}

impl Collector for ClockCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.set(seconds(CLOCKS.lock().wall.difference()));
        self.0.collect()
    }
}

fn seconds(difference: TimeDelta) -> f64 {
    difference.num_milliseconds() as f64 / 1000.0
}

/// Layer of the Kubernetes client that reads the time from each response.
#[derive(Clone, Copy)]
pub(crate) struct ServerTimeLayer;

impl<S> Layer<S> for ServerTimeLayer {
    type Service = ServerTimeService<S>;

    fn layer(&self, inner: S) -> ServerTimeService<S> {
        ServerTimeService(inner)
    }
}

/// Service that reads the time from each response.
#[derive(Clone)]
pub(crate) struct ServerTimeService<S>(S);

impl<S, B, R> Service<Request<B>> for ServerTimeService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let sent = Utc::now();
        let response = self.0.call(request);
        async move {
            let response = response.await?;
            compare_clocks(sent, response.headers(), Utc::now());
            Ok(response)
        }
        .boxed()
    }
}

fn compare_clocks(sent: DateTime<Utc>, headers: &HeaderMap, received: DateTime<Utc>) {
    let Some(date) = headers.get(DATE).and_then(|date| date.to_str().ok()) else { return };
    let Ok(date) = DateTime::parse_from_rfc2822(date) else { return };
    let least = (sent - date.to_utc()).num_milliseconds() - DATE_RESOLUTION;
    let most = (received - date.to_utc()).num_milliseconds();
    let mut clocks = CLOCKS.lock();
    let known = clocks.wall.difference().num_milliseconds();
    let difference = TimeDelta::milliseconds(likely_difference(known, least, most));
    let instant = BootInstant::now();
    clocks.wall.record(received, difference, instant.since_boot());
    clocks.report(instant);
}

impl Clocks {
    fn report(&mut self, now: BootInstant) {
        if !self.wall.agrees() {
            if self.disagreed_at.replace(now).is_none() {
                let ahead_seconds = seconds(self.wall.difference());
                tracing::warn!(
                    ahead_seconds,
                    "this machine's clock differs from the API server's, so no due rotation starts: \
                     synchronize both with NTP"
                );
            }
        } else if self
            .disagreed_at
            .take_if(|at| now.saturating_duration_since(*at) >= QUIET_PERIOD)
            .is_some()
        {
            tracing::info!("this machine's clock agrees with the API server's again");
        }
    }
}

/// Returns the difference of the clocks, given that it lies between `least` and `most`. The known
/// difference stays as long as it lies in that range.
fn likely_difference(known: i64, least: i64, most: i64) -> i64 {
    if least <= TOLERANCE && most >= -TOLERANCE { 0 } else { known.clamp(least, most.max(least)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_may_agree_have_no_difference() {
        for (least, most) in [(-1_000, 0), (0, 1_000), (2_000, 3_000), (-3_000, -2_000)] {
            assert_eq!(likely_difference(0, least, most), 0, "{least} to {most}");
        }
        // A slow response leaves a range that is too wide to use.
        assert_eq!(likely_difference(0, -30_000, 1_000), 0);
    }

    #[test]
    fn difference_is_no_larger_than_certain() {
        assert_eq!(likely_difference(0, 59_000, 60_010), 59_000);
        assert_eq!(likely_difference(0, -61_000, -59_990), -59_990);
    }

    #[test]
    fn difference_stays_while_it_is_possible() {
        assert_eq!(likely_difference(59_000, 58_400, 59_420), 59_000);
        assert_eq!(likely_difference(59_000, 59_300, 60_320), 59_300);
        assert_eq!(likely_difference(59_000, 57_000, 58_020), 58_020);
        assert_eq!(likely_difference(59_000, -900, 120), 0, "the clock was set");
    }
}
