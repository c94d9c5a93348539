//! What the conditions say once it is clear what happens next.

use super::{Next, Pass};
use crate::{
    condition::{self, Condition, ConditionStatus, condition_types, set_condition},
    decision::{Decision, Step},
    observation::{Rollout, RolloutState, Target, UnreachedPods},
    reason::Reason,
    status::{Phase, Rotation, Status},
    trouble::{ErrorClass, Failure},
};

impl Pass<'_> {
    pub(super) fn conclude(mut self, next: Next) -> Decision {
        // While there is more to do in this pass, conditions stay: they speak of what is at rest.
        if next.step == Step::Wait {
            self.say_ready();
            self.say_stalled();
            self.say_reconciling();
            self.say_consumers();
            self.say_signing();
        } else if self.status.rotation != self.seen.status.rotation {
            self.say_reconciling();
            self.say_consumers();
            self.say_signing();
        }
        Decision { status: self.status, step: next.step, wake: next.wake }
    }

    pub(super) fn conclude_failed(mut self, trouble: &Failure) -> Status {
        let (reason, message) = (trouble.reason, trouble.message.as_str());
        match trouble.class {
            ErrorClass::Conflict => return self.status,
            ErrorClass::Retry | ErrorClass::Throttled { .. } => {
                self.say(condition_types::RECONCILING, true, reason, message);
                self.say(condition_types::STALLED, false, Reason::Progressing, "");
            }
            ErrorClass::Invalid | ErrorClass::Fatal => {
                self.say(condition_types::STALLED, true, reason, message);
                self.say(condition_types::RECONCILING, false, reason, message);
            }
        }
        // What consumers have is as good as it was, unless it is gone.
        let known =
            condition::find_condition(&self.status.conditions, condition_types::READY).is_some();
        let unread = self.seen.target == Target::Unknown;
        if !known || !(unread || self.is_published()) {
            self.say(condition_types::READY, false, reason, message);
        }
        self.status
    }

    fn is_published(&self) -> bool {
        match &self.seen.target {
            Target::Owned(held) => held.has_current && self.status.current.is_some(),
            Target::Absent | Target::Unknown | Target::Rejected(_) => false,
        }
    }

    fn say(
        &mut self,
        kind: &str,
        status: impl Into<ConditionStatus>,
        reason: Reason,
        message: &str,
    ) {
        let generation = self.status.observed_generation;
        let condition = Condition::new(kind, status, reason, message, generation, self.now);
        set_condition(&mut self.status.conditions, condition);
    }

    fn say_ready(&mut self) {
        if self.unconfirmed {
            self.say(
                condition_types::READY,
                false,
                Reason::NotConfirmed,
                "Auth0 still refuses the published secret although its propagation window is over; \
                 the previous secret is kept and Auth0 is asked again; look at the tenant's log, or go \
                 back to the previous secret by annotating this resource with \
                 auth0-rotator.dev/request: rollback/<any text>",
            );
        } else if self.is_published() && !self.unpublished {
            self.say(
                condition_types::READY,
                true,
                Reason::Published,
                "the target Secret holds the client's secret",
            );
        } else if let Some(refusal) = self.stalled.clone() {
            self.say(condition_types::READY, false, refusal.reason, &refusal.message);
        } else {
            self.say(
                condition_types::READY,
                false,
                Reason::NotPublished,
                "the target Secret holds no secret yet",
            );
        }
    }

    fn say_stalled(&mut self) {
        match self.stalled.clone() {
            Some(refusal) => {
                self.say(condition_types::STALLED, true, refusal.reason, &refusal.message)
            }
            None => self.say(condition_types::STALLED, false, Reason::Progressing, ""),
        }
    }

    /// Pods that will never see what is published are named when a rotation starts.
    fn say_consumers(&mut self) {
        let impossible = |rollout: &Rollout| match &rollout.state {
            RolloutState::Blocked(why) => Some(format!("{} ({why})", rollout.name)),
            _ => None,
        };
        let rollouts = self.seen.rollouts.iter().flatten();
        let impossible: Vec<String> = rollouts.filter_map(impossible).collect();
        if !impossible.is_empty() {
            let message = format!(
                "these consumers can't be restarted: {}; correct spec.consumers.restart, or let the \
                 operator patch them",
                impossible.join(", ")
            );
            self.say(condition_types::CONSUMERS_REACHED, false, Reason::RestartBlocked, &message);
            return;
        }
        match self.seen.unreached_pods.clone() {
            UnreachedPods::NotChecked => {}
            UnreachedPods::Pods(pods) if pods.is_empty() => {
                self.say(condition_types::CONSUMERS_REACHED, true, Reason::Reached, "");
            }
            UnreachedPods::Pods(pods) => {
                let message = format!(
                    "these pods take the target Secret through environment variables or subPath, which \
                     are never updated: {}; mount it as a volume, or name their workload in \
                     spec.consumers.restart",
                    pods.join(", ")
                );
                self.say(
                    condition_types::CONSUMERS_REACHED,
                    false,
                    Reason::PodsNeverUpdated,
                    &message,
                );
            }
            UnreachedPods::Unknown(why) => {
                self.say(
                    condition_types::CONSUMERS_REACHED,
                    ConditionStatus::Unknown,
                    Reason::PodsNotListed,
                    &why,
                );
            }
        }
    }

    /// Auth0's documentation, "Signing Algorithms": HS256 takes the client secret as its key.
    fn say_signing(&mut self) {
        let known =
            condition::find_condition(&self.status.conditions, condition_types::SIGNS_WITH_SECRET)
                .is_some();
        match self.seen.signs_with_secret {
            Some(true) => self.say(
                condition_types::SIGNS_WITH_SECRET,
                true,
                Reason::HS256,
                "the client signs ID tokens with its secret (HS256): an application that validates \
                 them needs the new secret as soon as Auth0 has it; switch the client to RS256 in \
                 Auth0",
            ),
            Some(false) if known => {
                self.say(condition_types::SIGNS_WITH_SECRET, false, Reason::OtherAlgorithm, "")
            }
            Some(false) | None => {}
        }
    }

    fn say_reconciling(&mut self) {
        match &self.status.rotation {
            _ if self.stalled.is_some() => {
                self.say(condition_types::RECONCILING, false, Reason::Stalled, "")
            }
            Some(rotation) => {
                let (reason, message) = progress(rotation);
                self.say(condition_types::RECONCILING, true, reason, &message);
            }
            None if self.policy.terms.suspend => {
                self.say(
                    condition_types::RECONCILING,
                    false,
                    Reason::Suspended,
                    "spec.suspend is true: no rotation is started",
                );
            }
            None => self.say(condition_types::RECONCILING, false, Reason::Idle, ""),
        }
    }
}

fn progress(rotation: &Rotation) -> (Reason, String) {
    let (reason, what) = match rotation.phase {
        Phase::Started => (Reason::Started, "started"),
        Phase::Staging => {
            (Reason::Staging, "the next secret is published; consumers are given time to see it")
        }
        Phase::Activating => (Reason::Activating, "the secret is being changed at Auth0"),
        Phase::Confirming => {
            (Reason::Confirming, "the new secret is published; waiting until Auth0 accepts it")
        }
        Phase::Withdrawing => (Reason::Withdrawing, "the next secret is withdrawn"),
        Phase::Grace => {
            (Reason::Grace, "Auth0 accepts the new secret; the previous one is kept as a fallback")
        }
    };
    (reason, format!("rotation {}: {what}", rotation.number))
}
