//! Order and timing of permits. Time is paused and advances only when every task waits.

use futures::{FutureExt as _, future::join_all};
use proptest::prelude::*;
use reqwest::Url;
use rotation::{ErrorClass, Reason};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn limiter(requests_per_second: u32, burst: u32) -> RateLimiter {
    let url = Url::parse("https://acme.eu.auth0.com").unwrap();
    let rate_limit = RateLimit { requests_per_second, burst };
    let limits =
        TenantLimits { tenant: "acme", caller: "shop", rate_limit, takes_precedence: false };
    RateLimiters::default().limiter(&url, limits)
}

/// Acquires a permit for the Management API.
async fn acquire(
    limiter: &RateLimiter,
    priority: Priority,
    max_wait: Duration,
) -> Result<Permit, Error> {
    limiter.acquire(Api::Management, priority, max_wait).await
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// Uses up the burst.
async fn drain(limiter: &RateLimiter) {
    while acquire(limiter, Priority::New, Duration::ZERO).await.is_ok() {}
}

fn retry_delay(error: &Error) -> Duration {
    let ErrorClass::Throttled { until } = error.class() else { panic!("{error:?}") };
    (until - Utc::now()).to_std().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn grants_permits_by_priority_and_then_arrival() {
    let limiter = limiter(10, 10);
    drain(&limiter).await;
    let order = Mutex::new(Vec::new());
    let call = async |priority, number| {
        let permit = acquire(&limiter, priority, HOUR).await.unwrap();
        order.lock().push((priority, number));
        drop(permit);
    };
    let priorities = [Priority::Background, Priority::New, Priority::InProgress];
    join_all((0..9).map(|number| call(priorities[number % 3], number))).await;
    let order = order.into_inner();
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!(order, sorted);
}

#[tokio::test(start_paused = true)]
async fn high_priority_call_overtakes_waiting_calls() {
    let limiter = limiter(10, 10);
    drain(&limiter).await;
    let start = Instant::now();
    let new: Vec<_> = (0..20).map(|_| acquire(&limiter, Priority::New, HOUR)).collect();
    let in_progress = async {
        sleep(Duration::from_millis(250)).await;
        acquire(&limiter, Priority::InProgress, HOUR).await.unwrap();
        start.elapsed()
    };
    let (_, elapsed) = tokio::join!(join_all(new), in_progress);
    assert!(elapsed <= Duration::from_millis(310), "waits for one interval only: {elapsed:?}");
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn each_api_has_its_own_rate_limit() {
    let limiter = limiter(1, 10);
    drain(&limiter).await;
    let acquire = || limiter.acquire(Api::Authentication, Priority::New, Duration::ZERO);
    for _ in 0..9 {
        assert!(acquire().now_or_never().unwrap().is_ok());
    }
    assert!(acquire().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn rejects_at_once_if_wait_would_exceed_maximum() {
    let limiter = limiter(10, 10);
    drain(&limiter).await;
    let max_wait = Duration::from_secs(1);
    let calls = (0..100).map(|_| acquire(&limiter, Priority::New, max_wait));
    let start = Instant::now();
    let ended = join_all(calls.map(|call| call.map(|result| (result, start.elapsed())))).await;
    let rejected: Vec<_> = ended
        .iter()
        .filter_map(|(result, elapsed)| Some((result.as_ref().err()?, elapsed)))
        .collect();
    assert!((89..=92).contains(&rejected.len()), "the queue is bounded: {}", rejected.len());
    for (error, elapsed) in rejected {
        assert_eq!(*elapsed, Duration::ZERO);
        let delay = retry_delay(error);
        assert!(delay >= Duration::from_millis(900) && delay < Duration::from_secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn canceled_call_does_not_delay_others() {
    let limiter = limiter(1, 1);
    drain(&limiter).await;
    let first = acquire(&limiter, Priority::InProgress, HOUR);
    assert!(timeout(Duration::from_millis(500), first).await.is_err());
    let start = Instant::now();
    let second = acquire(&limiter, Priority::New, HOUR).await;
    assert!(second.is_ok() && start.elapsed() < Duration::from_millis(600));
}

#[tokio::test(start_paused = true)]
async fn status_429_blocks_the_management_api_and_calls_resume_at_configured_rate() {
    let limiter = limiter(10, 50);
    let permit = acquire(&limiter, Priority::New, HOUR).await.unwrap();
    drain(&limiter).await;
    let waiting = acquire(&limiter, Priority::InProgress, HOUR);
    let throttle = async {
        sleep(Duration::from_millis(1)).await;
        let retry = headers(&[("retry-after", "5")]);
        let status = StatusCode::TOO_MANY_REQUESTS;
        permit.record_headers(&retry, status, false, Utc::now()).unwrap()
    };
    let (waited, _) = tokio::join!(waiting, throttle);
    let delay = retry_delay(&waited.err().unwrap());
    assert!(delay > Duration::from_millis(4900), "waiting calls fail");
    let other_api = limiter.acquire(Api::Authentication, Priority::InProgress, HOUR).await;
    assert!(other_api.is_ok(), "the Authentication API has a limit of its own");
    sleep(Duration::from_secs(5)).await;
    let calls = (0..20).map(|_| acquire(&limiter, Priority::New, Duration::ZERO));
    let at_once = join_all(calls).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(at_once, 1, "no stampede");
}

#[tokio::test(start_paused = true)]
async fn uses_only_calls_that_auth0_reports_as_remaining() {
    let limiter = limiter(10, 50);
    let permit = acquire(&limiter, Priority::New, HOUR).await.unwrap();
    let reported = headers(&[("x-ratelimit-limit", "50"), ("x-ratelimit-remaining", "12")]);
    assert_eq!(permit.record_headers(&reported, StatusCode::OK, false, Utc::now()), None);
    drop(permit);
    let status = RateLimitStatus { limit: 50, remaining: 12, reset_time: None };
    assert_eq!(limiter.rate_limit_status(), Some(status));
    let calls = (0..50).map(|_| acquire(&limiter, Priority::New, Duration::ZERO));
    let at_once = join_all(calls).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(at_once, 7, "five remain in reserve");
}

#[tokio::test(start_paused = true)]
async fn open_circuit_allows_one_trial_call_at_a_time() {
    let limiter = limiter(1000, 1000);
    for _ in 0..5 {
        let permit = acquire(&limiter, Priority::New, HOUR).await.unwrap();
        permit.record_outage(Outage::Unreachable);
    }
    let error = acquire(&limiter, Priority::InProgress, HOUR).await.err().unwrap();
    assert_eq!(error.reason(), Reason::Unreachable);
    assert!(error.had_no_effect() && retry_delay(&error) <= Duration::from_secs(1));
    sleep(Duration::from_secs(1)).await;
    let trial = acquire(&limiter, Priority::New, HOUR).await.unwrap();
    assert!(limiter.blocked_by(Api::Management).is_some());
    let second = acquire(&limiter, Priority::InProgress, Duration::from_millis(100)).await;
    assert!(second.is_err(), "no other call is allowed");
    drop(trial);
    let trial = acquire(&limiter, Priority::New, HOUR).await.unwrap();
    let waiting = acquire(&limiter, Priority::New, HOUR);
    let response = async {
        sleep(Duration::from_millis(10)).await;
        trial.record_response();
    };
    assert!(tokio::join!(waiting, response).0.is_ok(), "waiting calls proceed");
    assert!(limiter.blocked_by(Api::Management).is_none());
}

#[tokio::test(start_paused = true)]
async fn recovers_within_two_seconds_of_a_one_second_outage() {
    let limiter = limiter(1000, 1000);
    let start = Instant::now();
    let outage_duration = Duration::from_secs(1);
    let mut failed_calls = 0;
    loop {
        match acquire(&limiter, Priority::InProgress, HOUR).await {
            Ok(permit) if start.elapsed() < outage_duration => {
                failed_calls += 1;
                permit.record_outage(Outage::NoResponse);
            }
            Ok(permit) => break permit.record_response(),
            Err(error) => sleep(retry_delay(&error)).await,
        }
    }
    let elapsed = start.elapsed();
    assert!(elapsed <= outage_duration + Duration::from_secs(2), "{elapsed:?}");
    assert!(failed_calls <= 7, "{failed_calls}");
}

/// A call that arrives at a random time.
#[derive(Clone, Copy, Debug)]
struct RandomCall {
    arrives_after: Duration,
    priority: Priority,
    /// The call is canceled after this time, if it still waits.
    canceled_after: Option<Duration>,
}

fn random_calls() -> impl Strategy<Value = RandomCall> {
    let priority =
        prop::sample::select(vec![Priority::InProgress, Priority::New, Priority::Background]);
    (0u64..3000, priority, prop::option::of(0u64..2000)).prop_map(
        |(arrives_after, priority, canceled_after)| RandomCall {
            arrives_after: Duration::from_millis(arrives_after),
            priority,
            canceled_after: canceled_after.map(Duration::from_millis),
        },
    )
}

/// Makes the calls with ten requests per second. Returns when each got its permit.
fn permit_times(calls: &[RandomCall], burst: u32) -> Vec<Duration> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (limiter, times) = (limiter(10, burst), Mutex::new(Vec::new()));
        let start = Instant::now();
        join_all(calls.iter().map(async |call| {
            sleep(call.arrives_after).await;
            let patience = call.canceled_after.unwrap_or(HOUR);
            let permit = timeout(patience, acquire(&limiter, call.priority, HOUR)).await;
            assert!(permit.is_ok() || call.canceled_after.is_some(), "the call waits forever");
            if permit.is_ok() {
                times.lock().push(start.elapsed());
            }
        }))
        .await;
        times.into_inner()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_call_gets_a_permit_and_no_period_exceeds_the_rate_limit(
        calls in prop::collection::vec(random_calls(), 1..60),
        burst in 1u32..20,
    ) {
        let times = permit_times(&calls, burst);
        for (first, from) in times.iter().enumerate() {
            for (last, to) in times.iter().enumerate().skip(first) {
                let most = f64::from(burst) + (*to - *from).as_secs_f64() * 10.0;
                prop_assert!((last - first + 1) as f64 <= most + 1e-6);
            }
        }
    }
}
