//! Limits of single clients, and separate limits of the Management API. Time is paused and advances only
//! when every task waits.

use futures::future::join_all;
use reqwest::Url;
use rotation::{ErrorClass, Reason};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Returns the limiter of a tenant whose credentials Auth0 has accepted.
async fn limiter(requests_per_second: u32, burst: u32) -> RateLimiter {
    let url = Url::parse("https://acme.eu.auth0.com").unwrap();
    let rate_limit = RateLimit { requests_per_second, burst };
    let limits =
        TenantLimits { tenant: "acme", caller: "shop", rate_limit, takes_precedence: false };
    let limiter = RateLimiters::default().limiter(&url, limits);
    limiter.host.lock().prove(&"acme".into(), Instant::now());
    limiter
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// Makes a call that gets this response. Returns the error that it ends with.
async fn call(
    limiter: &RateLimiter,
    api: Api,
    client: Option<&str>,
    status: u16,
    pairs: &[(&'static str, &str)],
) -> Option<Error> {
    let permit = match limiter.acquire_for(client, api, Priority::New, HOUR).await {
        Ok(permit) => permit,
        Err(error) => return Some(error),
    };
    let status = StatusCode::from_u16(status).unwrap();
    permit.record_headers(&headers(pairs), status, false, Utc::now())
}

/// Probes a secret of the client.
async fn probe(
    limiter: &RateLimiter,
    client: &str,
    status: u16,
    pairs: &[(&'static str, &str)],
) -> Option<Error> {
    call(limiter, Api::Authentication, Some(client), status, pairs).await
}

fn seconds_left(error: Option<Error>) -> f64 {
    let class = error.as_ref().map(Error::class);
    let Some(ErrorClass::Throttled { until }) = class else { panic!("{error:?}") };
    (until - Utc::now()).as_seconds_f64()
}

/// Makes calls of this kind one after the other. Returns how many there were within this time.
async fn count(limiter: &RateLimiter, api: Api, seconds: u64) -> usize {
    let mut count = 0;
    let calls = async {
        loop {
            drop(limiter.acquire(api, Priority::New, HOUR).await.unwrap());
            count += 1;
        }
    };
    let ended: Result<(), _> = timeout(Duration::from_secs(seconds), calls).await;
    assert!(ended.is_err());
    count
}

#[tokio::test(start_paused = true)]
async fn status_429_for_one_client_blocks_that_client_only() {
    let limiter = limiter(100, 100).await;
    let error = probe(&limiter, "shop", 429, &[("retry-after", "40")]).await;
    assert_eq!(error.as_ref().map(Error::reason), Some(Reason::ClientThrottled));
    assert!(!error.unwrap().concerns_tenant());
    let again = probe(&limiter, "shop", 200, &[]).await;
    assert!(seconds_left(again) > 39.0, "no request is made");
    let start = Instant::now();
    for other in ["one", "two", "three"] {
        assert_eq!(probe(&limiter, other, 200, &[]).await, None);
    }
    for api in [Api::ClientReads, Api::Management] {
        assert_eq!(call(&limiter, api, None, 200, &[]).await, None);
        assert!(limiter.blocked_by(api).is_none());
    }
    assert!(start.elapsed() < Duration::from_secs(1), "no other request waits");
    sleep(Duration::from_secs(40)).await;
    assert_eq!(probe(&limiter, "shop", 200, &[]).await, None);
}

#[tokio::test(start_paused = true)]
async fn used_up_limit_of_one_client_is_not_the_tenants() {
    let limiter = limiter(100, 100).await;
    let reset = (Utc::now().timestamp() + 30).to_string();
    let used_up = [
        ("x-ratelimit-limit", "1"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", reset.as_str()),
    ];
    assert_eq!(probe(&limiter, "shop", 200, &used_up).await, None);
    assert!(seconds_left(probe(&limiter, "shop", 200, &[]).await) > 25.0);
    assert_eq!(limiter.rate_limit_status(), None, "it is not the Management API's");
    assert!(count(&limiter, Api::Authentication, 5).await > 500, "the pace is unchanged");
}

#[tokio::test(start_paused = true)]
async fn client_that_was_throttled_goes_after_the_others() {
    let limiter = limiter(5, 1).await;
    probe(&limiter, "shop", 429, &[("retry-after", "1")]).await;
    sleep(Duration::from_secs(2)).await;
    let order = Mutex::new(Vec::new());
    let acquire = async |client: &'static str| {
        let api = Api::Authentication;
        let permit = limiter.acquire_for(Some(client), api, Priority::InProgress, HOUR).await;
        order.lock().push(client);
        drop(permit);
    };
    acquire("first").await;
    join_all(["shop", "one", "two", "three"].map(acquire)).await;
    assert_eq!(order.into_inner(), ["first", "one", "two", "three", "shop"]);
}

#[tokio::test(start_paused = true)]
async fn slows_down_while_client_after_client_is_throttled_but_never_stops() {
    let limiter = limiter(50, 50).await;
    for client in ["one", "two", "three"] {
        probe(&limiter, client, 429, &[("retry-after", "60")]).await;
    }
    let start = Instant::now();
    for number in 0..5 {
        probe(&limiter, &format!("client-{number}"), 429, &[("retry-after", "60")]).await;
    }
    let elapsed = start.elapsed().as_secs_f64();
    assert!((4.0..6.0).contains(&elapsed), "about one call per second: {elapsed}");
    assert_eq!(probe(&limiter, "accepted", 200, &[]).await, None);
    for number in 0..5 {
        assert_eq!(probe(&limiter, &format!("other-{number}"), 200, &[]).await, None);
    }
    assert!(start.elapsed().as_secs_f64() < elapsed + 2.0, "back to the configured rate");
    assert!(limiter.blocked_by(Api::Management).is_none());
}

#[tokio::test(start_paused = true)]
async fn reads_stay_within_the_self_service_limit_by_default() {
    let limiter = limiter(2, 2).await;
    let reads = count(&limiter, Api::ClientReads, 60).await;
    assert!((95..=101).contains(&reads), "{reads}");
    sleep(Duration::from_secs(60)).await;
    let others = count(&limiter, Api::Management, 60).await;
    assert!((115..=121).contains(&others), "{others}");
    sleep(Duration::from_secs(60)).await;
    let both = [count(&limiter, Api::ClientReads, 60), count(&limiter, Api::Management, 60)];
    let counts = join_all(both).await;
    let total: usize = counts.iter().sum();
    assert!((115..=121).contains(&total), "the configured rate is for both: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn higher_configured_rate_has_one_limit_for_all() {
    let limiter = limiter(16, 50).await;
    let reads = count(&limiter, Api::ClientReads, 60).await;
    assert!((1000..=1010).contains(&reads), "{reads}");
    let error = call(&limiter, Api::ClientReads, None, 429, &[("retry-after", "60")]).await;
    assert_eq!(error.map(|error| error.reason()), Some(Reason::Throttled));
    assert!(limiter.blocked_by(Api::Management).is_some());
}

#[tokio::test(start_paused = true)]
async fn separate_limits_learn_from_their_own_responses_only() {
    let limiter = limiter(2, 10).await;
    sleep(HOUR).await;
    let reads = [("x-ratelimit-limit", "5"), ("x-ratelimit-remaining", "1")];
    assert_eq!(call(&limiter, Api::ClientReads, None, 200, &reads).await, None);
    let now = Duration::ZERO;
    assert!(limiter.acquire(Api::ClientReads, Priority::New, now).await.is_err(), "one is kept");
    assert!(limiter.acquire(Api::Management, Priority::New, now).await.is_ok());
    let error = call(&limiter, Api::ClientReads, None, 429, &[("retry-after", "60")]).await;
    assert!(seconds_left(error) > 59.0);
    assert_eq!(call(&limiter, Api::Management, None, 200, &[]).await, None, "changes go on");
    assert!(limiter.blocked_by(Api::ClientReads).is_some());
    assert!(limiter.blocked_by(Api::Management).is_none());
    let error = call(&limiter, Api::Management, None, 429, &[]).await;
    assert!(seconds_left(error) > 9.0);
    assert!(limiter.blocked_by(Api::Management).is_some());
}

#[tokio::test(start_paused = true)]
async fn plan_is_learned_from_what_is_reported() {
    let reported = |limit| [("x-ratelimit-limit", limit), ("x-ratelimit-remaining", "40")];
    let used_up = [("retry-after", "60")];
    for (rate, of_changes, is_separate) in [
        (16, Some("50"), false),
        (16, None, true),
        (16, Some("10"), true),
        (2, Some("50"), false),
        (2, None, true),
    ] {
        let limiter = limiter(rate, 50).await;
        call(&limiter, Api::ClientReads, None, 200, &reported("50")).await;
        match of_changes {
            Some(limit) => call(&limiter, Api::Management, None, 200, &reported(limit)).await,
            None => call(&limiter, Api::Management, None, 200, &[]).await,
        };
        call(&limiter, Api::ClientReads, None, 429, &used_up).await;
        let goes_on = limiter.blocked_by(Api::Management).is_none();
        assert_eq!(goes_on, is_separate, "{rate} {of_changes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn reserved_call_that_is_not_made_is_available_again() {
    let limiter = limiter(2, 2).await;
    let acquire = || limiter.acquire(Api::Management, Priority::InProgress, Duration::ZERO);
    let reserved = acquire().await.unwrap().reserve();
    assert!(acquire().await.is_err());
    drop(reserved);
    let mut made = acquire().await.unwrap().reserve();
    made.mark_used();
    drop(made);
    assert!(acquire().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn wait_for_the_pace_can_succeed_however_slow_it_is() {
    for rate in [1, 2, 16] {
        let limiter = limiter(rate, 1).await;
        for api in [Api::ClientReads, Api::Management, Api::Authentication] {
            for priority in [Priority::InProgress, Priority::Background] {
                sleep(HOUR).await;
                let max_wait = limiter.max_wait(api, priority, Duration::ZERO);
                let calls = (0..3).map(|_| limiter.acquire(api, priority, max_wait));
                let granted = join_all(calls).await.into_iter().filter(Result::is_ok).count();
                assert_eq!(granted, 3, "{rate} {api:?} {priority:?} {max_wait:?}");
            }
        }
    }
}

/// Many resources that each read a client, change it and probe it, one step after the other, under the
/// limit of a plan with one limit for the whole API. Auth0 takes 20 ms for each.
#[tokio::test(start_paused = true)]
async fn uses_nearly_all_of_the_limit_and_never_exceeds_it() {
    const LATENCY: Duration = Duration::from_millis(20);
    let limiter = limiter(16, 50).await;
    // Auth0's own bucket: the requests that it has counted, and when.
    let counted = Mutex::new(Vec::<f64>::new());
    let start = Instant::now();
    let is_within = |counted: &[f64]| {
        let (mut level, mut last) = (50.0, 0.0);
        for at in counted {
            level = f64::min(50.0, level + (at - last) * 16.0) - 1.0;
            last = *at;
        }
        (level >= 0.0, level)
    };
    let send = async |permit: Permit| {
        sleep(LATENCY / 2).await;
        let remaining = {
            let mut counted = counted.lock();
            counted.push(start.elapsed().as_secs_f64());
            let (is_within, level) = is_within(&counted);
            assert!(is_within, "a request gets 429 after {:?}", start.elapsed());
            (level as u32).to_string()
        };
        sleep(LATENCY / 2).await;
        let reported = [("x-ratelimit-limit", "50"), ("x-ratelimit-remaining", remaining.as_str())];
        let ended = permit.record_headers(&headers(&reported), StatusCode::OK, false, Utc::now());
        assert_eq!(ended, None);
    };
    let resource = async |number: usize| {
        let client = format!("client-{number}");
        loop {
            let read = limiter.acquire(Api::ClientReads, Priority::InProgress, HOUR).await.unwrap();
            send(read).await;
            let change =
                limiter.acquire(Api::Management, Priority::InProgress, HOUR).await.unwrap();
            let mut change = change.reserve();
            sleep(LATENCY / 4).await;
            change.mark_used();
            send(change).await;
            assert_eq!(probe(&limiter, &client, 200, &[]).await, None);
        }
    };
    let resources = join_all((0..64).map(resource));
    let ended: Result<Vec<()>, _> = timeout(Duration::from_secs(180), resources).await;
    assert!(ended.is_err());
    let requests = counted.lock().len();
    let allowed = 16 * 180 + 50;
    assert!(requests * 100 >= allowed * 98, "{requests} of {allowed}");
}
