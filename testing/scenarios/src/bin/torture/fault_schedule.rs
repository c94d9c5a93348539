//! All faults and their times, which depend only on the seed.
//!
//! Each kind of fault has a track with random numbers of its own, so that the faults of one track don't
//! depend on how long those of another one take.

use std::time::Duration;

use auth0_simulator::{Action, Fault, Operation, When};
use chrono::TimeDelta;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use testkit::auth0::MANAGER;

use crate::{
    clients::{API_SERVERS, Group, TestClient},
    consumers::Lags,
};

/// Endless sequence of faults, each with the delay before it.
pub(crate) struct Track<T> {
    random: StdRng,
    clients: Vec<TestClient>,
    draw: fn(&mut StdRng, &[TestClient]) -> (Duration, T),
}

impl<T> Iterator for Track<T> {
    type Item = (Duration, T);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.draw)(&mut self.random, &self.clients))
    }
}

/// Fault of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperatorFault {
    /// SIGKILL, and a start after `down`.
    Kill { down: Duration },
    /// SIGSTOP. A second process starts `takeover_after`, and the first one is resumed after `paused`.
    /// Both run for `overlap`, and then one of them is killed.
    Pause { takeover_after: Duration, paused: Duration, overlap: Duration, kill_second: bool },
}

/// Restart of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ApiServerRestart {
    /// SIGKILL instead of SIGTERM.
    pub(crate) kill: bool,
    pub(crate) down: Duration,
}

/// Request annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) client: usize,
    /// A verb, or `invalid`.
    pub(crate) verb: &'static str,
    pub(crate) number: u64,
}

/// Change that only the operator should make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TamperAction {
    RotateInDashboard,
    DeleteSecret,
    EditSecret,
    RemoveStatus,
}

/// Tampering with one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tampering {
    pub(crate) client: usize,
    pub(crate) action: TamperAction,
}

/// Fault of Auth0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Auth0Fault {
    Injected(Fault),
    /// Auth0 sets the next value of a client, its response is lost, and a retry gets a 400.
    LostThenRejected,
}

/// Part of a target Secret that another controller rewrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rewrite {
    Labels,
    Values,
}

/// Controller that rewrites a target Secret again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fight {
    pub(crate) client: usize,
    pub(crate) rewrite: Rewrite,
    pub(crate) interval: Duration,
    pub(crate) duration: Duration,
}

/// Wrong clock of one of several API servers, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockJump {
    pub(crate) server: usize,
    pub(crate) ahead: TimeDelta,
    pub(crate) duration: Duration,
}

/// All faults of a seed.
pub(crate) struct FaultSchedule {
    seed: u64,
    clients: Vec<TestClient>,
}

impl FaultSchedule {
    pub(crate) fn new(seed: u64, clients: &[TestClient]) -> Self {
        Self { seed, clients: clients.to_vec() }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn operator(&self) -> Track<OperatorFault> {
        self.track(1, |random, _| (duration(random, 1_500, 7_000), operator_fault(random)))
    }

    pub(crate) fn api_server(&self) -> Track<ApiServerRestart> {
        self.track(2, |random, _| {
            let delay = duration(random, 35_000, 75_000);
            let kill = random.random();
            (delay, ApiServerRestart { kill, down: duration(random, 0, 4_000) })
        })
    }

    pub(crate) fn auth0(&self) -> Track<Auth0Fault> {
        self.track(3, |random, clients| {
            (interval(random, 25_000, clients), auth0_fault(random, clients))
        })
    }

    pub(crate) fn requests(&self) -> Track<Request> {
        self.track(4, |random, clients| {
            (interval(random, 40_000, clients), request(random, clients))
        })
    }

    /// Affects only clients of the groups that permit it. `None` if there is none.
    pub(crate) fn tampering(&self) -> Track<Option<Tampering>> {
        self.track(5, |random, clients| {
            (interval(random, 120_000, clients), tampering(random, clients))
        })
    }

    /// Returns the interval of each client's scheduled rotations.
    pub(crate) fn rotation_intervals(&self) -> Vec<Duration> {
        let mut random = self.random(6);
        self.clients.iter().map(|_| Duration::from_secs(random.random_range(20..=40))).collect()
    }

    /// Returns how late the consumers of each client are: one is as late as it may be, the other by a
    /// random share of that.
    pub(crate) fn lags(&self) -> Vec<Lags> {
        let mut random = self.random(7);
        self.clients.iter().map(|_| [1.0, random.random()]).collect()
    }

    /// Values are rewritten only for clients whose Secret may be tampered with.
    pub(crate) fn fights(&self) -> Track<Fight> {
        self.track(8, |random, clients| {
            (interval(random, 240_000, clients), fight(random, clients))
        })
    }

    pub(crate) fn clock_jumps(&self) -> Track<ClockJump> {
        self.track(9, |random, _| (duration(random, 5_000, 40_000), clock_jump(random)))
    }

    fn track<T>(
        &self,
        number: u64,
        draw: fn(&mut StdRng, &[TestClient]) -> (Duration, T),
    ) -> Track<T> {
        Track { random: self.random(number), clients: self.clients.clone(), draw }
    }

    fn random(&self, track: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(31).wrapping_add(track))
    }
}

