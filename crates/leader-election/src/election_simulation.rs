//! Simulated elections among replicas whose clocks run at different rates, whose requests are slow
//! or lost, and which are paused and killed.

use proptest::prelude::*;

use crate::{
    boot_instant::BootInstant,
    election::{Election, LeaseRecord, Step, WriteOutcome},
    election_tests::{at, config, new_election, record},
};

/// Resolution of the simulated time, in milliseconds.
const TICK: u64 = 10;
/// Milliseconds with faults.
const WITH_FAULTS: u64 = 90_000;
/// Milliseconds in total; the last ones are without faults.
const TOTAL: u64 = 120_000;

/// Pseudorandom number generator (splitmix64).
struct Random(u64);

impl Random {
    /// Returns a number from 0 to `bound`, exclusive.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A replica with its own clock, which restarts after it has stopped.
struct Replica {
    election: Election,
    identity: String,
    clock_offset: u64,
    /// How far its clock advances per second, in milliseconds.
    clock_rate: u64,
    paused_until: u64,
    down_until: u64,
    request: Option<Request>,
    /// Lease as it was read or written last.
    last: Option<LeaseRecord>,
    terms: u64,
}

/// A request in flight.
struct Request {
    step: Step,
    /// Lease that a write goes over.
    last: Option<LeaseRecord>,
    sent: BootInstant,
    /// When the server executes it; `None` if it is lost on the way, or was executed already.
    executed_at: Option<u64>,
    /// When the response arrives, if it does.
    responded_at: Option<u64>,
    response: Option<Response>,
}

enum Response {
    Read(Option<LeaseRecord>),
    Written(WriteOutcome),
}

impl Replica {
    fn new(number: u64, random: &mut Random) -> Self {
        let clock_offset = random.below(10_000_000);
        let mut replica = Self {
            election: new_election(),
            identity: number.to_string(),
            clock_offset,
            clock_rate: 850 + random.below(301),
            paused_until: 0,
            down_until: 0,
            request: None,
            last: None,
            terms: 0,
        };
        replica.restart(0);
        replica
    }

    fn clock(&self, time: u64) -> BootInstant {
        at(self.clock_offset + time * self.clock_rate / 1000)
    }

    /// Starts a new process, which has another identity.
    fn restart(&mut self, time: u64) {
        self.identity.push('+');
        self.election = Election::new(self.identity.clone(), config(), self.clock(time));
        self.request = None;
        self.last = None;
    }

    /// Whether a write of this replica would pass its fence, including immediately after a pause.
    fn may_act(&self, time: u64) -> bool {
        time >= self.down_until
            && self.election.may_act_until().is_some_and(|until| self.clock(time) < until)
    }

    /// Advances the replica to `time`. Returns a request for whose response it no longer waits.
    fn tick(&mut self, time: u64, random: &mut Random, with_faults: bool) -> Option<Request> {
        if time < self.paused_until || time < self.down_until {
            return None;
        }
        let now = self.clock(time);
        if let Some(request) = self.request.take() {
            let timeout = request.sent.saturating_add(config().renew_interval());
            if request.responded_at.is_some_and(|responded_at| responded_at <= time) {
                self.handle_response(request, now);
                return None;
            }
            if now >= timeout {
                self.election.record_failure(now);
                return Some(request);
            }
            self.request = Some(request);
            return None;
        }
        match self.election.next_step(now) {
            Step::Wait(_) => {}
            Step::Stop(_) => {
                self.down_until = time + 500;
                self.restart(self.down_until);
            }
            step => {
                let mut request = Request::new(step, self.last.clone(), now);
                request.schedule(time, random, with_faults);
                self.request = Some(request);
            }
        }
        None
    }

    fn handle_response(&mut self, request: Request, now: BootInstant) {
        match request.response {
            Some(Response::Read(record)) => {
                self.last = record.clone();
                self.election.record_read(record, now);
            }
            Some(Response::Written(outcome)) => {
                if let WriteOutcome::Stored(record) = &outcome {
                    self.last = Some(record.clone());
                    self.terms += u64::from(!self.election.is_leader());
                }
                self.election.record_write(outcome, request.sent, now);
            }
            None => unreachable!("the server executes a request before it responds"),
        }
    }
}

impl Request {
    fn new(step: Step, last: Option<LeaseRecord>, sent: BootInstant) -> Self {
        Self { step, last, sent, executed_at: None, responded_at: None, response: None }
    }

