//! Recovery of a status that was lost, or that is older than the target Secret.

use super::{Evaluation, NextStep};
use crate::{
    decision::Step,
    observation::{OwnedTarget, SecretMatch},
    status::{Cause, Outcome, Phase, Rotation, Strategy},
};

impl Evaluation<'_> {
    /// Updates the status from an intact target Secret whose numbers are ahead of it.
    pub(super) fn follow_numbers(&mut self, target: &OwnedTarget) -> Option<NextStep> {
        let current = target.current?;
        if let Some(rotation) = &self.status.rotation {
            if current <= rotation.number {
                return None;
            }
            self.status.end_rotation(Outcome::Superseded, self.event_time);
            return Some(self.adopt_newer(current));
        }
        match self.status.current {
            None => self.adopt_unrecorded(target, current),
            Some(recorded) if current > recorded => Some(self.adopt_newer(current)),
            Some(_) => self.adopt_fallback(target, current),
        }
    }

    /// Adopts a current value that is newer than the status, which was restored from a backup. The
    /// due time in the status may be used up if it has passed.
    fn adopt_newer(&mut self, number: u64) -> NextStep {
        self.reject_ambiguous_request();
        self.use_up_due_time();
        self.start_published(
            number,
            Cause::Recovery,
            "the status was older than the target Secret; the operator updated it",
        );
        Step::StoreStatus.into()
    }

    /// Rejects a pending request that an earlier status, which is lost, may have had as handled.
    pub(super) fn reject_ambiguous_request(&mut self) {
        if self.pending_verb().is_some() {
            self.reject_request(
                "the status was lost or restored, so this request may have been carried out \
                 before; if it was not, request again with another text",
            );
        }
    }

    /// Adopts values without a status: a fresh import, or a status that was lost.
    fn adopt_unrecorded(&mut self, target: &OwnedTarget, current: u64) -> Option<NextStep> {
        match self.read_client() {
            Err(next) => return Some(next),
            Ok(SecretMatch::Other) => {
                self.status.current = Some(current);
                return Some(self.follow_drift());
            }
            Ok(SecretMatch::Current | SecretMatch::Fallback) => {}
            Ok(SecretMatch::Unreadable | SecretMatch::Unpublishable) => {
                match self.probe_current() {
                    Err(next) => return Some(next),
                    Ok(Some(true)) => {}
                    Ok(Some(false) | None) => {
                        self.status.current = Some(current);
                        self.start_published(
                        current,
                        Cause::Recovery,
                        "rotation state was lost while Auth0 was not seen to accept the published \
                         secret",
                    );
                        return Some(Step::StoreStatus.into());
                    }
                }
            }
        }
        self.status.current = Some(current);
        self.status.last_rotation_time = Some(self.now);
        self.restart_interval();
        self.adopt_fallback(target, current).or(Some(Step::StoreStatus.into()))
    }

    /// Adopts a fallback that belongs to no recorded rotation, because its state was lost.
    fn adopt_fallback(&mut self, target: &OwnedTarget, current: u64) -> Option<NextStep> {
        let fallback = target.fallback?;
        if fallback < current {
            self.status.previous = Some(fallback);
            self.start_published(
                current,
                Cause::Recovery,
                "rotation state was lost; the grace period was restarted",
            );
        } else {
            self.adopt_next(fallback);
        }
        Some(Step::StoreStatus.into())
    }

    /// Adopts a value that was published as the next one and may be set at Auth0. Setting it again
    /// is safe; withdrawing it is not.
    fn adopt_next(&mut self, number: u64) {
        self.reject_ambiguous_request();
        let mut rotation =
            Rotation::new(number, Cause::Recovery, Strategy::Staged, self.event_time);
        rotation.attempts = 1;
        rotation.phase = Phase::Staging;
        rotation.staged_at = Some(self.event_time);
        rotation.activating_at = Some(self.event_time);
        rotation.unresolved_since = Some(self.event_time);
        rotation.message = Some("rotation state was lost; resumed from the target Secret".into());
        self.status.rotation = Some(rotation);
        self.status.unanswered_until = Some(self.now + self.propagation_window());
    }
}