/// Returns a random duration between two numbers of milliseconds.
fn duration(random: &mut StdRng, min: u64, max: u64) -> Duration {
    Duration::from_millis(random.random_range(min..=max))
}

/// Returns a random delay, with which each client is affected once in `millis` on average.
fn interval(random: &mut StdRng, millis: u64, clients: &[TestClient]) -> Duration {
    let average = millis / clients.len().max(1) as u64;
    duration(random, average / 2, average * 3 / 2)
}

fn operator_fault(random: &mut StdRng) -> OperatorFault {
    if random.random_ratio(11, 12) {
        return OperatorFault::Kill { down: duration(random, 0, 1_000) };
    }
    OperatorFault::Pause {
        takeover_after: duration(random, 0, 2_000),
        paused: duration(random, 3_000, 12_000),
        overlap: duration(random, 1_000, 8_000),
        kill_second: random.random(),
    }
}

fn auth0_fault(random: &mut StdRng, clients: &[TestClient]) -> Auth0Fault {
    match random.random_range(0..20) {
        0 => Auth0Fault::LostThenRejected,
        1 => Auth0Fault::Injected(application_limit(random, clients)),
        _ => Auth0Fault::Injected(any_client_fault(random)),
    }
}

/// Returns a 429 that belongs to one application, not to the tenant.
fn application_limit(random: &mut StdRng, clients: &[TestClient]) -> Fault {
    let reset_in_s = random.random_range(5..=20);
    let client = pick(random, clients);
    Fault::new(Action::RateLimited { reset_in_s, retry_after: true })
        .on(Operation::Revoke)
        .client(&client.name)
        .times(random.random_range(1..=3))
}

fn any_client_fault(random: &mut StdRng) -> Fault {
    let when = if random.random() { When::Before } else { When::After };
    let action = match random.random_range(0..17) {
        0 => Action::Delay { ms: random.random_range(100..=MAX_EFFECT_DELAY_MS), when },
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
        // Auth0 accepts a secret by an empty response with 200. Such a response without a check of
        // the secret would be a wrong answer, against which no client could protect itself.
        Action::EmptyBody { .. } if operation == Operation::Revoke => {
            Action::EmptyBody { when: When::After }
        }
        Action::MalformedJson { .. } if operation == Operation::Revoke => {
            Action::MalformedJson { when: When::After }
        }
        action => action,
    };
    let fault = Fault::new(action).on(operation);
    // Only the operator's tokens are affected, because logins of applications are not under test.
    if operation == Operation::Token {
        fault.client(MANAGER)
    } else {
        fault.times(random.random_range(1..=2))
    }
}

/// The longest time between a request to Auth0 and its effect. A client without a response takes what
/// Auth0 has after the propagation window as the outcome, so this has to be shorter.
const MAX_EFFECT_DELAY_MS: u64 = 1_500;

/// Operations of the Management API.
const MANAGEMENT: [Operation; 6] = [
    Operation::RotateSecret,
    Operation::UpdateClient,
    Operation::GetClient,
    Operation::GetClient,
    Operation::ListClients,
    Operation::ListClients,
];
/// Operations by weight: those that change something often, and tokens rarely, because a missing token
/// stops everything for a while.
const OPERATIONS: [Operation; 26] = {
    let mut operations = [Operation::GetClient; 26];
    let mut index = 0;
    while index < 18 {
        operations[index] = match index {
            0..4 => Operation::RotateSecret,
            4..8 => Operation::UpdateClient,
            8..13 => Operation::Revoke,
            13..17 => Operation::ListClients,
            _ => Operation::Token,
        };
        index += 1;
    }
    operations
};

fn request(random: &mut StdRng, clients: &[TestClient]) -> Request {
    const VERBS: [&str; 12] = [
        "rotate", "rotate", "rotate", "rotate", "rotate", "revoke", "rollback", "rollback",
        "rollback", "abort", "abort", "invalid",
    ];
    Request {
        client: random.random_range(0..clients.len()),
        verb: pick::<&str>(random, &VERBS),
        number: random.random_range(0..1_000_000),
    }
}

