//! Values of a target Secret that another party edited, or that is older than the status: those that
//! the operator wrote are still reliable.

use super::Evaluation;
use crate::{
    decision::{NumberedValue, ValueSource},
    observation::{SecretMatch, Target},
    status::{Phase, Status},
};

impl Evaluation<'_> {
    /// Returns the values of the target Secret that the operator wrote, with their numbers. A number
    /// that another party removed follows from the status.
    pub(super) fn known_values(&self) -> impl Iterator<Item = NumberedValue> + use<> {
        let (current, fallback) = match &self.observed.target {
            Target::Owned(target) => {
                let [first, second] = self.expected_numbers();
                let infer = |expected: Option<u64>, spare: Option<u64>, other: Option<u64>| {
                    if expected == other { spare } else { expected }
                };
                let current = target.current.or_else(|| infer(first, second, target.fallback));
                let fallback = target.fallback.or_else(|| infer(second, first, current));
                (
                    current.filter(|_| target.current_is_ours),
                    fallback.filter(|_| target.fallback_is_ours),
                )
            }
            Target::Absent | Target::Unknown | Target::Rejected(_) => (None, None),
        };
        let current = current.map(|number| NumberedValue::new(number, ValueSource::Current));
        let fallback = fallback.map(|number| NumberedValue::new(number, ValueSource::Fallback));
        current.into_iter().chain(fallback)
    }

    /// Returns the numbers that the first and the second value must have, if the status shows that.
    fn expected_numbers(&self) -> [Option<u64>; 2] {
        let Status { current, previous, rotation, .. } = &self.status;
        let next = rotation.as_ref().map(|rotation| rotation.number);
        match rotation.as_ref().map(|rotation| rotation.phase) {
            Some(Phase::Confirming | Phase::Grace) => [next, *previous],
            Some(Phase::Staging | Phase::Withdrawing) => [*current, next],
            Some(Phase::Started) | None => [*current, None],
            Some(Phase::Activating) => [None, None],
        }
    }

    /// Returns the known value with this number.
    pub(super) fn known_value(&self, number: u64) -> Option<NumberedValue> {
        self.known_values().find(|known| known.number == number)
    }

    /// Returns the known value that Auth0 has.
    pub(super) fn known_match(&self, secret: SecretMatch) -> Option<NumberedValue> {
        let source = match secret {
            SecretMatch::Current => ValueSource::Current,
            SecretMatch::Fallback => ValueSource::Fallback,
            SecretMatch::Other | SecretMatch::Unreadable | SecretMatch::Unpublishable => {
                return None;
            }
        };
        self.known_values().find(|known| known.value == source)
    }

    /// Returns the known previous value that must stay beside `current`: until its grace period is
    /// over, or if no status shows that it may go.
    pub(super) fn kept_previous(&self, current: NumberedValue) -> Option<NumberedValue> {
        if self.is_retirement_due() {
            return None;
        }
        let is_recorded = self.status.current.is_some() && self.status.rotation.is_none();
        let is_needed = |known: &NumberedValue| match self.status.previous {
            Some(previous) => known.number == previous,
            None => !is_recorded,
        };
        self.known_values().find(|known| {
            known.number < current.number && known.value != current.value && is_needed(known)
        })
    }

    /// Returns whether the previous value may go: its grace period is over, and Auth0 was seen to
    /// accept the current one.
    pub(super) fn is_retirement_due(&self) -> bool {
        self.status.rotation.as_ref().is_some_and(|rotation| {
            rotation.phase == Phase::Grace
                && rotation.confirmed_at.is_some()
                && self.now >= self.retire_time(rotation)
        })
    }
}
