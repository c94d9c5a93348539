//! Tables of single decisions, and elections among replicas whose clocks differ, whose calls are
//! slow or lost, and which are stopped and killed.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    clock::BootInstant,
    election::{Election, Loss, Record, Step, Written},
    terms::LeaderElectionConfig,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(milliseconds: u64) -> BootInstant {
    BootInstant(Duration::from_millis(milliseconds))
}

fn terms() -> LeaderElectionConfig {
    LeaderElectionConfig::new(seconds(12), seconds(8), seconds(1)).unwrap()
}

fn one() -> Election {
    Election::new("one".into(), terms(), at(0))
}

fn record(version: u64, holder: Option<&str>) -> Record {
    Record {
        version: version.to_string(),
        holder: holder.map(str::to_owned),
        duration: Some(seconds(12)),
        transitions: 3,
    }
}

/// One that holds the Lease in version 1 since it was asked for at `sent` milliseconds.
fn leader(sent: u64) -> Election {
    let mut election = one();
    election.was_read(Some(record(0, None)), at(sent));
    assert_eq!(election.step(at(sent)), Step::Write { transitions: 4, takes: true });
    election.was_written(Written::Stored(record(1, Some("one"))), at(sent), at(sent + 500));
    election
}

#[test]
fn it_reads_first() {
    assert_eq!(one().step(at(0)), Step::Read);
}

#[test]
fn a_lease_that_never_was_is_created() {
    let mut election = one();
    election.was_read(None, at(10));
    assert_eq!(election.step(at(10)), Step::Create);
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut election = one();
    election.was_read(Some(record(1, None)), at(10));
    assert_eq!(election.step(at(10)), Step::Write { transitions: 4, takes: true });
}

#[test]
fn a_lease_is_taken_when_it_was_not_seen_to_change_for_its_duration() {
    let mut election = one();
    for now in (0..12_000).step_by(1_000) {
        assert_eq!(election.step(at(now)), Step::Read, "{now}");
        election.was_read(Some(record(7, Some("two"))), at(now));
        assert_eq!(election.step(at(now)), Step::Wait(at(now + 1_000)), "{now}");
    }
    assert_eq!(election.step(at(12_000)), Step::Read);
    election.was_read(Some(record(7, Some("two"))), at(12_000));
    assert_eq!(election.step(at(12_000)), Step::Write { transitions: 4, takes: true });
}

#[test]
fn any_change_of_a_lease_begins_its_time_anew() {
    let mut election = one();
    election.was_read(Some(record(7, Some("two"))), at(0));
    assert_eq!(election.step(at(0)), Step::Wait(at(1_000)));
    election.was_read(Some(record(8, Some("two"))), at(11_900));
    for now in [12_000, 23_800] {
        assert!(matches!(election.step(at(now)), Step::Wait(_) | Step::Read), "{now}");
        election.was_read(Some(record(8, Some("two"))), at(now));
    }
    election.was_read(Some(record(8, Some("two"))), at(23_900));
    assert_eq!(election.step(at(23_900)), Step::Write { transitions: 4, takes: true });
}

#[test]
fn the_duration_that_the_holder_wrote_is_respected() {
    let mut election = one();
    let long = Record { duration: Some(seconds(60)), ..record(7, Some("two")) };
    election.was_read(Some(long.clone()), at(0));
    election.was_read(Some(long.clone()), at(59_999));
    assert_eq!(election.step(at(59_999)), Step::Wait(at(60_000)));
    election.was_read(Some(long), at(60_000));
    assert_eq!(election.step(at(60_000)), Step::Write { transitions: 4, takes: true });
}

#[test]
fn a_lease_that_was_deleted_is_respected_for_its_duration() {
    let mut election = one();
    election.was_read(Some(record(7, Some("two"))), at(0));
    election.was_read(None, at(100));
    assert_eq!(election.step(at(100)), Step::Wait(at(1_100)));
    election.was_read(None, at(12_099));
    assert_eq!(election.step(at(12_099)), Step::Wait(at(12_100)));
    election.was_read(None, at(12_100));
    assert_eq!(election.step(at(12_100)), Step::Create);
}

#[test]
fn a_term_counts_from_before_the_call_that_renewed_it() {
    let mut election = leader(1_000);
    assert_eq!(election.may_act_until(), Some(at(9_000)));
    assert_eq!(election.step(at(1_500)), Step::Wait(at(3_000)));
    assert_eq!(election.step(at(3_000)), Step::Write { transitions: 3, takes: false });
    election.was_written(Written::Stored(record(2, Some("one"))), at(3_000), at(4_999));
    assert_eq!(election.may_act_until(), Some(at(11_000)));
}

#[test]
fn a_leader_whose_writes_fail_tries_again_until_its_deadline() {
    let mut election = leader(0);
    assert_eq!(election.step(at(2_000)), Step::Write { transitions: 3, takes: false });
    election.was_written(Written::Unknown, at(2_000), at(4_000));
    assert_eq!(election.may_act_until(), Some(at(8_000)));
    assert_eq!(election.step(at(4_000)), Step::Wait(at(5_000)));
    assert_eq!(election.step(at(5_000)), Step::Read);
    election.failed(at(7_500));
    assert_eq!(election.step(at(7_500)), Step::Wait(at(8_000)));
    assert_eq!(election.step(at(8_000)), Step::Stop(Loss::Deadline(seconds(8))));
}

