//! The API server's clock, which determines the times of rotations.
//!
//! One replica stores a time, and another one compares it with its own clock: how long a secret has
//! been staged, whether a propagation window is over. A clock that is a minute ahead would shorten
//! both by a minute. So every replica uses the API server's clock, which each response carries in its
//! `Date` header (RFC 9110, section 6.6.1). A local clock that agrees with it is used unchanged.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    task::{Context, Poll},
};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Request, Response, header::DATE};
use tower::{Layer, Service};

/// Largest apparent difference of the two clocks that is not corrected, in milliseconds.
const TOLERANCE: i64 = 2_000;

/// Resolution of the `Date` header, in milliseconds.
const DATE_RESOLUTION: i64 = 1_000;

/// How far this process's clock is ahead of the API server's, in milliseconds; 0 within tolerance.
static OFFSET: AtomicI64 = AtomicI64::new(0);

/// Returns the time in whole milliseconds, so that a stored time reads back the same.
pub(crate) fn now() -> DateTime<Utc> {
    let offset = TimeDelta::milliseconds(OFFSET.load(Ordering::Relaxed));
    (Utc::now() - offset).trunc_subsecs(3)
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
            update_offset(sent, response.headers(), Utc::now());
            Ok(response)
        }
        .boxed()
    }
}

fn update_offset(sent: DateTime<Utc>, headers: &HeaderMap, received: DateTime<Utc>) {
    let Some(date) = headers.get(DATE).and_then(|date| date.to_str().ok()) else { return };
    let Ok(date) = DateTime::parse_from_rfc2822(date) else { return };
    let least = (sent - date.to_utc()).num_milliseconds() - DATE_RESOLUTION;
    let most = (received - date.to_utc()).num_milliseconds();
    let known = OFFSET.load(Ordering::Relaxed);
    let offset = corrected_offset(known, least, most);
    if offset == known {
        return;
    }
    OFFSET.store(offset, Ordering::Relaxed);
    if known == 0 {
        let ahead_seconds = offset as f64 / 1000.0;
        tracing::warn!(
            ahead_seconds,
            "this machine's clock differs from the API server's, which is used instead: synchronize \
             both with NTP"
        );
    } else if offset == 0 {
        tracing::info!("this machine's clock agrees with the API server's again");
    }
}

/// Returns the offset, given that it lies between `least` and `most`. The known offset stays as long
/// as it lies in that range.
fn corrected_offset(known: i64, least: i64, most: i64) -> i64 {
    if least <= TOLERANCE && most >= -TOLERANCE { 0 } else { known.clamp(least, most.max(least)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_that_may_agree_is_not_corrected() {
        for (least, most) in [(-1_000, 0), (0, 1_000), (2_000, 3_000), (-3_000, -2_000)] {
            assert_eq!(corrected_offset(0, least, most), 0, "{least} to {most}");
        }
        // A slow response leaves a range that is too wide to use.
        assert_eq!(corrected_offset(0, -30_000, 1_000), 0);
    }

    #[test]
    fn correction_is_no_larger_than_certain() {
        assert_eq!(corrected_offset(0, 59_000, 60_010), 59_000);
        assert_eq!(corrected_offset(0, -61_000, -59_990), -59_990);
    }

    #[test]
    fn correction_stays_while_it_is_possible() {
        assert_eq!(corrected_offset(59_000, 58_400, 59_420), 59_000);
        assert_eq!(corrected_offset(59_000, 59_300, 60_320), 59_300);
        assert_eq!(corrected_offset(59_000, 57_000, 58_020), 58_020);
        assert_eq!(corrected_offset(59_000, -900, 120), 0, "the clock was set");
    }
}
