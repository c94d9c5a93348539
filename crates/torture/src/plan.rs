//! What is done to whom, and when: drawn from the seed, and from nothing else.
//!
//! There is a track for each kind of trouble, with a stream of random numbers of its own, so that
//! the orders of one don't depend on how long another one's take.

use std::time::Duration;

use auth0_simulator::{Action, Fault, Operation, When};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::fleet::{Group, Member};

/// The orders of a track, without end: each with the time to wait before it.
pub(crate) struct Track<T> {
    random: StdRng,
    members: Vec<Member>,
    draw: fn(&mut StdRng, &[Member]) -> (Duration, T),
}

impl<T> Iterator for Track<T> {
    type Item = (Duration, T);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.draw)(&mut self.random, &self.members))
    }
}

/// What is done to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToOperator {
    /// SIGKILL, and a start after `down`.
    Kill { down: Duration },
    /// SIGSTOP; a second process takes over `after`, and the first one goes on once it was stopped
    /// for `stopped`. Both run for `beside`, then one of them is killed.
    Stop { after: Duration, stopped: Duration, beside: Duration, kill_second: bool },
}

/// What is done to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    /// By SIGKILL instead of SIGTERM.
    pub(crate) kill: bool,
    pub(crate) down: Duration,
}

/// A request, as it is written into the annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) member: usize,
    pub(crate) verb: &'static str,
    /// What stands after the slash, unless it is junk.
    pub(crate) text: u64,
}

/// What somebody does who should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meddling {
    /// Rotates in the dashboard.
    Dashboard(usize),
    /// Deletes the target Secret.
    Delete(usize),
    /// Puts something else into the target Secret.
    Edit(usize),
    /// Removes the status.
    Wipe(usize),
}

/// All tracks of a seed.
pub(crate) struct Plan {
    seed: u64,
    members: Vec<Member>,
}

impl Plan {
    pub(crate) fn new(seed: u64, members: &[Member]) -> Self {
        Self { seed, members: members.to_vec() }
    }

    pub(crate) fn operator(&self) -> Track<ToOperator> {
        self.track(1, |random, _| (gap(random, 1_500, 7_000), to_operator(random)))
    }

    pub(crate) fn server(&self) -> Track<Restart> {
        self.track(2, |random, _| {
            let after = gap(random, 35_000, 75_000);
            (after, Restart { kill: random.random(), down: gap(random, 0, 4_000) })
        })
    }

    pub(crate) fn faults(&self) -> Track<Fault> {
        self.track(3, |random, members| {
            let every = 25_000 / members.len().max(1) as u64;
            (gap(random, every / 2, every * 3 / 2), fault(random))
        })
    }

    pub(crate) fn requests(&self) -> Track<Ask> {
        self.track(4, |random, members| {
            let every = 40_000 / members.len().max(1) as u64;
            (gap(random, every / 2, every * 3 / 2), ask(random, members))
        })
    }

    /// Only members of the groups that it may be done to.
    pub(crate) fn meddling(&self) -> Track<Option<Meddling>> {
        self.track(5, |random, members| {
            let every = 120_000 / members.len().max(1) as u64;
            (gap(random, every / 2, every * 3 / 2), meddling(random, members))
        })
    }

    /// How often each member is rotated by schedule.
    pub(crate) fn schedules(&self) -> Vec<Duration> {
        let mut random = self.random(6);
        self.members.iter().map(|_| Duration::from_secs(random.random_range(20..=40))).collect()
    }

    /// How late each member's consumers are, as parts of the staging period: one is almost as late
    /// as it may be, the other anything.
    pub(crate) fn lags(&self) -> Vec<[f64; 2]> {
        let mut random = self.random(7);
        self.members.iter().map(|_| [1.0, random.random()]).collect()
    }

    fn track<T>(&self, number: u64, draw: fn(&mut StdRng, &[Member]) -> (Duration, T)) -> Track<T> {
        Track { random: self.random(number), members: self.members.clone(), draw }
    }

    fn random(&self, track: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(31).wrapping_add(track))
    }
}

fn gap(random: &mut StdRng, least: u64, most: u64) -> Duration {
    Duration::from_millis(random.random_range(least..=most))
}

fn to_operator(random: &mut StdRng) -> ToOperator {
    if random.random_ratio(11, 12) {
        return ToOperator::Kill { down: gap(random, 0, 1_000) };
    }
    ToOperator::Stop {
        after: gap(random, 0, 2_000),
        stopped: gap(random, 3_000, 12_000),
        beside: gap(random, 1_000, 8_000),
        kill_second: random.random(),
    }
}

