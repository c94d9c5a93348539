//! Another party keeps changing the target Secret or the resource.

use chrono::TimeDelta;
use rotation::{Phase, Purpose, Reason, Strategy, TargetHoldOff, condition_types};

use crate::simulation::{Simulation, value};

fn hold_off(sim: &Simulation, affects_values: bool) -> TargetHoldOff {
    TargetHoldOff {
        until: sim.now + TimeDelta::days(1),
        ends: sim.now + TimeDelta::days(2),
        affects_values,
        changed_by: "the field manager \"fighter\" keeps changing the label x".into(),
    }
}

/// Returns an imported client whose Secret another party changes in each write, without harm.
fn normalized(strategy: Strategy) -> Simulation {
    let mut sim = Simulation::imported().with_strategy(strategy);
    sim.is_in_sync = false;
    sim.is_normalized = true;
    sim.target_hold_off = Some(hold_off(&sim, false));
    sim
}

#[test]
fn cosmetic_difference_blocks_no_rotation_and_no_request() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        let mut sim = normalized(strategy);
        sim.request("rotate/now");
        sim.run_for(10_000);
        sim.assert_complete();
        sim.request("revoke/now");
        sim.run_for(1_000);
        sim.assert_complete();
        assert_eq!(sim.secret_history.len(), 3);
        assert!(!sim.publications.contains(&Purpose::Render), "{:?}", sim.publications);
        assert!(sim.is_ready());
        assert_eq!(sim.reason(condition_types::IN_SYNC), Reason::TargetContested);
    }
}

#[test]
fn rollback_and_abort_work_despite_a_cosmetic_difference() {
    let mut sim = normalized(Strategy::Staged);
    sim.request("rotate/now");
    sim.settle();
    assert_eq!(sim.phase(), Some(Phase::Staging));
    sim.request("abort/now");
    sim.settle();
    sim.assert_complete();
    sim.request("rotate/again");
    sim.run_for(300);
    assert_eq!(sim.phase(), Some(Phase::Grace));
    sim.request("rollback/now");
    sim.run_for(10_000);
    assert_eq!(sim.published().current.symbol, 1);
    sim.assert_complete();
}

#[test]
fn damaged_target_is_restored_after_the_hold_off() {
    let mut sim = Simulation::imported();
    sim.target.as_mut().unwrap().current = value(1, 1001);
    sim.target.as_mut().unwrap().tampered = true;
    let held = hold_off(&sim, true);
    let wake = held.until;
    sim.target_hold_off = Some(held);
    assert_eq!(sim.settle(), Some(wake));
    assert!(sim.published().tampered && !sim.is_ready());
    assert_eq!(sim.reason(condition_types::READY), Reason::TargetContested);
    sim.now = wake;
    sim.settle();
    assert_eq!(sim.published().current, value(1, 1));
    assert!(!sim.is_ready(), "the contest is not over");
    sim.target_hold_off = None;
    sim.settle();
    assert!(sim.is_ready());
    assert_eq!(sim.reason(condition_types::IN_SYNC), Reason::InSync);
}

/// The values that a rotation publishes overwrite the change.
#[test]
fn request_replaces_a_secret_whose_target_is_held_off() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        for secrets_readable in [true, false] {
            let mut sim = Simulation::imported().with_strategy(strategy);
            sim.secrets_readable = secrets_readable;
            sim.target.as_mut().unwrap().current = value(1, 1001);
            sim.target.as_mut().unwrap().tampered = true;
            sim.target_hold_off = Some(hold_off(&sim, true));
            sim.request("revoke/now");
            sim.run_for(1_000);
            sim.assert_complete();
            assert_eq!(sim.secret_history.len(), 2, "{strategy:?}, {secrets_readable}");
        }
    }
}

/// The previous value must not stay for as long as another party damages the Secret.
#[test]
fn grace_period_ends_while_the_target_is_held_off() {
    let mut sim = Simulation::imported();
    sim.request("rotate/now");
    sim.run_for(60);
    assert_eq!(sim.phase(), Some(Phase::Grace));
    sim.target.as_mut().unwrap().current = value(2, 1001);
    sim.target.as_mut().unwrap().tampered = true;
    sim.target_hold_off = Some(hold_off(&sim, true));
    sim.run_for(4_000);
    assert!(sim.status.rotation.is_none(), "{:?}", sim.status);
    sim.request("rotate/again");
    sim.run_for(60);
    assert_eq!(sim.secret_history.len(), 3);
    assert_eq!(sim.published().current, value(3, sim.auth0_secret));
}

#[test]
fn rotation_goes_on_without_a_finalizer_that_another_party_removes() {
    let mut sim = Simulation::imported();
    sim.finalizer_contested = true;
    sim.request("rotate/now");
    sim.run_for(10_000);
    sim.assert_complete();
    assert!(!sim.has_finalizer);
}
