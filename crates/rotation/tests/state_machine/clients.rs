//! Clients that must not be rotated, and changes that Auth0 rejects.

use rotation::{
    ConditionStatus, Outcome, Phase, Reason, Rejection, Strategy, condition_types, find_condition,
    is_condition_true,
};

use crate::simulation::{Fault, Simulation, value};

const FORBIDDEN: [Reason; 5] = [
    Reason::PublicClient,
    Reason::ClientUsesKeys,
    Reason::GlobalClient,
    Reason::MetadataDocumentClient,
    Reason::ClientNotFound,
];

fn forbid(sim: &mut Simulation, reason: Reason) {
    sim.client_rejection = Some(Rejection::new(reason, "delete this resource"));
}

fn reported(sim: &Simulation) -> Option<(ConditionStatus, String)> {
    let type_ = condition_types::CLIENT_ROTATABLE;
    let condition = find_condition(&sim.status.conditions, type_)?;
    Some((condition.status, condition.reason.clone()))
}

fn assert_reported(sim: &Simulation, reason: Reason) {
    let expected = (ConditionStatus::False, reason.to_string());
    assert_eq!(reported(sim), Some(expected), "{:?}", sim.status);
    assert!(!sim.is_ready() && is_stalled(sim), "{:?}", sim.status);
}

fn is_stalled(sim: &Simulation) -> bool {
    is_condition_true(&sim.status.conditions, condition_types::STALLED)
}

#[test]
fn client_that_becomes_unsuitable_holds_the_schedule_until_it_is_suitable_again() {
    for strategy in [Strategy::Rotate, Strategy::Staged] {
        for reason in FORBIDDEN {
            let mut sim = Simulation::imported().with_strategy(strategy).every(7200);
            sim.drift_suspected = true;
            forbid(&mut sim, reason);
            sim.settle();
            assert_reported(&sim, reason);
            // No list has shown the client since.
            sim.drift_suspected = false;
            sim.request("rotate/now");
            sim.run_for(20_000);
            assert_reported(&sim, reason);
            assert_eq!((sim.secret_history.len(), sim.phase()), (1, None), "{reason}");

            sim.client_rejection = None;
            sim.run_for(6000);
            assert_eq!(reported(&sim).unwrap().0, ConditionStatus::True);
            assert!(sim.is_ready() && !is_stalled(&sim), "{:?}", sim.status);
            assert!(sim.secret_history.len() > 1, "the request was carried out");
        }
    }
}

#[test]
fn staged_secret_is_withdrawn_if_the_client_became_unsuitable() {
    for reason in FORBIDDEN {
        let mut sim = Simulation::imported().with_strategy(Strategy::Staged);
        sim.request("rotate/now");
        sim.settle();
        assert_eq!(sim.phase(), Some(Phase::Staging));
        forbid(&mut sim, reason);
        sim.run_for(4000);
        assert_reported(&sim, reason);
        assert_eq!(sim.secret_history, [1], "nothing changed at Auth0");
        let target = sim.published();
        assert_eq!((target.current, target.fallback), (value(1, 1), None));
        let entry = &sim.status.history[0];
        assert_eq!(
            (entry.outcome, entry.message.as_str()),
            (Outcome::Rejected, "delete this resource")
        );
    }
}

#[test]
fn rejected_rotate_secret_ends_the_rotation_and_is_reported_until_a_change_succeeds() {
    let mut sim = Simulation::imported();
    sim.secrets_readable = false;
    sim.request("rotate/now");
    for effect in 1..20 {
        let mut sim = sim.clone();
        sim.fail_effect(effect, Fault::ChangeRejected);
        sim.run_for(5000);
        if sim.rotate_calls == 0 || sim.status.history[0].outcome != Outcome::Rejected {
            continue;
        }
        let expected = (ConditionStatus::False, Reason::ChangeRejected.to_string());
        assert_eq!(reported(&sim), Some(expected));
        assert!(sim.is_ready() && !is_stalled(&sim) && !sim.has_finalizer);
        assert_eq!((sim.rotate_calls, sim.secret_history.len()), (1, 1));
        sim.request("rotate/again");
        sim.run_for(5000);
        assert_eq!(reported(&sim).unwrap().0, ConditionStatus::True);
        assert_eq!(sim.secret_history.len(), 2);
        return;
    }
    panic!("no effect is the call of rotate-secret");
}