    /// Draws how long the request and its response take, or whether they are lost.
    fn schedule(&mut self, time: u64, random: &mut Random, with_faults: bool) {
        let (there, back) = match random.below(10) {
            0 if with_faults => (Some(random.below(20_000)), None),
            1 if with_faults => (None, None),
            2 | 3 if with_faults => (Some(random.below(2_000)), Some(random.below(2_000))),
            _ => (Some(random.below(30)), Some(random.below(30))),
        };
        self.executed_at = there.map(|there| time + there);
        self.responded_at =
            self.executed_at.zip(back).map(|(executed_at, back)| executed_at + back + 2 * TICK);
    }

    /// Whether the server executes the request by `time`.
    fn is_due(&self, time: u64) -> bool {
        self.executed_at.is_some_and(|executed_at| executed_at <= time)
    }
}

/// The API server: one object, written by compare-and-swap.
#[derive(Default)]
struct Server {
    lease: Option<LeaseRecord>,
    version: u64,
}

impl Server {
    fn execute(&mut self, request: &mut Request, identity: &str) {
        let current_version = self.lease.as_ref().map(|lease| &lease.version);
        let is_unchanged = match request.step {
            Step::Create => self.lease.is_none(),
            _ => current_version == request.last.as_ref().map(|last| &last.version),
        };
        request.response = Some(match request.step {
            Step::Read => Response::Read(self.lease.clone()),
            _ if !is_unchanged => Response::Written(WriteOutcome::Conflict),
            _ => {
                self.version += 1;
                let lease = record(self.version, Some(identity));
                self.lease = Some(lease.clone());
                Response::Written(WriteOutcome::Stored(lease))
            }
        });
        request.executed_at = None;
    }
}

struct Simulation {
    random: Random,
    replicas: Vec<Replica>,
    server: Server,
    /// Requests for whose responses no replica waits any longer, with the identity of the sender.
    abandoned: Vec<(String, Request)>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let replicas = (0..3).map(|number| Replica::new(number, &mut random)).collect();
        Self { random, replicas, server: Server::default(), abandoned: Vec::new() }
    }

    fn tick(&mut self, time: u64, with_faults: bool) {
        let random = &mut self.random;
        for replica in &mut self.replicas {
            if with_faults && random.below(2_000) == 0 {
                replica.paused_until = time + random.below(25_000);
            }
            if with_faults && random.below(3_000) == 0 {
                replica.down_until = time + random.below(5_000);
                let request = replica.request.take();
                let identity = replica.identity.clone();
                self.abandoned.extend(request.map(|request| (identity, request)));
                replica.restart(replica.down_until);
            }
            let identity = replica.identity.clone();
            let request = replica.tick(time, random, with_faults);
            self.abandoned.extend(request.map(|request| (identity, request)));
        }
        for replica in &mut self.replicas {
            if let Some(request) = &mut replica.request
                && request.is_due(time)
            {
                self.server.execute(request, &replica.identity);
            }
        }
        for (identity, request) in &mut self.abandoned {
            if request.is_due(time) {
                self.server.execute(request, identity);
            }
        }
    }

    /// Returns how many replicas may act.
    fn acting(&self, time: u64) -> usize {
        self.replicas.iter().filter(|replica| replica.may_act(time)).count()
    }
}

/// Simulates an election with faults, then without, and returns how many terms there were.
fn simulate(seed: u64) -> Result<u64, TestCaseError> {
    let mut simulation = Simulation::new(seed);
    let mut time = 0;
    while time < TOTAL {
        simulation.tick(time, time < WITH_FAULTS);
        let acting = simulation.acting(time);
        prop_assert!(acting <= 1, "{acting} replicas may act at {time} ms");
        time += TICK;
    }
    prop_assert_eq!(simulation.acting(TOTAL), 1, "no replica leads although there are no faults");
    Ok(simulation.replicas.iter().map(|replica| replica.terms).sum())
}

proptest! {
    #[test]
    fn at_most_one_replica_may_act_and_one_does_in_the_end(seed: u64) {
        simulate(seed)?;
    }
}

#[test]
fn the_lease_changes_hands_in_simulated_elections() {
    let terms: u64 = (0..20).map(|seed| simulate(seed).unwrap()).sum();
    assert!(terms > 60, "{terms} terms in 20 elections");
}