fn tampering(random: &mut StdRng, clients: &[TestClient]) -> Option<Tampering> {
    let candidates = 0..clients.len();
    let candidates: Vec<usize> =
        candidates.filter(|client| clients[*client].group != Group::Plain).collect();
    if candidates.is_empty() {
        return None;
    }
    let client = *pick(random, &candidates);
    let action = match clients[client].group {
        Group::Drift => TamperAction::RotateInDashboard,
        Group::Wiped => TamperAction::RemoveStatus,
        _ if random.random() => TamperAction::DeleteSecret,
        _ => TamperAction::EditSecret,
    };
    Some(Tampering { client, action })
}

fn fight(random: &mut StdRng, clients: &[TestClient]) -> Fight {
    let client = random.random_range(0..clients.len());
    let rewrite = match clients[client].group {
        Group::Tampered => Rewrite::Values,
        _ => Rewrite::Labels,
    };
    Fight {
        client,
        rewrite,
        interval: duration(random, 20, 500),
        duration: duration(random, 1_000, 8_000),
    }
}

fn clock_jump(random: &mut StdRng) -> ClockJump {
    const SECONDS_AHEAD: [i64; 6] = [40 * 86_400, 3_600, 120, 10, -120, -86_400];
    ClockJump {
        server: random.random_range(0..API_SERVERS),
        ahead: TimeDelta::seconds(*pick(random, &SECONDS_AHEAD)),
        duration: duration(random, 500, 20_000),
    }
}

fn pick<'a, T>(random: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::clients::create_clients;

    fn first<T>(track: Track<T>) -> Vec<(Duration, T)> {
        track.take(200).collect()
    }

    #[test]
    fn same_seed_has_the_same_faults() {
        let clients = create_clients(20);
        let (schedule, again) = (FaultSchedule::new(7, &clients), FaultSchedule::new(7, &clients));
        assert_eq!(first(schedule.operator()), first(again.operator()));
        assert_eq!(first(schedule.api_server()), first(again.api_server()));
        assert_eq!(first(schedule.auth0()), first(again.auth0()));
        assert_eq!(first(schedule.requests()), first(again.requests()));
        assert_eq!(first(schedule.tampering()), first(again.tampering()));
        assert_eq!(first(schedule.fights()), first(again.fights()));
        assert_eq!(first(schedule.clock_jumps()), first(again.clock_jumps()));
        assert_eq!(schedule.rotation_intervals(), again.rotation_intervals());
        assert_eq!(schedule.lags(), again.lags());
        assert_ne!(first(schedule.operator()), first(FaultSchedule::new(8, &clients).operator()));
    }

    #[test]
    fn hour_has_enough_kills() {
        let schedule = FaultSchedule::new(1, &create_clients(50));
        let (mut time, mut kills) = (Duration::ZERO, 0);
        for (delay, fault) in schedule.operator() {
            time += delay + Duration::from_millis(100);
            time += match fault {
                OperatorFault::Kill { down } => down,
                OperatorFault::Pause { paused, overlap, .. } => paused + overlap,
            };
            if time > Duration::from_secs(3_600) {
                break;
            }
            kills += 1;
        }
        assert!(kills >= 550, "{kills}");
    }

    #[test]
    fn plain_clients_are_not_tampered_with() {
        let clients = create_clients(20);
        for (_, fault) in FaultSchedule::new(3, &clients).tampering().take(500) {
            let Tampering { client, action } = fault.unwrap();
            let group = match action {
                TamperAction::RotateInDashboard => Group::Drift,
                TamperAction::DeleteSecret | TamperAction::EditSecret => Group::Tampered,
                TamperAction::RemoveStatus => Group::Wiped,
            };
            assert_eq!(clients[client].group, group);
        }
        assert!(FaultSchedule::new(3, &create_clients(1)).tampering().next().unwrap().1.is_none());
    }

    #[test]
    fn every_kind_of_fault_occurs() {
        let faults = FaultSchedule::new(5, &create_clients(2)).auth0().take(2_000);
        let kinds: BTreeSet<_> = faults
            .map(|(_, fault)| match fault {
                Auth0Fault::Injected(fault) => fault.action.name(),
                Auth0Fault::LostThenRejected => "lost_then_rejected",
            })
            .collect();
        assert_eq!(kinds.len(), 17, "{kinds:?}");
    }

    #[test]
    fn only_tampered_clients_have_values_rewritten() {
        let clients = create_clients(20);
        let fights: Vec<_> = FaultSchedule::new(4, &clients).fights().take(500).collect();
        for (_, fight) in &fights {
            let is_tampered = clients[fight.client].group == Group::Tampered;
            assert_eq!(fight.rewrite == Rewrite::Values, is_tampered);
        }
        assert!(fights.iter().any(|(_, fight)| fight.rewrite == Rewrite::Values));
        assert!(fights.iter().any(|(_, fight)| clients[fight.client].group == Group::Plain));
    }
}
