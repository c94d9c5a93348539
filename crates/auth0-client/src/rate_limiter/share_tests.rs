//! Several tenants and callers at one host. Time is paused and advances only when every task waits.

use futures::future::join_all;
use reqwest::Url;
use rotation::{ErrorClass, Reason};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const HOST: &str = "https://acme.eu.auth0.com";

/// The limiter of a tenant of the host.
fn tenant(limiters: &RateLimiters, name: &str, rate: u32, takes_precedence: bool) -> RateLimiter {
    let rate_limit = RateLimit { requests_per_second: rate, burst: rate };
    let limits = TenantLimits { tenant: name, caller: name, rate_limit, takes_precedence };
    limiters.limiter(&Url::parse(HOST).unwrap(), limits)
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

async fn acquire(limiter: &RateLimiter, priority: Priority) -> Result<Permit, Error> {
    limiter.acquire(Api::Management, priority, HOUR).await
}

/// Makes a call that gets this response.
async fn call(limiter: &RateLimiter, status: u16, pairs: &[(&'static str, &str)]) {
    let permit = acquire(limiter, Priority::New).await.unwrap();
    let status = StatusCode::from_u16(status).unwrap();
    permit.record_headers(&headers(pairs), status, false, Utc::now());
    permit.record_response();
}

async fn fail(limiter: &RateLimiter, times: usize) {
    for _ in 0..times {
        acquire(limiter, Priority::New).await.unwrap().record_outage(Outage::Unreachable);
    }
}

/// Makes calls one after the other. Returns how many there were within this time.
async fn count_calls(limiter: &RateLimiter, priority: Priority, seconds: u64) -> usize {
    let mut count = 0;
    let calls = async {
        loop {
            drop(acquire(limiter, priority).await.unwrap());
            count += 1;
        }
    };
    let ended: Result<(), _> = timeout(Duration::from_secs(seconds), calls).await;
    assert!(ended.is_err());
    count
}

fn is_throttled(limiter: &RateLimiter) -> bool {
    let error = limiter.blocked_by(Api::Management);
    error.is_some_and(|error| matches!(error.class(), ErrorClass::Throttled { .. }))
}

#[tokio::test(start_paused = true)]
async fn all_tenants_of_a_host_share_its_rate() {
    let limiters = RateLimiters::default();
    let tenants: Vec<_> =
        (0..100).map(|number| tenant(&limiters, &number.to_string(), 10, false)).collect();
    let counts = join_all(tenants.iter().map(|one| count_calls(one, Priority::New, 20))).await;
    let total: usize = counts.iter().sum();
    assert!((190..=210).contains(&total), "ten per second, and one burst: {total}");
    // The first one takes the burst before the others come.
    assert!(counts[1..].iter().all(|count| (1..=4).contains(count)), "turns: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn high_rate_of_another_tenant_does_not_raise_a_rate_that_takes_precedence() {
    let limiters = RateLimiters::default();
    let victim = tenant(&limiters, "victim", 2, true);
    let other = tenant(&limiters, "other", 1000, false);
    call(&other, 200, &[]).await;
    let both = [count_calls(&victim, Priority::New, 20), count_calls(&other, Priority::New, 20)];
    let counts = join_all(both).await;
    assert!(counts.iter().sum::<usize>() <= 43, "{counts:?}");
    assert!(counts[0] >= 18, "half of the host's rate: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn low_rate_of_another_tenant_does_not_slow_a_tenant_down() {
    for is_proven in [false, true] {
        let limiters = RateLimiters::default();
        let victim = tenant(&limiters, "victim", 50, false);
        call(&victim, 200, &[]).await;
        let other = tenant(&limiters, "other", 1, false);
        if is_proven {
            call(&other, 200, &[]).await;
        }
        let both =
            [count_calls(&victim, Priority::New, 10), count_calls(&other, Priority::New, 10)];
        let counts = join_all(both).await;
        assert!(counts[0] >= 470, "{counts:?}");
        assert!((9..=11).contains(&counts[1]), "{counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn tenant_that_auth0_does_not_know_blocks_no_other() {
    let limiters = RateLimiters::default();
    let victim = tenant(&limiters, "victim", 100, false);
    call(&victim, 200, &[("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "90")]).await;
    let other = tenant(&limiters, "other", 100, false);
    let used_up = [
        ("x-ratelimit-limit", "1"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "4102444800"),
    ];
    call(&other, 401, &used_up).await;
    call(&other, 404, &used_up).await;
    fail(&other, 5).await;
    let error = other.blocked_by(Api::Management).unwrap();
    assert_eq!(error.reason(), Reason::Unreachable, "its own circuit is open");
    sleep(Duration::from_secs(40)).await;
    call(&other, 429, &[("retry-after", "3600")]).await;
    assert!(is_throttled(&other), "its own calls are blocked");
    assert!(victim.blocked_by(Api::Management).is_none());
    assert_eq!(victim.rate_limit_status().unwrap().remaining, 90);
    assert_eq!(other.rate_limit_status(), None, "it learns nothing about the others");
    assert!(count_calls(&victim, Priority::New, 1).await >= 90);
}

#[tokio::test(start_paused = true)]
async fn tenant_whose_credentials_are_rejected_blocks_no_other_any_more() {
    let limiters = RateLimiters::default();
    let [victim, other] = ["victim", "other"].map(|name| tenant(&limiters, name, 10, false));
    call(&victim, 200, &[]).await;
    call(&other, 200, &[]).await;
    acquire(&other, Priority::New).await.unwrap().record_rejected_credentials();
    call(&other, 429, &[("retry-after", "60")]).await;
    assert!(is_throttled(&other) && !is_throttled(&victim));
}

#[tokio::test(start_paused = true)]
async fn tenants_that_auth0_knows_share_blocks_and_the_circuit() {
    let limiters = RateLimiters::default();
    let [one, other] = ["one", "other"].map(|name| tenant(&limiters, name, 10, false));
    call(&one, 200, &[]).await;
    call(&other, 200, &[]).await;
    fail(&one, 5).await;
    assert_eq!(other.blocked_by(Api::Management).unwrap().reason(), Reason::Unreachable);
    sleep(Duration::from_secs(2)).await;
    call(&other, 429, &[("retry-after", "60")]).await;
    assert!(is_throttled(&one));
}

#[tokio::test(start_paused = true)]
async fn limits_survive_a_change_of_the_configuration() {
    let limiters = RateLimiters::default();
    let before = tenant(&limiters, "acme", 10, false);
    call(&before, 200, &[]).await;
    while before.acquire(Api::Management, Priority::New, Duration::ZERO).await.is_ok() {}
    let after = tenant(&limiters, "acme", 1000, false);
    let at_once = after.acquire(Api::Management, Priority::New, Duration::ZERO).await;
    assert!(at_once.is_err(), "a change allows no burst");
    fail(&after, 5).await;
    let after = tenant(&limiters, "acme", 10, false);
    assert_eq!(after.blocked_by(Api::Management).unwrap().reason(), Reason::Unreachable);
    sleep(Duration::from_secs(2)).await;
    call(&after, 200, &[]).await;
    call(&after, 429, &[("retry-after", "60")]).await;
    assert!(is_throttled(&tenant(&limiters, "acme", 20, false)), "calls stay blocked");
    limiters.retain(|_| false);
    assert!(is_throttled(&tenant(&limiters, "recreated", 20, false)), "also if it is recreated");
    // The old client may still be in use.
    let stale = before.acquire(Api::Management, Priority::New, Duration::ZERO).await;
    assert!(stale.is_err());
}

#[tokio::test(start_paused = true)]
async fn open_circuit_survives_a_change_of_the_configuration() {
    let limiters = RateLimiters::default();
    let before = tenant(&limiters, "acme", 10, false);
    call(&before, 200, &[]).await;
    fail(&before, 5).await;
    sleep(Duration::from_secs(1)).await;
    let trial = acquire(&before, Priority::New).await.unwrap();
    let after = tenant(&limiters, "acme", 10, false);
    drop(trial);
    let other_trial = acquire(&after, Priority::New).await.unwrap();
    assert!(after.blocked_by(Api::Management).is_some(), "one trial call at a time");
    other_trial.record_response();
    drop(other_trial);
    assert!(after.blocked_by(Api::Management).is_none());
}

#[tokio::test(start_paused = true)]
async fn callers_take_turns() {
    let limiters = RateLimiters::default();
    let shared = tenant(&limiters, "shared", 10, true);
    while shared.acquire(Api::Management, Priority::New, Duration::ZERO).await.is_ok() {}
    let (flood, victim) = (shared.for_caller("flood"), shared.for_caller("victim"));
    let start = Instant::now();
    let calls = join_all((0..300).map(|_| acquire(&flood, Priority::InProgress)));
    let rotation = async {
        sleep(Duration::from_millis(550)).await;
        let arrived = Instant::now();
        // Even at the lowest of the two priorities that take turns.
        drop(acquire(&victim, Priority::New).await.unwrap());
        arrived.elapsed()
    };
    let (_, waited) = tokio::join!(calls, rotation);
    assert!(waited <= Duration::from_millis(250), "{waited:?}");
    assert!(start.elapsed() >= Duration::from_secs(29));
}

#[tokio::test(start_paused = true)]
async fn background_gets_at_most_half_and_goes_last() {
    let limiters = RateLimiters::default();
    let shared = tenant(&limiters, "shared", 20, true);
    let alone = count_calls(&shared, Priority::Background, 20).await;
    assert!((190..=215).contains(&alone), "half of the rate: {alone}");
    let (flood, victim) = (shared.for_caller("flood"), shared.for_caller("victim"));
    let both =
        [count_calls(&flood, Priority::Background, 20), count_calls(&victim, Priority::New, 20)];
    let counts = join_all(both).await;
    assert!(counts[1] >= 380, "the background takes nothing from others: {counts:?}");
}