#[test]
fn a_write_whose_answer_was_lost_is_found_by_reading() {
    let mut election = leader(0);
    election.was_written(Written::Unknown, at(2_000), at(4_000));
    assert_eq!(election.step(at(5_000)), Step::Read);
    election.was_read(Some(record(2, Some("one"))), at(5_010));
    // It counts from the call whose answer is seen.
    assert_eq!(election.may_act_until(), Some(at(8_000)));
    assert_eq!(election.step(at(5_010)), Step::Write { transitions: 3, takes: false });
}

#[test]
fn a_leader_whose_lease_someone_has_written_to_does_nothing_until_it_is_clear_whose_it_is() {
    let mut election = leader(0);
    election.was_written(Written::Conflict, at(2_000), at(2_010));
    assert_eq!(election.may_act_until(), None);
    assert_eq!(election.step(at(2_200)), Step::Read);
    // Someone has put a label on it.
    election.was_read(Some(record(5, Some("one"))), at(2_210));
    assert_eq!(election.may_act_until(), None);
    assert_eq!(election.step(at(2_210)), Step::Write { transitions: 3, takes: false });
    election.was_written(Written::Stored(record(6, Some("one"))), at(2_210), at(2_220));
    assert_eq!(election.may_act_until(), Some(at(10_210)));
}

#[test]
fn a_leader_stops_when_the_lease_is_not_its_own_any_more() {
    for (lease, loss) in [
        (Some(record(5, Some("two"))), Loss::Taken("two".into())),
        (Some(record(5, None)), Loss::Gone),
        (None, Loss::Gone),
    ] {
        let mut election = leader(0);
        election.was_written(Written::Conflict, at(2_000), at(2_010));
        assert_eq!(election.step(at(2_200)), Step::Read);
        election.was_read(lease, at(2_210));
        assert_eq!(election.step(at(2_210)), Step::Stop(loss));
    }
}

#[test]
fn one_that_may_not_read_the_lease_comes_back_ever_more_rarely() {
    let mut election = one();
    let mut now = 0;
    let waits: Vec<_> = (0..6)
        .map(|_| {
            assert_eq!(election.step(at(now)), Step::Read);
            election.failed(at(now));
            let Step::Wait(until) = election.step(at(now)) else { panic!("it rests") };
            let wait = until.from(at(now));
            now += u64::try_from(wait.as_millis()).unwrap();
            wait
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 8, 8].map(seconds));
}

/// A few random numbers.
struct Dice(u64);

impl Dice {
    /// Between 0 and `below`, without it (splitmix64).
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// A replica with a clock of its own, that is begun anew when it has ended.
struct Replica {
    election: Election,
    name: String,
    offset: u64,
    /// How many thousandths of a second its clock goes on in a millisecond.
    rate: u64,
    stopped_until: u64,
    down_until: u64,
    call: Option<Call>,
    /// What it read or wrote last.
    over: Option<Record>,
    terms_led: u64,
}

/// A call on its way.
struct Call {
    step: Step,
    over: Option<Record>,
    sent: BootInstant,
    /// When it is carried out, if it ever is.
    carried_out: Option<u64>,
    /// When the answer comes, if it ever does.
    answered: Option<u64>,
    answer: Option<Answer>,
}

enum Answer {
    Read(Option<Record>),
    Written(Written),
}

const TICK: u64 = 10;

impl Replica {
    fn new(number: u64, dice: &mut Dice) -> Replica {
        let offset = dice.roll(10_000_000);
        let mut replica = Replica {
            election: one(),
            name: format!("{number}"),
            offset,
            rate: 850 + dice.roll(301),
            stopped_until: 0,
            down_until: 0,
            call: None,
            over: None,
            terms_led: 0,
        };
        replica.begin_anew(0);
        replica
    }

    fn clock(&self, time: u64) -> BootInstant {
        at(self.offset + time * self.rate / 1000)
    }

    fn begin_anew(&mut self, time: u64) {
        self.name.push('+');
        self.election = Election::new(self.name.clone(), terms(), self.clock(time));
        (self.call, self.over) = (None, None);
    }

    /// By what everyone goes who acts: its clock, also right after it was stopped.
    fn may_act(&self, time: u64) -> bool {
        time >= self.down_until
            && self.election.may_act_until().is_some_and(|until| self.clock(time) < until)
    }

