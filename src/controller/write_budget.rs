//! How many writes to the API server one object may cause per hour.
//!
//! The operator must not amplify the writes of others, such as a controller that reverts each write,
//! a user who edits all the time, or a tenant that is ready and not ready in turns. The budgets are in memory and begin full; losing them costs one burst. A response of
//! `rotate-secret`, and a value that Auth0 has, are published regardless of them.

use std::time::{Duration, Instant};

use chrono::Utc;
use rotation::{Cause, Purpose, Status, Step};

use super::error::Error;

/// One hour in seconds.
const HOUR: f64 = 3600.0;

/// Purpose of a write. Each kind has a budget, so that one can't use up another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteKind {
    /// Repairs, conditions and everything else that can recur without a rotation.
    Ordinary,
    /// Steps of a rotation. Each due time and each request adds what a rotation needs.
    Rotation,
    /// The condition that reports the limit.
    Notice,
    /// An Event.
    Event,
}

/// The budgets of one object.
pub(crate) struct WriteBudget {
    ordinary: TokenBucket,
    rotation: TokenBucket,
    notice: TokenBucket,
    event: TokenBucket,
}

impl Default for WriteBudget {
    fn default() -> Self {
        Self {
            ordinary: TokenBucket::new(60.0, 60.0),
            rotation: TokenBucket::new(120.0, 60.0),
            notice: TokenBucket::new(2.0, 4.0),
            event: TokenBucket::new(40.0, 20.0),
        }
    }
}

impl WriteBudget {
    /// Takes one write.
    ///
    /// # Errors
    /// [`Error::WriteLimited`] if the budget is used up.
    pub(crate) fn take(&mut self, kind: WriteKind) -> Result<(), Error> {
        let bucket = match kind {
            WriteKind::Ordinary => &mut self.ordinary,
            WriteKind::Rotation => &mut self.rotation,
            WriteKind::Notice => &mut self.notice,
            WriteKind::Event => &mut self.event,
        };
        bucket.take(Instant::now()).map_err(|wait| {
            let wait = chrono::TimeDelta::from_std(wait).unwrap_or_default();
            Error::WriteLimited { until: Utc::now() + wait }
        })
    }

    /// Returns a notice that could not be written, for example because the object changed.
    pub(crate) fn return_notice(&mut self) {
        self.notice.add(1.0);
    }

    /// Adds what a rotation with a new cause needs.
    pub(crate) fn grant_rotation(&mut self) {
        self.rotation.add(40.0);
        self.event.add(8.0);
    }
}

/// A budget that refills continuously up to its capacity.
struct TokenBucket {
    tokens: f64,
    capacity: f64,
    per_hour: f64,
    refilled_at: Option<Instant>,
}

impl TokenBucket {
    fn new(capacity: f64, per_hour: f64) -> Self {
        Self { tokens: capacity, capacity, per_hour, refilled_at: None }
    }

    /// Takes a token, or returns how long to wait for one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(last) = self.refilled_at {
            self.add(now.saturating_duration_since(last).as_secs_f64() * self.per_hour / HOUR);
        }
        self.refilled_at = Some(now);
        if self.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.tokens) * HOUR / self.per_hour));
        }
        self.tokens -= 1.0;
        Ok(())
    }

    fn add(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(self.capacity);
    }
}

/// Returns what a step's write is for; `None` if it writes nothing, or what must not wait: a value
/// that Auth0 has.
pub(crate) fn kind_of_step(step: &Step) -> Option<WriteKind> {
    match step {
        Step::AddFinalizer | Step::RemoveFinalizer => Some(WriteKind::Rotation),
        Step::RestartWorkloads => Some(WriteKind::Ordinary),
        Step::Publish(publication) => match publication.purpose {
            Purpose::Response | Purpose::ReadBack | Purpose::Promote => None,
            Purpose::ProveWrite | Purpose::Stage | Purpose::Withdraw | Purpose::Retire => {
                Some(WriteKind::Rotation)
            }
            Purpose::Import | Purpose::Repair | Purpose::Render => Some(WriteKind::Ordinary),
        },
        Step::Wait
        | Step::StoreStatus
        | Step::ReadClient
        | Step::CheckClient
        | Step::ProbeRandomValue
        | Step::ProbeRevoked
        | Step::ProbeSecret
        | Step::ProbeFallback
        | Step::DryRun
        | Step::FindUnreachedPods
        | Step::ReadRollouts
        | Step::RotateSecret
        | Step::SetSecret(_) => None,
    }
}

/// Returns what the write of a status is for.
pub(crate) fn kind_of_status(stored: &Status, status: &Status) -> WriteKind {
    let is_step = stored.rotation != status.rotation || stored.history != status.history;
    if is_step { WriteKind::Rotation } else { WriteKind::Ordinary }
}

/// Returns whether a status starts a rotation for a due time or a request of a user.
pub(crate) fn starts_rotation(stored: &Status, status: &Status) -> bool {
    let Some(rotation) = &status.rotation else { return false };
    let is_new = stored.rotation.as_ref().is_none_or(|stored| stored.number != rotation.number);
    is_new && matches!(rotation.cause, Cause::Initial | Cause::Schedule | Cause::Request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_used_up_and_refills() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(3.0, 60.0);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        let wait = bucket.take(start).unwrap_err();
        assert_eq!(wait.as_secs(), 60);
        assert!(bucket.take(start + wait / 2).is_err());
        assert_eq!(bucket.take(start + wait), Ok(()));
        assert!(bucket.take(start + wait).is_err());
        let later = start + Duration::from_secs(100_000);
        assert_eq!((0..10).filter(|_| bucket.take(later).is_ok()).count(), 3);
    }

    #[test]
    fn fight_over_the_target_does_not_use_up_the_steps_of_a_rotation() {
        let mut budget = WriteBudget::default();
        while budget.take(WriteKind::Ordinary).is_ok() {}
        assert!(budget.take(WriteKind::Ordinary).is_err());
        assert!(budget.take(WriteKind::Rotation).is_ok());
        assert!(budget.take(WriteKind::Notice).is_ok());
    }

    #[test]
    fn cause_adds_the_writes_of_its_rotation() {
        let mut budget = WriteBudget::default();
        while budget.take(WriteKind::Rotation).is_ok() {}
        budget.grant_rotation();
        let taken = (0..100).filter(|_| budget.take(WriteKind::Rotation).is_ok()).count();
        assert_eq!(taken, 40);
    }
}