fn fault(random: &mut StdRng) -> Fault {
    let when = if random.random() { When::Before } else { When::After };
    let action = match random.random_range(0..17) {
        0 => Action::Delay { ms: random.random_range(100..=LATEST_MS), when },
        1 => Action::Delay { ms: random.random_range(2_000..=12_000), when: When::After },
        2..=5 => Action::Cut { when },
        6 => Action::RateLimited { reset_in_s: 1, retry_after: random.random() },
        7 | 8 => Action::Status { status: random.random_range(500..=504), when },
        9 => Action::MalformedJson { when },
        10 => Action::TruncatedJson { when },
        11 => Action::Html { status: *pick(random, &[200, 403, 502]), when },
        12 => Action::EmptyBody { when },
        13 => Action::Oversized { bytes: 3_000_000 },
        14 if random.random() => Action::SecretMissing,
        14 => Action::SecretEmpty,
        15 => Action::InvalidBody,
        _ => Action::ExpiredToken,
    };
    let operation = match &action {
        Action::SecretMissing | Action::SecretEmpty => Operation::RotateSecret,
        Action::InvalidBody => Operation::UpdateClient,
        Action::ExpiredToken => *pick(random, &MANAGEMENT),
        _ => *pick(random, &OPERATIONS),
    };
    let action = match action {
        // An empty answer with 200 is how Auth0 says that it accepts a secret: one that it gives
        // without looking would be a lie, and nothing can be made of lies.
        Action::EmptyBody { .. } if operation == Operation::Revoke => {
            Action::EmptyBody { when: When::After }
        }
        Action::MalformedJson { .. } if operation == Operation::Revoke => {
            Action::MalformedJson { when: When::After }
        }
        action => action,
    };
    let fault = Fault::new(action).on(operation);
    // Applications that log in are not what is tested: only the operator asks for these tokens.
    if operation == Operation::Token {
        fault.client(crate::fleet::MANAGER)
    } else {
        fault.times(random.random_range(1..=2))
    }
}

/// How much later than it was asked for Auth0 may change something. Whoever got no answer takes
/// what Auth0 shows after the propagation window for the outcome, so that it has to be less.
const LATEST_MS: u64 = 1_500;

/// The calls that change something more often than the others; a token is wanted seldom, and its
/// lack stops everything for a while.
const MANAGEMENT: [Operation; 6] = [
    Operation::RotateSecret,
    Operation::UpdateClient,
    Operation::GetClient,
    Operation::GetClient,
    Operation::ListClients,
    Operation::ListClients,
];
const OPERATIONS: [Operation; 26] = {
    let mut operations = [Operation::GetClient; 26];
    let mut place = 0;
    while place < 18 {
        operations[place] = match place {
            0..4 => Operation::RotateSecret,
            4..8 => Operation::UpdateClient,
            8..13 => Operation::Revoke,
            13..17 => Operation::ListClients,
            _ => Operation::Token,
        };
        place += 1;
    }
    operations
};

fn ask(random: &mut StdRng, members: &[Member]) -> Ask {
    const VERBS: [&str; 12] = [
        "rotate", "rotate", "rotate", "rotate", "rotate", "revoke", "rollback", "rollback",
        "rollback", "abort", "abort", "junk",
    ];
    Ask {
        member: random.random_range(0..members.len()),
        verb: pick::<&str>(random, &VERBS),
        text: random.random_range(0..1_000_000),
    }
}

fn meddling(random: &mut StdRng, members: &[Member]) -> Option<Meddling> {
    let open: Vec<usize> =
        (0..members.len()).filter(|&member| members[member].group != Group::Plain).collect();
    if open.is_empty() {
        return None;
    }
    let member = *pick(random, &open);
    Some(match members[member].group {
        Group::Drift => Meddling::Dashboard(member),
        Group::Wiped => Meddling::Wipe(member),
        _ if random.random() => Meddling::Delete(member),
        _ => Meddling::Edit(member),
    })
}

fn pick<'a, T>(random: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::muster;

    fn first<T>(track: Track<T>) -> Vec<(Duration, T)> {
        track.take(200).collect()
    }

    #[test]
    fn the_same_seed_has_the_same_orders() {
        let members = muster(20);
        let (plan, again) = (Plan::new(7, &members), Plan::new(7, &members));
        assert_eq!(first(plan.operator()), first(again.operator()));
        assert_eq!(first(plan.server()), first(again.server()));
        assert_eq!(first(plan.faults()), first(again.faults()));
        assert_eq!(first(plan.requests()), first(again.requests()));
        assert_eq!(first(plan.meddling()), first(again.meddling()));
        assert_eq!(plan.schedules(), again.schedules());
        assert_eq!(plan.lags(), again.lags());
        assert_ne!(first(plan.operator()), first(Plan::new(8, &members).operator()));
    }

    #[test]
    fn an_hour_has_the_kills_that_are_asked_for() {
        let plan = Plan::new(1, &muster(50));
        let (mut time, mut kills) = (Duration::ZERO, 0);
        for (after, order) in plan.operator() {
            time += after + Duration::from_millis(100);
            time += match order {
                ToOperator::Kill { down } => down,
                ToOperator::Stop { stopped, beside, .. } => stopped + beside,
            };
            if time > Duration::from_secs(3_600) {
                break;
            }
            kills += 1;
        }
        assert!(kills >= 550, "{kills}");
    }

    #[test]
    fn nobody_meddles_with_plain_clients() {
        let members = muster(20);
        for (_, order) in Plan::new(3, &members).meddling().take(500) {
            let (member, group) = match order.unwrap() {
                Meddling::Dashboard(member) => (member, Group::Drift),
                Meddling::Delete(member) | Meddling::Edit(member) => (member, Group::Tampered),
                Meddling::Wipe(member) => (member, Group::Wiped),
            };
            assert_eq!(members[member].group, group);
        }
        assert!(Plan::new(3, &muster(1)).meddling().next().unwrap().1.is_none());
    }

    #[test]
    fn every_kind_of_fault_comes() {
        let orders = Plan::new(5, &muster(2)).faults().take(2_000);
        let kinds: std::collections::BTreeSet<_> =
            orders.map(|(_, fault)| fault.action.name()).collect();
        assert_eq!(kinds.len(), 16, "{kinds:?}");
    }
}
