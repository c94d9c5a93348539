//! Whether this process may act, as those who act see it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{clock::BootInstant, election::Loss};

/// Whether this process may act. To be asked just before each effect on the outside.
#[derive(Clone, Debug)]
pub struct Leadership(Option<Arc<Mutex<Option<BootInstant>>>>);

/// By what right something outside of this process is changed.
#[derive(Clone, Copy, Debug)]
pub enum WriteFence<'a> {
    /// This process leads.
    Leader(&'a Leadership),
    /// Auth0 has returned a secret to this process, and nobody else may ever see it: it is
    /// published also when the Lease was lost meanwhile. That takes nothing from the new leader. The
    /// write is a compare-and-swap over what was read, so that it either comes before the leader's
    /// own, which then finds it and goes on from there; or it fails, is decided anew on live reads,
    /// and is not repeated once the leader has published what it read back.
    UnpublishedResponse,
}

/// How a process stands in the election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderState {
    /// Someone else leads, or nobody yet.
    Standby {
        /// What keeps this process from taking part.
        trouble: Option<String>,
    },
    /// This process leads.
    Leading,
    /// It did, and never will again.
    Lost(Loss),
}

impl Leadership {
    /// There is no election: this process is the only one.
    pub fn undisputed() -> Leadership {
        Leadership(None)
    }

    pub(super) fn elected() -> Leadership {
        Leadership(Some(Arc::default()))
    }

    pub(super) fn lasts_until(&self, until: Option<BootInstant>) {
        if let Some(mut known) = self.lock() {
            *known = until;
        }
    }

    /// Whether this process may act now.
    pub fn holds(&self) -> bool {
        let Some(until) = self.lock() else { return true };
        until.is_some_and(|until| BootInstant::now() < until)
    }

    /// Until when an effect may begin that has to begin before `not_after`, if it may at all.
    pub fn no_later_than(&self, not_after: Instant) -> Option<Instant> {
        let Some(until) = self.lock() else { return Some(not_after) };
        let left = until.map(|until| until.from(BootInstant::now())).unwrap_or_default();
        (!left.is_zero()).then(|| not_after.min(Instant::now() + left))
    }

    fn lock(&self) -> Option<MutexGuard<'_, Option<BootInstant>>> {
        let until = self.0.as_ref()?;
        Some(until.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl WriteFence<'_> {
    /// Whether it is there now.
    pub fn holds(self) -> bool {
        match self {
            WriteFence::Leader(leadership) => leadership.holds(),
            WriteFence::UnpublishedResponse => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_right_ends_by_the_clock_alone() {
        let leadership = Leadership::elected();
        assert!(!leadership.holds());
        assert_eq!(leadership.no_later_than(Instant::now()), None);
        let now = BootInstant::now();
        leadership.lasts_until(Some(now.after(Duration::from_secs(60))));
        assert!(leadership.holds() && WriteFence::Leader(&leadership).holds());
        // What began the term, and has stood still since, tells nobody.
        leadership.lasts_until(Some(now));
        assert!(!leadership.holds() && !WriteFence::Leader(&leadership).holds());
        assert!(WriteFence::UnpublishedResponse.holds());
    }

    #[test]
    fn an_effect_begins_before_the_term_ends() {
        let leadership = Leadership::elected();
        leadership.lasts_until(Some(BootInstant::now().after(Duration::from_secs(60))));
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let last = leadership.no_later_than(now + hour).unwrap();
        assert!(last <= Instant::now() + Duration::from_secs(60));
        assert_eq!(leadership.no_later_than(now), Some(now));
        assert_eq!(Leadership::undisputed().no_later_than(now + hour), Some(now + hour));
    }
}
