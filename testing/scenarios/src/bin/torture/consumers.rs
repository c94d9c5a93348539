//! The applications: they log in continuously with the list that a kubelet would have given them.
//!
//! Each reads its Secret as it was a fixed time ago, up to one staging period, and tries the list in
//! its order. It asks the simulated Auth0 in this process instead of over HTTP, because the result is
//! the same, and two cores can handle hundreds of logins per second.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use auth0_simulator::Simulator;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret as _;
use testkit::login_tally::LoginOutcome;

use crate::{checker::FailedLogin, clients::STAGING, context::Context, history::List};

const LOGIN_INTERVAL: Duration = Duration::from_millis(400);
const TICK: Duration = Duration::from_millis(20);
/// The latest consumer is this much earlier than a staging period, because a write is known with a
/// delay.
const MARGIN: Duration = Duration::from_millis(100);

/// How late the two consumers of a client are, as shares of the longest lag.
pub(crate) type Lags = [f64; 2];

/// Process of an application.
#[derive(Clone, Copy, Debug)]
struct Consumer {
    client: usize,
    /// Time between a write of the Secret and when this consumer reads it.
    lag: TimeDelta,
    next_login: DateTime<Utc>,
}

/// Logs in until the future is dropped.
pub(crate) async fn run(context: Arc<Context>, lags: Vec<Lags>) -> Result<()> {
    let mut consumers = create_consumers(&lags, Utc::now());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for consumer in &mut consumers {
            let now = Utc::now();
            if now >= consumer.next_login {
                consumer.next_login = now + LOGIN_INTERVAL;
                log_in(&context, consumer);
            }
        }
    }
}

/// Returns all consumers, with their logins spread evenly.
fn create_consumers(lags: &[Lags], now: DateTime<Utc>) -> Vec<Consumer> {
    let longest = STAGING.saturating_sub(MARGIN);
    let mut consumers = Vec::new();
    for (client, lags) in lags.iter().enumerate() {
        for share in lags {
            let lag = TimeDelta::from_std(longest.mul_f64(*share)).unwrap_or_default();
            consumers.push(Consumer { client, lag, next_login: now });
        }
    }
    let count = u32::try_from(consumers.len()).unwrap_or(u32::MAX).max(1);
    for (index, consumer) in (0..).zip(&mut consumers) {
        consumer.next_login += LOGIN_INTERVAL * index / count;
    }
    consumers
}

fn log_in(context: &Context, consumer: &Consumer) {
    let now = Utc::now();
    let name = &context.clients()[consumer.client].name;
    let list = context.history.of(consumer.client).list_at(now - consumer.lag);
    // An application that never had a secret doesn't run yet.
    let Some(list) = list else { return };
    context.logins.count_attempt(name);
    // Two tries, because Auth0 may switch between the values of one.
    if (0..2).any(|_| is_accepted(&context.simulator, name, &list)) {
        return;
    }
    let history = context.history.of(consumer.client);
    let is_revoked = history.is_revoked(now);
    let outcome = if is_revoked { LoginOutcome::FailedByRevoke } else { LoginOutcome::Failed };
    let since_change = history.changed_at.and_then(|at| (now - at).to_std().ok());
    drop(history);
    let since_change = since_change.unwrap_or_default();
    let login = FailedLogin { list, outcome, since_change };
    context.checker.record_failed_login(now, consumer.client, login);
}

fn is_accepted(simulator: &Simulator, client_id: &str, list: &List) -> bool {
    list.iter().any(|value| simulator.accepts(client_id, value.expose_secret()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_consumer_is_later_than_the_staging_period() {
        let consumers = create_consumers(&[[1.0, 0.0], [1.0, 0.5]], Utc::now());
        assert_eq!(consumers.len(), 4);
        let latest = TimeDelta::from_std(STAGING).unwrap();
        assert!(consumers.iter().all(|consumer| consumer.lag < latest));
        assert!(consumers.iter().any(|consumer| consumer.lag > latest * 9 / 10));
        let first = consumers.iter().map(|consumer| consumer.next_login).min().unwrap();
        let interval = TimeDelta::from_std(LOGIN_INTERVAL).unwrap();
        assert!(consumers.iter().all(|consumer| consumer.next_login - first < interval));
    }
}
