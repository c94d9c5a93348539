//! The clock of a pass: the cluster's.
//!
//! What one replica stores as a time another one compares with its own: how long a secret has been
//! staged, whether a propagation window is over. A clock that is a minute ahead would take a minute
//! from both. So all go by one clock, the API server's, which tells the time in each of its answers.
//! A clock that agrees with it, as far as can be told, is used as it is.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    task::{Context, Poll},
};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Request, Response, header::DATE};
use tower::{Layer, Service};

/// By so much a clock may seem to be apart from the API server's without being corrected, in
/// milliseconds.
const TOLERANCE: i64 = 2_000;

/// The time is told in whole seconds, in milliseconds.
const TOLD_TO: i64 = 1_000;

/// How far this process's clock is ahead of the API server's, in milliseconds, if that matters.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// The time, in whole milliseconds: what is stored reads back the same.
pub(super) fn now() -> DateTime<Utc> {
    let ahead = TimeDelta::milliseconds(AHEAD.load(Ordering::Relaxed));
    (Utc::now() - ahead).trunc_subsecs(3)
}

/// Learns the time from each answer of the API server.
#[derive(Clone, Copy)]
pub(crate) struct LearnTime;

impl<S> Layer<S> for LearnTime {
    type Service = Learning<S>;

    fn layer(&self, inner: S) -> Learning<S> {
        Learning(inner)
    }
}

/// A service whose answers tell the time.
#[derive(Clone)]
pub(crate) struct Learning<S>(S);

impl<S, B, R> Service<Request<B>> for Learning<S>
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
        let asked = Utc::now();
        let answer = self.0.call(request);
        async move {
            let answer = answer.await?;
            learn(asked, answer.headers(), Utc::now());
            Ok(answer)
        }
        .boxed()
    }
}

fn learn(asked: DateTime<Utc>, headers: &HeaderMap, answered: DateTime<Utc>) {
    let told = headers.get(DATE).and_then(|date| date.to_str().ok());
    let Some(told) = told.and_then(|date| DateTime::parse_from_rfc2822(date).ok()) else { return };
    let least = (asked - told.to_utc()).num_milliseconds() - TOLD_TO;
    let most = (answered - told.to_utc()).num_milliseconds();
    let known = AHEAD.load(Ordering::Relaxed);
    let ahead = correct(known, least, most);
    if ahead == known {
        return;
    }
    AHEAD.store(ahead, Ordering::Relaxed);
    if known == 0 {
        let ahead_seconds = ahead as f64 / 1000.0;
        tracing::warn!(
            ahead_seconds,
            "the clock of this machine is apart from the API server's, which is used instead: have \
             them set by NTP"
        );
    } else if ahead == 0 {
        tracing::info!("the clock of this machine agrees with the API server's");
    }
}

/// How far the clock is ahead, when it is known to be so by at least `least` and at most `most`:
/// what is known already, unless that can't be.
fn correct(known: i64, least: i64, most: i64) -> i64 {
    if least <= TOLERANCE && most >= -TOLERANCE { 0 } else { known.clamp(least, most.max(least)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_may_be_right_is_used_as_it_is() {
        for (least, most) in [(-1_000, 0), (0, 1_000), (2_000, 3_000), (-3_000, -2_000)] {
            assert_eq!(correct(0, least, most), 0, "{least} to {most}");
        }
        // The answer took long: nothing can be told.
        assert_eq!(correct(0, -30_000, 1_000), 0);
    }

    #[test]
    fn a_clock_that_is_apart_is_corrected_by_no_more_than_is_certain() {
        assert_eq!(correct(0, 59_000, 60_010), 59_000);
        assert_eq!(correct(0, -61_000, -59_990), -59_990);
    }

    #[test]
    fn a_correction_stays_as_long_as_it_can_be_right() {
        assert_eq!(correct(59_000, 58_400, 59_420), 59_000);
        assert_eq!(correct(59_000, 59_300, 60_320), 59_300);
        assert_eq!(correct(59_000, 57_000, 58_020), 58_020);
        assert_eq!(correct(59_000, -900, 120), 0, "it was set right");
    }
}
