//! Waits for phases of the rotation of `shop`, and makes short phases last.

use auth0_rotator::api::ClientSecretRotation;
use auth0_simulator::{Action, Fault, Operation, When};
use rotation::Phase;
use testkit::{fixture::Fixture, status};

/// How long the call that activates a secret is delayed, in milliseconds. Shorter than the operator's
/// deadline for a call to Auth0: three fifths of the propagation window, 1.8 s.
const ACTIVATION_DELAY: u64 = 1_500;

/// Waits until the rotation in progress is in a phase.
pub(crate) async fn wait_for_phase(fixture: &Fixture, phase: Phase) {
    let is_in_phase = |resource: &ClientSecretRotation| {
        resource.status.as_ref().and_then(status::phase) == Some(phase)
    };
    fixture.wait_for("shop", &format!("in the phase {phase:?}"), is_in_phase).await;
}

/// A fault that makes a phase last.
pub(crate) struct HeldPhase(Option<u64>);

impl HeldPhase {
    /// Injects a fault without which the next rotation could pass a phase between two polls. Other
    /// phases last as long as the spec says.
    pub(crate) fn inject(fixture: &Fixture, phase: Phase) -> Self {
        let fault = match phase {
            Phase::Activating => {
                let delay = Action::Delay { ms: ACTIVATION_DELAY, when: When::Before };
                Fault::new(delay).on(Operation::UpdateClient)
            }
            Phase::Confirming => {
                let reject_probe = Action::Html { status: 401, when: When::Before };
                Fault::new(reject_probe).on(Operation::Revoke).unlimited()
            }
            _ => return Self(None),
        };
        Self(Some(fixture.simulator.faults().inject(fault).unwrap()))
    }

    /// Removes the fault.
    pub(crate) fn release(self, fixture: &Fixture) {
        if let Some(fault) = self.0 {
            fixture.simulator.faults().remove(fault);
        }
    }
}
