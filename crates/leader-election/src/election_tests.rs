//! Single decisions of the election.

use std::time::Duration;

use crate::{
    boot_instant::BootInstant,
    config::LeaderElectionConfig,
    election::{Election, LeaseRecord, LossReason, Step, WriteOutcome},
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn at(milliseconds: u64) -> BootInstant {
    BootInstant(Duration::from_millis(milliseconds))
}

pub(crate) fn config() -> LeaderElectionConfig {
    LeaderElectionConfig::new(seconds(12), seconds(8), seconds(1)).unwrap()
}

/// A replica named "one" that has not read the Lease yet.
pub(crate) fn new_election() -> Election {
    Election::new("one".into(), config(), at(0))
}

pub(crate) fn record(version: u64, holder: Option<&str>) -> LeaseRecord {
    LeaseRecord {
        version: version.to_string(),
        holder_identity: holder.map(str::to_owned),
        lease_duration: Some(seconds(12)),
        lease_transitions: 3,
    }
}

fn acquire() -> Step {
    Step::Write { lease_transitions: 4, acquires: true }
}

fn renew() -> Step {
    Step::Write { lease_transitions: 3, acquires: false }
}

/// A leader that acquired the Lease, version 1, by a write that it sent at `sent` milliseconds.
fn leader(sent: u64) -> Election {
    let mut election = new_election();
    election.record_read(Some(record(0, None)), at(sent));
    assert_eq!(election.next_step(at(sent)), acquire());
    election.record_write(WriteOutcome::Stored(record(1, Some("one"))), at(sent), at(sent + 500));
    election
}

#[test]
fn reads_first() {
    assert_eq!(new_election().next_step(at(0)), Step::Read);
}

#[test]
fn creates_a_lease_that_never_existed() {
    let mut election = new_election();
    election.record_read(None, at(10));
    assert_eq!(election.next_step(at(10)), Step::Create);
}

#[test]
fn acquires_a_released_lease_at_once() {
    let mut election = new_election();
    election.record_read(Some(record(1, None)), at(10));
    assert_eq!(election.next_step(at(10)), acquire());
}

#[test]
fn acquires_a_lease_that_did_not_change_for_its_duration() {
    let mut election = new_election();
    for now in (0..12_000).step_by(1_000) {
        assert_eq!(election.next_step(at(now)), Step::Read, "{now}");
        election.record_read(Some(record(7, Some("two"))), at(now));
        assert_eq!(election.next_step(at(now)), Step::Wait(at(now + 1_000)), "{now}");
    }
    assert_eq!(election.next_step(at(12_000)), Step::Read);
    election.record_read(Some(record(7, Some("two"))), at(12_000));
    assert_eq!(election.next_step(at(12_000)), acquire());
}

#[test]
fn any_change_of_a_lease_restarts_its_duration() {
    let mut election = new_election();
    election.record_read(Some(record(7, Some("two"))), at(0));
    assert_eq!(election.next_step(at(0)), Step::Wait(at(1_000)));
    election.record_read(Some(record(8, Some("two"))), at(11_900));
    for now in [12_000, 23_800] {
        assert!(matches!(election.next_step(at(now)), Step::Wait(_) | Step::Read), "{now}");
        election.record_read(Some(record(8, Some("two"))), at(now));
    }
    election.record_read(Some(record(8, Some("two"))), at(23_900));
    assert_eq!(election.next_step(at(23_900)), acquire());
}

#[test]
fn respects_the_lease_duration_of_the_holder() {
    let mut election = new_election();
    let long = LeaseRecord { lease_duration: Some(seconds(60)), ..record(7, Some("two")) };
    election.record_read(Some(long.clone()), at(0));
    election.record_read(Some(long.clone()), at(59_999));
    assert_eq!(election.next_step(at(59_999)), Step::Wait(at(60_000)));
    election.record_read(Some(long), at(60_000));
    assert_eq!(election.next_step(at(60_000)), acquire());
}

#[test]
fn respects_a_deleted_lease_for_its_duration() {
    let mut election = new_election();
    election.record_read(Some(record(7, Some("two"))), at(0));
    election.record_read(None, at(100));
    assert_eq!(election.next_step(at(100)), Step::Wait(at(1_100)));
    election.record_read(None, at(12_099));
    assert_eq!(election.next_step(at(12_099)), Step::Wait(at(12_100)));
    election.record_read(None, at(12_100));
    assert_eq!(election.next_step(at(12_100)), Step::Create);
}

#[test]
fn a_term_starts_when_the_renewal_is_sent() {
    let mut election = leader(1_000);
    assert_eq!(election.may_act_until(), Some(at(9_000)));
    assert_eq!(election.next_step(at(1_500)), Step::Wait(at(3_000)));
    assert_eq!(election.next_step(at(3_000)), renew());
    election.record_write(WriteOutcome::Stored(record(2, Some("one"))), at(3_000), at(4_999));
    assert_eq!(election.may_act_until(), Some(at(11_000)));
}

#[test]
fn a_leader_retries_failed_writes_until_its_deadline() {
    let mut election = leader(0);
    assert_eq!(election.next_step(at(2_000)), renew());
    election.record_failure(at(4_000));
    assert_eq!(election.may_act_until(), Some(at(8_000)));
    assert_eq!(election.next_step(at(4_000)), Step::Wait(at(5_000)));
    assert_eq!(election.next_step(at(5_000)), Step::Read);
    election.record_failure(at(7_500));
    assert_eq!(election.next_step(at(7_500)), Step::Wait(at(8_000)));
    let exceeded = LossReason::DeadlineExceeded(seconds(8));
    assert_eq!(election.next_step(at(8_000)), Step::Stop(exceeded));
}

#[test]
fn finds_a_write_whose_response_was_lost_by_reading() {
    let mut election = leader(0);
    election.record_failure(at(4_000));
    assert_eq!(election.next_step(at(5_000)), Step::Read);
    election.record_read(Some(record(2, Some("one"))), at(5_010));
    // The lost response doesn't extend the term; only the next write does.
    assert_eq!(election.may_act_until(), Some(at(8_000)));
    assert_eq!(election.next_step(at(5_010)), renew());
}

#[test]
fn a_leader_does_not_act_after_a_conflict_until_it_has_written_the_lease_again() {
    let mut election = leader(0);
    election.record_write(WriteOutcome::Conflict, at(2_000), at(2_010));
    assert_eq!(election.may_act_until(), None);
    assert_eq!(election.next_step(at(2_200)), Step::Read);
    // A user has added a label.
    election.record_read(Some(record(5, Some("one"))), at(2_210));
    assert_eq!(election.may_act_until(), None);
    assert_eq!(election.next_step(at(2_210)), renew());
    election.record_write(WriteOutcome::Stored(record(6, Some("one"))), at(2_210), at(2_220));
    assert_eq!(election.may_act_until(), Some(at(10_210)));
}

#[test]
fn a_leader_stops_when_it_no_longer_holds_the_lease() {
    for (lease, reason) in [
        (Some(record(5, Some("two"))), LossReason::Taken("two".into())),
        (Some(record(5, None)), LossReason::Removed),
        (None, LossReason::Removed),
    ] {
        let mut election = leader(0);
        election.record_write(WriteOutcome::Conflict, at(2_000), at(2_010));
        assert_eq!(election.next_step(at(2_200)), Step::Read);
        election.record_read(lease, at(2_210));
        assert_eq!(election.next_step(at(2_210)), Step::Stop(reason));
    }
}

#[test]
fn a_standby_backs_off_when_it_cannot_read_the_lease() {
    let mut election = new_election();
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(election.next_step(at(now)), Step::Read);
        election.record_failure(at(now));
        let Step::Wait(until) = election.next_step(at(now)) else { panic!("must wait") };
        let wait = until.saturating_duration_since(at(now));
        now += u64::try_from(wait.as_millis()).unwrap();
        waits.push(wait);
    }
    assert_eq!(waits, [1, 2, 4, 8, 8, 8].map(seconds));
}
