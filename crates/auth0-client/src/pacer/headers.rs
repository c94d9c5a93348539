//! What the headers of an answer say of the rate limit.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::HeaderMap;

/// How far into the future a limit is believed to last. Auth0's windows are seconds to minutes.
pub(crate) const FURTHEST: TimeDelta = TimeDelta::hours(1);

/// How long to keep away when Auth0 refuses a call without saying for how long.
const UNSAID: TimeDelta = TimeDelta::seconds(10);

/// A tenant's rate limit as Auth0 told it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// How many calls can be made at once.
    pub limit: u32,
    /// How many of them were left.
    pub remaining: u32,
    /// When all of them will be there again, as far as that was said.
    pub reset_time: Option<DateTime<Utc>>,
}

/// `x-ratelimit-limit`, `x-ratelimit-remaining` and `x-ratelimit-reset`, if the first two are
/// there.
pub(crate) fn budget(headers: &HeaderMap, now: DateTime<Utc>) -> Option<RateLimitStatus> {
    let count = |name| u32::try_from(number(headers, name)?).ok();
    Some(RateLimitStatus {
        limit: count("x-ratelimit-limit")?,
        remaining: count("x-ratelimit-remaining")?,
        reset_time: reset_time(headers, now),
    })
}

/// How long no further call is to be made, if so: the call was refused, or it was the last one.
pub(crate) fn closed_for(
    headers: &HeaderMap,
    refused: bool,
    now: DateTime<Utc>,
) -> Option<TimeDelta> {
    let until = if refused {
        Some(retry_time(headers, now).unwrap_or(now + UNSAID))
    } else if number(headers, "x-ratelimit-remaining") == Some(0) {
        reset_time(headers, now)
    } else {
        None
    };
    until.map(|until| until - now)
}

fn retry_time(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let after = number(headers, "retry-after")
        .map(|seconds| now + TimeDelta::seconds(seconds.clamp(1, FURTHEST.num_seconds())));
    after.max(reset_time(headers, now))
}

/// `x-ratelimit-reset` is in UNIX seconds; one in the past, or far off, is not believed.
fn reset_time(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    number(headers, "x-ratelimit-reset")
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .filter(|reset| *reset > now)
        .map(|reset| reset.min(now + FURTHEST))
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

    fn closed_after(pairs: &[(&'static str, String)], refused: bool) -> i64 {
        closed_for(&headers(pairs), refused, now()).map_or(0, |closed| closed.num_seconds())
    }

    #[test]
    fn nothing_left_closes_until_the_reset() {
        let reset = ("x-ratelimit-reset", (NOW + 7).to_string());
        assert_eq!(closed_after(&[("x-ratelimit-remaining", "0".into()), reset.clone()], false), 7);
        assert_eq!(closed_after(&[("x-ratelimit-remaining", "1".into()), reset.clone()], false), 0);
        assert_eq!(closed_after(&[reset], true), 7);
    }

    #[test]
    fn a_refusal_closes_even_when_it_does_not_say_for_how_long() {
        assert_eq!(closed_after(&[], true), 10);
        assert_eq!(closed_after(&[("retry-after", "3".into())], true), 3);
        assert_eq!(closed_after(&[("x-ratelimit-reset", "soon".into())], true), 10);
        assert_eq!(closed_after(&[("x-ratelimit-reset", (NOW - 5).to_string())], true), 10);
    }

    #[test]
    fn what_is_far_off_is_not_believed() {
        assert_eq!(closed_after(&[("retry-after", i64::MAX.to_string())], true), 3600);
        assert_eq!(closed_after(&[("x-ratelimit-reset", (NOW + 86_400).to_string())], true), 3600);
    }

    #[test]
    fn a_budget_is_told_when_it_is_whole() {
        let pairs = [
            ("x-ratelimit-limit", "50".to_owned()),
            ("x-ratelimit-remaining", "47".to_owned()),
            ("x-ratelimit-reset", (NOW + 3).to_string()),
        ];
        let told = budget(&headers(&pairs), now()).unwrap();
        let reset_time = Some(now() + TimeDelta::seconds(3));
        assert_eq!(told, RateLimitStatus { limit: 50, remaining: 47, reset_time });
        assert_eq!(budget(&headers(&pairs[1..]), now()), None);
        assert_eq!(budget(&headers(&[pairs[0].clone()]), now()), None);
    }

    proptest! {
        #[test]
        fn any_headers_close_for_an_hour_at_most(
            limit in "[ -~]{0,20}", remaining in "[ -~]{0,20}", reset in "[ -~]{0,24}",
            after in "[ -~]{0,24}", refused: bool,
        ) {
            let headers = headers(&[
                ("x-ratelimit-limit", limit), ("x-ratelimit-remaining", remaining),
                ("x-ratelimit-reset", reset), ("retry-after", after),
            ]);
            let closed = closed_for(&headers, refused, now());
            prop_assert!(closed.is_none_or(|closed| closed <= FURTHEST && closed > TimeDelta::zero()));
            prop_assert!(!refused || closed.is_some());
            let reset = budget(&headers, now()).and_then(|budget| budget.reset_time);
            prop_assert!(reset.is_none_or(|reset| reset <= now() + FURTHEST));
        }
    }
}