    fn tick(&mut self, time: u64, dice: &mut Dice, late: &mut Vec<Call>, faults: bool) {
        if time < self.stopped_until || time < self.down_until {
            return;
        }
        let now = self.clock(time);
        if let Some(call) = self.call.take() {
            let given_up = now >= call.sent.after(terms().renew_interval());
            match (call.answered, given_up) {
                (Some(answered), _) if answered <= time => self.answered(call, now),
                (_, true) => {
                    match call.step {
                        Step::Read => self.election.failed(now),
                        _ => self.election.was_written(Written::Unknown, call.sent, now),
                    }
                    late.push(call);
                }
                _ => self.call = Some(call),
            }
            return;
        }
        match self.election.step(now) {
            Step::Wait(_) => {}
            Step::Stop(_) => {
                self.down_until = time + 500;
                self.begin_anew(self.down_until);
            }
            step => self.call = Some(call(step, self.over.clone(), now, time, dice, faults)),
        }
    }

    fn answered(&mut self, call: Call, now: BootInstant) {
        match call.answer {
            Some(Answer::Read(record)) => {
                self.over = record.clone();
                self.election.was_read(record, now);
            }
            Some(Answer::Written(written)) => {
                if let Written::Stored(record) = &written {
                    self.over = Some(record.clone());
                    self.terms_led += u64::from(!self.election.leads());
                }
                self.election.was_written(written, call.sent, now);
            }
            None => unreachable!("it is carried out before it is answered"),
        }
    }
}

fn call(
    step: Step,
    over: Option<Record>,
    sent: BootInstant,
    time: u64,
    dice: &mut Dice,
    faults: bool,
) -> Call {
    let (there, back) = match dice.roll(10) {
        0 if faults => (Some(dice.roll(20_000)), None),
        1 if faults => (None, None),
        2 | 3 if faults => (Some(dice.roll(2_000)), Some(dice.roll(2_000))),
        _ => (Some(dice.roll(30)), Some(dice.roll(30))),
    };
    let carried_out = there.map(|there| time + there);
    let answered = carried_out.zip(back).map(|(carried_out, back)| carried_out + back + 2 * TICK);
    Call { step, over, sent, carried_out, answered, answer: None }
}

/// The API server: one object, written by compare-and-swap.
#[derive(Default)]
struct Server {
    lease: Option<Record>,
    version: u64,
}

impl Server {
    fn carry_out(&mut self, call: &mut Call, holder: &str) {
        let is_same = match call.step {
            Step::Create => self.lease.is_none(),
            _ => {
                self.lease.as_ref().map(|lease| &lease.version)
                    == call.over.as_ref().map(|over| &over.version)
            }
        };
        call.answer = Some(match call.step {
            Step::Read => Answer::Read(self.lease.clone()),
            _ if !is_same => Answer::Written(Written::Conflict),
            _ => {
                self.version += 1;
                let lease = record(self.version, Some(holder));
                self.lease = Some(lease.clone());
                Answer::Written(Written::Stored(lease))
            }
        });
        call.carried_out = None;
    }
}

/// Runs an election for a while with faults, then for a while without. Gives how often the Lease
/// was taken.
fn elect(seed: u64) -> Result<u64, TestCaseError> {
    let (with_faults, in_all) = (90_000, 120_000);
    let mut dice = Dice(seed);
    let mut replicas: Vec<_> = (0..3).map(|number| Replica::new(number, &mut dice)).collect();
    let mut server = Server::default();
    // Calls that nobody waits for any more, and whose they were.
    let mut late: Vec<(String, Call)> = Vec::new();
    for time in (0..in_all).step_by(usize::try_from(TICK).unwrap_or(1)) {
        let faults = time < with_faults;
        for replica in &mut replicas {
            if faults && dice.roll(2_000) == 0 {
                replica.stopped_until = time + dice.roll(25_000);
            }
            if faults && dice.roll(3_000) == 0 {
                replica.down_until = time + dice.roll(5_000);
                late.extend(replica.call.take().map(|call| (replica.name.clone(), call)));
                replica.begin_anew(replica.down_until);
            }
            let mut given_up = Vec::new();
            replica.tick(time, &mut dice, &mut given_up, faults);
            late.extend(given_up.into_iter().map(|call| (replica.name.clone(), call)));
        }
        let current = replicas
            .iter_mut()
            .filter_map(|replica| Some((replica.name.clone(), replica.call.as_mut()?)));
        let given_up = late.iter_mut().map(|(name, call)| (name.clone(), call));
        for (name, call) in current.chain(given_up) {
            if call.carried_out.is_some_and(|at| at <= time) {
                server.carry_out(call, &name);
            }
        }
        let acting = replicas.iter().filter(|replica| replica.may_act(time)).count();
        prop_assert!(acting <= 1, "{acting} may act at {time} ms");
    }
    let acting = replicas.iter().filter(|replica| replica.may_act(in_all)).count();
    prop_assert_eq!(acting, 1, "nobody leads although all is well");
    Ok(replicas.iter().map(|replica| replica.terms_led).sum())
}

proptest! {
    #[test]
    fn never_may_two_act_at_once_and_in_the_end_one_does(seed: u64) {
        elect(seed)?;
    }
}

#[test]
fn the_lease_changes_hands_in_these_elections() {
    let taken: u64 = (0..20).map(|seed| elect(seed).unwrap()).sum();
    assert!(taken > 60, "it was taken {taken} times in 20 elections");
}
