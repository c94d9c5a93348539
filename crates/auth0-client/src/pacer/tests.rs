//! Who leaves when, with time that only moves when nothing else does.

use std::sync::Mutex as Record;

use futures::{FutureExt as _, future::join_all};
use proptest::prelude::*;
use rotation::{ErrorClass, Reason};

use super::*;

const LONG: Duration = Duration::from_secs(3600);

fn caller(pacer: &Pacer, urgency: Priority) -> Caller<'_> {
    Caller { pacer, lane: Lane::Management, urgency }
}

fn said(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// Uses up what is there at once.
async fn drain(pacer: &Pacer) {
    while caller(pacer, Priority::New).admit(Duration::ZERO).await.is_ok() {}
}

fn until(refused: &Auth0Error) -> Duration {
    let ErrorClass::Throttled { until } = refused.class() else { panic!("{refused:?}") };
    (until - Utc::now()).to_std().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn the_most_urgent_leaves_first_and_of_equals_the_one_that_came_first() {
    let pacer = Pacer::new(10, 10);
    drain(&pacer).await;
    let order = Record::new(Vec::new());
    let call = async |urgency, number| {
        let admitted = caller(&pacer, urgency).admit(LONG).await.unwrap();
        order.lock().unwrap().push((urgency, number));
        drop(admitted);
    };
    let urgencies = [Priority::Background, Priority::New, Priority::InProgress];
    join_all((0..9).map(|number| call(urgencies[number % 3], number))).await;
    let mut sorted = order.lock().unwrap().clone();
    sorted.sort();
    assert_eq!(*order.lock().unwrap(), sorted);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_while_others_wait_goes_first_if_it_is_more_urgent() {
    let pacer = Pacer::new(10, 10);
    drain(&pacer).await;
    let start = Instant::now();
    let new: Vec<_> = (0..20).map(|_| caller(&pacer, Priority::New).admit(LONG)).collect();
    let urgent = async {
        sleep(Duration::from_millis(250)).await;
        caller(&pacer, Priority::InProgress).admit(LONG).await.unwrap();
        start.elapsed()
    };
    let (_, took) = tokio::join!(join_all(new), urgent);
    assert!(took <= Duration::from_millis(310), "it waits for the next call only: {took:?}");
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn the_lanes_have_a_budget_each() {
    let pacer = Pacer::new(1, 10);
    drain(&pacer).await;
    let login = Caller { lane: Lane::Authentication, ..caller(&pacer, Priority::New) };
    for _ in 0..9 {
        assert!(login.admit(Duration::ZERO).now_or_never().unwrap().is_ok());
    }
    assert!(login.admit(Duration::ZERO).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn whoever_could_not_leave_in_time_is_told_at_once_when_to_come_again() {
    let pacer = Pacer::new(10, 10);
    drain(&pacer).await;
    let patience = Duration::from_secs(1);
    let calls = (0..100).map(|_| caller(&pacer, Priority::New).admit(patience));
    let start = Instant::now();
    let ended = join_all(calls.map(|call| call.map(|ended| (ended, start.elapsed())))).await;
    let refused: Vec<_> =
        ended.iter().filter_map(|(ended, at)| Some((ended.as_ref().err()?, at))).collect();
    assert!((89..=92).contains(&refused.len()), "the queue is bounded: {}", refused.len());
    for (error, at) in refused {
        assert_eq!(*at, Duration::ZERO);
        assert!(
            until(error) >= Duration::from_millis(900) && until(error) < Duration::from_secs(2)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_holds_up_nobody() {
    let pacer = Pacer::new(1, 1);
    drain(&pacer).await;
    let first = caller(&pacer, Priority::InProgress).admit(LONG);
    assert!(timeout(Duration::from_millis(500), first).await.is_err());
    let start = Instant::now();
    let second = caller(&pacer, Priority::New).admit(LONG).await;
    assert!(second.is_ok() && start.elapsed() < Duration::from_millis(600));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_stops_the_whole_tenant_and_then_calls_leave_at_the_pace() {
    let pacer = Pacer::new(10, 50);
    let admitted = caller(&pacer, Priority::New).admit(LONG).await.unwrap();
    drain(&pacer).await;
    let waiting = caller(&pacer, Priority::InProgress).admit(LONG);
    let refusal = async {
        sleep(Duration::from_millis(1)).await;
        admitted.answered(&said(&[("retry-after", "5")]), true, Utc::now()).unwrap()
    };
    let (waited, _) = tokio::join!(waiting, refusal);
    assert!(until(&waited.err().unwrap()) > Duration::from_millis(4900), "waiting calls fail");
    let other = Caller { lane: Lane::Authentication, ..caller(&pacer, Priority::InProgress) };
    assert!(other.admit(LONG).await.is_err(), "the other lane is closed as well");
    sleep(Duration::from_secs(5)).await;
    let at_once = join_all((0..20).map(|_| caller(&pacer, Priority::New).admit(Duration::ZERO)));
    let at_once = at_once.await.into_iter().filter(Result::is_ok).count();
    assert_eq!(at_once, 1, "no stampede");
}

#[tokio::test(start_paused = true)]
async fn what_auth0_says_is_left_is_what_is_used() {
    let pacer = Pacer::new(10, 50);
    let admitted = caller(&pacer, Priority::New).admit(LONG).await.unwrap();
    let headers = said(&[("x-ratelimit-limit", "50"), ("x-ratelimit-remaining", "12")]);
    assert_eq!(admitted.answered(&headers, false, Utc::now()), None);
    drop(admitted);
    let budget = RateLimitStatus { limit: 50, remaining: 12, reset_time: None };
    assert_eq!(pacer.budget(), Some(budget));
    let calls =
        join_all((0..50).map(|_| caller(&pacer, Priority::New).admit(Duration::ZERO))).await;
    assert_eq!(calls.into_iter().filter(Result::is_ok).count(), 7, "five stay for others");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_probed_by_one_call_at_a_time_and_the_most_urgent() {
    let pacer = Pacer::new(1000, 1000);
    for _ in 0..5 {
        caller(&pacer, Priority::New).admit(LONG).await.unwrap().failed(Outage::Unreachable);
    }
    let refused = caller(&pacer, Priority::InProgress).admit(LONG).await.err().unwrap();
    assert_eq!(refused.reason(), Reason::Unreachable);
    assert!(refused.unchanged() && until(&refused) <= Duration::from_secs(1));
    sleep(Duration::from_secs(1)).await;
    let probe = caller(&pacer, Priority::New).admit(LONG).await.unwrap();
    assert!(pacer.check(Lane::Management).is_err());
    let during = caller(&pacer, Priority::InProgress).admit(Duration::from_millis(100)).await;
    assert!(during.is_err(), "nobody else is let through");
    drop(probe);
    let probe = caller(&pacer, Priority::New).admit(LONG).await.unwrap();
    let waiting = caller(&pacer, Priority::New).admit(LONG);
    let answer = async {
        sleep(Duration::from_millis(10)).await;
        probe.succeeded();
    };
    assert!(tokio::join!(waiting, answer).0.is_ok(), "whoever waits goes on");
    assert!(pacer.check(Lane::Management).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_second_of_outage_costs_two_at_most() {
    let pacer = Pacer::new(1000, 1000);
    let start = Instant::now();
    let works_again = Duration::from_secs(1);
    let mut probes = 0;
    loop {
        match caller(&pacer, Priority::InProgress).admit(LONG).await {
            Ok(admitted) if start.elapsed() < works_again => {
                probes += 1;
                admitted.failed(Outage::NoResponse);
            }
            Ok(admitted) => break admitted.succeeded(),
            Err(refused) => sleep(until(&refused)).await,
        }
    }
    assert!(start.elapsed() <= works_again + Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(probes <= 7, "{probes}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever waits, gives up or learns: nobody waits for ever, and the pace is kept.
    #[test]
    fn all_leave_in_the_end_and_never_faster_than_the_pace(
        calls in prop::collection::vec((0u64..3000, 0usize..3, prop::option::of(0u64..2000)), 1..60),
        burst in 1u32..20,
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let left = runtime.block_on(async {
            let (pacer, left) = (Pacer::new(10, burst), Record::new(Vec::new()));
            let start = Instant::now();
            join_all(calls.iter().map(async |(at, urgency, gives_up)| {
                sleep(Duration::from_millis(*at)).await;
                let urgency = [Priority::InProgress, Priority::New, Priority::Background][*urgency];
                let patience = gives_up.map_or(LONG, Duration::from_millis);
                let admitted = timeout(patience, caller(&pacer, urgency).admit(LONG)).await;
                assert!(admitted.is_ok() || gives_up.is_some());
                if admitted.is_ok() {
                    left.lock().unwrap().push(start.elapsed());
                }
            })).await;
            left.into_inner().unwrap()
        });
        for (first, from) in left.iter().enumerate() {
            for (last, to) in left.iter().enumerate().skip(first) {
                let most = f64::from(burst) + (*to - *from).as_secs_f64() * 10.0;
                prop_assert!((last - first + 1) as f64 <= most + 1e-6);
            }
        }
    }
}
