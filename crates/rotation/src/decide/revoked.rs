//! The compromised secret after `revoke`: the operator asks Auth0 about it until it is rejected.
//!
//! The value is not published anymore, so only the memory of the process that removed it has it. A
//! restart ends the probes, which the condition says. The probes get rarer, and end after a few.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Evaluation, NextStep};
use crate::{
    condition::{ConditionStatus, condition_types, find_condition},
    decision::Step,
    observation::RevokedSecret,
    reason::Reason,
    status::ControlResult,
};

/// How often a revoked secret is probed.
const MAX_PROBES: u32 = 12;

impl Evaluation<'_> {
    /// Probes the revoked secret when there is nothing else to do.
    pub(super) fn probe_revoked(&self, next: NextStep) -> NextStep {
        if next.step != Step::Wait || self.observed.is_deleting {
            return next;
        }
        match self.next_revoked_probe() {
            None => next,
            Some(at) if at <= self.now => Step::ProbeRevoked.into(),
            Some(at) => NextStep { wake: next.wake.into_iter().chain([at]).min(), ..next },
        }
    }

    fn next_revoked_probe(&self) -> Option<DateTime<Utc>> {
        let revoked = self.observed.revoked?;
        let is_over = revoked.is_accepted == Some(false) || revoked.probes >= MAX_PROBES;
        // Where any value is accepted, a probe would show nothing.
        if is_over || self.control() != Some(ControlResult::Rejected) {
            return None;
        }
        let Some(probed_at) = revoked.probed_at else { return Some(self.now) };
        let window = self.propagation_window();
        let shortest = (window / 15).max(TimeDelta::milliseconds(10));
        let elapsed = probed_at - revoked.removed_at;
        Some(probed_at + elapsed.clamp(shortest, shortest.max(window * 10)))
    }

    pub(super) fn set_revoked_secret_rejected(&mut self) {
        let type_ = condition_types::REVOKED_SECRET_REJECTED;
        let Some(revoked) = self.observed.revoked else {
            let known = find_condition(&self.status.conditions, type_);
            if known.is_some_and(|known| known.status == ConditionStatus::Unknown) {
                let message = "the operator restarted before it saw Auth0 reject the revoked \
                               secret, which only its memory had; Auth0 documents that a replaced \
                               secret is rejected after 30 seconds";
                self.set(type_, ConditionStatus::Unknown, Reason::ProbeInconclusive, message);
            }
            return;
        };
        let number = revoked.number;
        match revoked.is_accepted {
            Some(false) => {
                let message = format!("Auth0 rejects secret {number}, which was revoked");
                self.set(type_, true, Reason::RevokedSecretRejected, &message);
            }
            Some(true) if self.should_be_rejected(&revoked) => {
                let message = format!(
                    "Auth0 still accepts secret {number}, which was revoked, although its \
                     propagation window is over. Look for its use in the tenant log, and replace \
                     the secret again with the annotation auth0-rotator.dev/request: revoke/<any \
                     text>"
                );
                self.set(type_, false, Reason::RevokedSecretAccepted, &message);
            }
            _ if self.next_revoked_probe().is_some() => {
                let message = format!("probing secret {number}, until Auth0 rejects it");
                self.set(type_, ConditionStatus::Unknown, Reason::Probing, &message);
            }
            _ => {
                let message = format!(
                    "no probe shows whether Auth0 rejects secret {number}, which was revoked; Auth0 \
                     documents that a replaced secret is rejected after 30 seconds"
                );
                self.set(type_, ConditionStatus::Unknown, Reason::ProbeInconclusive, &message);
            }
        }
    }

    fn should_be_rejected(&self, revoked: &RevokedSecret) -> bool {
        let window_end = revoked.removed_at + self.propagation_window();
        revoked.probed_at.is_some_and(|probed_at| probed_at >= window_end)
    }
}
