//! Rate limit headers of Auth0's responses.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// Upper bound for the time that calls are blocked. Auth0's windows last seconds to minutes.
pub(crate) const MAX_BLOCK: TimeDelta = TimeDelta::hours(1);

/// How far the clock of the server may be off before its times are translated to this clock.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// How long calls are blocked after a 429 without a usable time in its headers.
pub(crate) const DEFAULT_BLOCK: TimeDelta = TimeDelta::seconds(10);

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
pub(crate) fn retry_time(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    retry_after(headers, now).max(reset_time(headers, now))
}

/// Parses `retry-after`: a number of seconds, or an HTTP date (RFC 9110, section 10.2.3). A date is
/// relative to the response's own `date`, because the clocks may differ.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let seconds = match number(headers, RETRY_AFTER.as_str()) {
        Some(seconds) => seconds,
        None => {
            let sent_at = date(headers, DATE.as_str()).unwrap_or(now);
            (date(headers, RETRY_AFTER.as_str())? - sent_at).num_seconds()
        }
    };
    Some(now + TimeDelta::seconds(seconds.clamp(1, MAX_BLOCK.num_seconds())))
}

/// Parses `x-ratelimit-reset`, which is in UNIX seconds. Ignores a time in the past and caps one
/// that is too far in the future.
fn reset_time(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let seconds = number(headers, "x-ratelimit-reset")?;
    let reset = DateTime::from_timestamp(seconds, 0)?;
    let offset = date(headers, DATE.as_str()).map_or(TimeDelta::zero(), |sent_at| sent_at - now);
    let reset =
        if offset.abs() > CLOCK_TOLERANCE { reset.checked_sub_signed(offset)? } else { reset };
    if reset > now { Some(reset.min(now + MAX_BLOCK)) } else { None }
}

/// Parses a header that contains an HTTP date, in one of its three formats.
fn date(headers: &HeaderMap, name: &str) -> Option<DateTime<Utc>> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    httpdate::parse_http_date(text).ok().map(DateTime::from)
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
    fn retry_after_can_be_a_date_relative_to_the_date_of_the_response() {
        // The server's clock is an hour behind.
        let sent_at = "Fri, 15 Jan 2027 07:00:00 GMT".to_owned();
        let retry_at = |text: &str| {
            block_seconds(&[("date", sent_at.clone()), ("retry-after", text.into())], true)
        };
        assert_eq!(retry_at("Fri, 15 Jan 2027 07:00:42 GMT"), 42);
        assert_eq!(retry_at("Friday, 15-Jan-27 07:00:42 GMT"), 42, "the obsolete formats");
        assert_eq!(retry_at("Fri Jan 15 07:00:42 2027"), 42);
        assert_eq!(retry_at("Fri, 15 Jan 2027 06:00:00 GMT"), 1, "in the past");
        assert_eq!(retry_at("Sat, 16 Jan 2027 07:00:00 GMT"), 3600, "capped");
        assert_eq!(retry_at("Fri, 99 Jan 2027 07:00:00 GMT"), 10, "invalid");
        let here = [("retry-after", "Fri, 15 Jan 2027 08:00:07 GMT".to_owned())];
        assert_eq!(block_seconds(&here, true), 7, "without a date, by this clock");
    }

    #[test]
    fn reset_is_relative_to_the_clock_of_the_server() {
        let reset = ("x-ratelimit-reset", (NOW - 3600 + 9).to_string());
        let sent_at = ("date", "Fri, 15 Jan 2027 07:00:00 GMT".to_owned());
        assert_eq!(block_seconds(&[reset.clone(), sent_at], true), 9);
        assert_eq!(block_seconds(&[reset], true), 10, "a time in the past is not usable");
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
            retry_after in "[ -~]{0,24}|[A-Z][a-z]{2}, [0-9]{2} Jan 20[0-9]{2} 0[0-9]:00:00 GMT",
            date in "[ -~]{0,24}|[A-Z][a-z]{2}, [0-9]{2} Jan [0-9]{4} 0[0-9]:00:00 GMT",
            is_throttled: bool,
        ) {
            let headers = headers(&[
                ("x-ratelimit-limit", limit), ("x-ratelimit-remaining", remaining),
                ("x-ratelimit-reset", reset), ("retry-after", retry_after),
                ("date", date),
            ]);
            let block = block_duration(&headers, is_throttled, now());
            prop_assert!(block.is_none_or(|block| block <= MAX_BLOCK && block > TimeDelta::zero()));
            prop_assert!(!is_throttled || block.is_some());
            let reset = rate_limit_status(&headers, now()).and_then(|status| status.reset_time);
            prop_assert!(reset.is_none_or(|reset| reset <= now() + MAX_BLOCK));
        }
    }
}
