//! The applications: they log in all the time with what a kubelet would have given them by now.
//!
//! Each reads its Secret as it was a fixed while ago, up to one staging period, and tries the list
//! in its order. Logins are asked of the simulated Auth0 within this process, not over HTTP: it is
//! the same answer, and two cores carry hundreds of them a second.

use std::sync::Arc;
use std::time::Duration;

use auth0_simulator::Simulator;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret as _;

use crate::arena::Arena;
use crate::book::List;
use crate::fleet::STAGING;
use crate::tally::Failure;

/// How often each consumer logs in.
const LOGIN_EVERY: Duration = Duration::from_millis(400);
/// How often it is looked whose turn it is.
const TICK: Duration = Duration::from_millis(20);
/// What the latest consumer is early: what was written is known that much after it was.
const EARLY: Duration = Duration::from_millis(100);

/// One application's process.
#[derive(Clone, Copy, Debug)]
struct Consumer {
    member: usize,
    /// How long after a Secret was written it has what was written.
    lag: TimeDelta,
    next: DateTime<Utc>,
}

/// Logs in until it is dropped.
pub(crate) async fn run(arena: Arc<Arena>, lags: Vec<[f64; 2]>) {
    let mut consumers = line_up(&lags, Utc::now());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for consumer in &mut consumers {
            let now = Utc::now();
            if now >= consumer.next {
                consumer.next = now + LOGIN_EVERY;
                log_in(&arena, consumer);
            }
        }
    }
}

/// All consumers, their logins spread evenly.
fn line_up(lags: &[[f64; 2]], now: DateTime<Utc>) -> Vec<Consumer> {
    let count = u32::try_from(lags.len() * 2).unwrap_or(u32::MAX).max(1);
    let parts = lags.iter().enumerate().flat_map(|(member, lags)| lags.map(|lag| (member, lag)));
    (0..)
        .zip(parts)
        .map(|(place, (member, part))| Consumer {
            member,
            lag: lag(part),
            next: now + LOGIN_EVERY * place / count,
        })
        .collect()
}

fn lag(part: f64) -> TimeDelta {
    let latest = STAGING.saturating_sub(EARLY);
    TimeDelta::from_std(latest.mul_f64(part)).unwrap_or_default()
}

fn log_in(arena: &Arena, consumer: &Consumer) {
    let now = Utc::now();
    let member = &arena.members()[consumer.member];
    let list = arena.book.page(consumer.member).list_at(now - consumer.lag);
    // An application that has never had a secret is not running yet.
    let Some(list) = list else { return };
    // Once more, at once: Auth0 may have switched between one try and the next.
    arena.tallies.count(member);
    if (0..2).any(|_| is_accepted(&arena.simulator, &member.name, &list)) {
        return;
    }
    let page = arena.book.page(consumer.member);
    let failure = if page.is_revoked(now) { Failure::Revoked } else { Failure::Plain };
    let since = page.switched_at.map_or(TimeDelta::zero(), |at| now - at);
    drop(page);
    arena.watch.refused(now, consumer.member, list, failure, since);
}

fn is_accepted(simulator: &Simulator, client_id: &str, list: &List) -> bool {
    list.iter().any(|value| simulator.accepts(client_id, value.expose_secret()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_consumer_is_later_than_the_staging_period() {
        let consumers = line_up(&[[1.0, 0.0], [1.0, 0.5]], Utc::now());
        assert_eq!(consumers.len(), 4);
        let latest = TimeDelta::from_std(STAGING).unwrap();
        assert!(consumers.iter().all(|consumer| consumer.lag < latest));
        assert!(consumers.iter().any(|consumer| consumer.lag > latest * 9 / 10));
        let first = consumers.iter().map(|consumer| consumer.next).min().unwrap();
        assert!(
            consumers.iter().all(|consumer| consumer.next - first < TimeDelta::milliseconds(400))
        );
    }
}
