//! Rate limit headers of Auth0's responses.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::HeaderMap;

/// Upper bound for the time that calls are blocked. Auth0's windows last seconds to minutes.
pub(crate) const MAX_BLOCK: TimeDelta = TimeDelta::hours(1);

/// How long calls are blocked after a 429 without a usable time in its headers.
const DEFAULT_BLOCK: TimeDelta = TimeDelta::seconds(10);

/// A rate limit as Auth0 last reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// Maximum number of calls at once.
    pub limit: u32,
    /// Number of calls that were left.
    pub remaining: u32,
    /// When all calls are available again, if Auth0 said so.
    pub reset_time: Option<DateTime<Utc>>,
}

/// Parses `x-ratelimit-limit`, `x-ratelimit-remaining` and `x-ratelimit-reset`. Returns `None` if
/// one of the first two is missing or invalid.
pub(crate) fn rate_limit_status(
    headers: &HeaderMap,
    now: DateTime<Utc>,
) -> Option<RateLimitStatus> {
    Some(RateLimitStatus {
        limit: u32::try_from(number(headers, "x-ratelimit-limit")?).ok()?,
        remaining: u32::try_from(number(headers, "x-ratelimit-remaining")?).ok()?,
        reset_time: reset_time(headers, now),
    })
}

/// Returns how long further calls are blocked, if at all: after a 429, or after the last call that
/// the rate limit allowed.
pub(crate) fn block_duration(
    headers: &HeaderMap,
    is_throttled: bool,
    now: DateTime<Utc>,
) -> Option<TimeDelta> {
    let until = if is_throttled {
        Some(retry_time(headers, now).unwrap_or(now + DEFAULT_BLOCK))
    } else if number(headers, "x-ratelimit-remaining") == Some(0) {
        reset_time(headers, now)
    } else {
        None
    };
    until.map(|until| until - now)
}

/// Returns the later time of `retry-after` and `x-ratelimit-reset`.
fn retry_time(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let retry_after = number(headers, "retry-after")
        .map(|seconds| now + TimeDelta::seconds(seconds.clamp(1, MAX_BLOCK.num_seconds())));
    retry_after.max(reset_time(headers, now))
}

/// Parses `x-ratelimit-reset`, which is in UNIX seconds. Ignores a time in the past and caps one
/// that is too far in the future.
fn reset_time(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let seconds = number(headers, "x-ratelimit-reset")?;
    let reset = DateTime::from_timestamp(seconds, 0)?;
    if reset > now { Some(reset.min(now + MAX_BLOCK)) } else { None }
}

fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 0).unwrap()
    }

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn block_seconds(pairs: &[(&'static str, String)], is_throttled: bool) -> i64 {
        let block = block_duration(&headers(pairs), is_throttled, now());
        block.map_or(0, |block| block.num_seconds())
    }

    #[test]
    fn blocks_until_reset_when_no_calls_remain() {
        let reset = ("x-ratelimit-reset", (NOW + 7).to_string());
        let remaining = |count: &str| ("x-ratelimit-remaining", count.to_owned());
        assert_eq!(block_seconds(&[remaining("0"), reset.clone()], false), 7);
        assert_eq!(block_seconds(&[remaining("1"), reset.clone()], false), 0);
        assert_eq!(block_seconds(&[reset], true), 7);
    }

    #[test]
    fn blocks_after_429_without_retry_time() {
        assert_eq!(block_seconds(&[], true), 10);
        assert_eq!(block_seconds(&[("retry-after", "3".into())], true), 3);
        assert_eq!(block_seconds(&[("x-ratelimit-reset", "soon".into())], true), 10);
        assert_eq!(block_seconds(&[("x-ratelimit-reset", (NOW - 5).to_string())], true), 10);
    }

    #[test]
    fn caps_times_in_distant_future() {
        assert_eq!(block_seconds(&[("retry-after", i64::MAX.to_string())], true), 3600);
        assert_eq!(block_seconds(&[("x-ratelimit-reset", (NOW + 86_400).to_string())], true), 3600);
    }

    #[test]
    fn parses_status_only_with_limit_and_remaining() {
        let pairs = [
            ("x-ratelimit-limit", "50".to_owned()),
            ("x-ratelimit-remaining", "47".to_owned()),
            ("x-ratelimit-reset", (NOW + 3).to_string()),
        ];
        let status = rate_limit_status(&headers(&pairs), now()).unwrap();
        let reset_time = Some(now() + TimeDelta::seconds(3));
        assert_eq!(status, RateLimitStatus { limit: 50, remaining: 47, reset_time });
        assert_eq!(rate_limit_status(&headers(&pairs[1..]), now()), None);
        assert_eq!(rate_limit_status(&headers(&[pairs[0].clone()]), now()), None);
    }

    proptest! {
        #[test]
        fn any_headers_block_for_at_most_one_hour(
            limit in "[ -~]{0,20}", remaining in "[ -~]{0,20}", reset in "[ -~]{0,24}",
            retry_after in "[ -~]{0,24}", is_throttled: bool,
        ) {
            let headers = headers(&[
                ("x-ratelimit-limit", limit), ("x-ratelimit-remaining", remaining),
                ("x-ratelimit-reset", reset), ("retry-after", retry_after),
            ]);
            let block = block_duration(&headers, is_throttled, now());
            prop_assert!(block.is_none_or(|block| block <= MAX_BLOCK && block > TimeDelta::zero()));
            prop_assert!(!is_throttled || block.is_some());
            let reset = rate_limit_status(&headers, now()).and_then(|status| status.reset_time);
            prop_assert!(reset.is_none_or(|reset| reset <= now() + MAX_BLOCK));
        }
    }
}
