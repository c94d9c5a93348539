//! Contests: another party keeps changing the target Secret, or an admission policy changes it in each
//! write.
//!
//! The operator restores the Secret at once a few times, and then only after a hold-off that grows with
//! each restore. It is in memory: a restart costs a few writes. The state machine decides what happens
//! meanwhile (`rotation::TargetHoldOff`).

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use rotation::{Contested, Publication, Purpose, Reason, Rejection, Status, TargetHoldOff};

use super::{reconcile::Reconciliation, resource};
use crate::controller::{
    server_time::now,
    target_secret::{Rendered, Snapshot},
};

/// How many restores in a row wait for nothing.
const FREE_RESTORES: f64 = 8.0;

/// The first hold-off. Each further restore makes it twice as long.
const FIRST_HOLD_OFF: Duration = Duration::from_secs(1);

/// The longest hold-off.
const MAX_HOLD_OFF: Duration = Duration::from_secs(300);

/// Time in which one restore is forgotten.
const DECAY: Duration = Duration::from_secs(240);

/// A contest is over after this time without a restore, or after two hold-offs.
const MIN_QUIET: Duration = Duration::from_secs(60);

/// Level of a change that an admission policy makes in the write itself: to repeat it at once is of no
/// use.
const ADMISSION_LEVEL: f64 = FREE_RESTORES + 3.0;

/// The contests over one target Secret. Values do not wait for a hold-off that labels caused.
#[derive(Default)]
pub(super) struct Contests {
    values: Contest,
    metadata: Contest,
    status: Contest,
    finalizer: Contest,
    /// The rotation for which the finalizer was last added.
    guarded_rotation: Option<u64>,
}

/// How often the operator restored the same thing lately.
#[derive(Default)]
struct Contest {
    /// Number of restores, less those that are forgotten.
    level: f64,
    restored_at: Option<Instant>,
    /// The generation of the spec that was restored. A change of the spec is no contest.
    generation: Option<i64>,
    changed_by: String,
}

impl Contest {
    fn record(&mut self, at: Instant, generation: Option<i64>, min_level: f64, changed_by: String) {
        if self.generation != generation {
            *self = Self { generation, ..Self::default() };
        }
        if let Some(restored_at) = self.restored_at {
            let elapsed = at.saturating_duration_since(restored_at).as_secs_f64();
            self.level = (self.level - elapsed / DECAY.as_secs_f64()).max(0.0);
        }
        self.level = self.level.max(min_level) + 1.0;
        self.restored_at = Some(at);
        self.changed_by = changed_by;
    }

    fn hold_off(&self) -> Duration {
        if self.level <= FREE_RESTORES {
            return Duration::ZERO;
        }
        let doublings = (self.level - FREE_RESTORES - 1.0).clamp(0.0, 20.0);
        FIRST_HOLD_OFF.mul_f64(doublings.exp2()).min(MAX_HOLD_OFF)
    }

    /// Returns until when nothing is restored, and when the contest is over, unless it is.
    fn ends(&self, at: Instant) -> Option<Ends> {
        let hold_off = self.hold_off();
        let restored_at = self.restored_at?;
        if hold_off.is_zero() {
            return None;
        }
        let over = restored_at + (hold_off * 2).max(MIN_QUIET);
        (at < over).then_some(Ends { hold_off: restored_at + hold_off, contest: over })
    }
}

/// Ends of a contest.
struct Ends {
    hold_off: Instant,
    contest: Instant,
}

impl Contests {
    /// Returns whether nothing is restored now, so that further changes by others are of no interest.
    pub(super) fn is_held_off(&self, at: Instant) -> bool {
        let is_held = |contest: &Contest| contest.ends(at).is_some_and(|ends| at < ends.hold_off);
        is_held(&self.values) || is_held(&self.metadata)
    }

    /// Returns whether any contest is not over.
    pub(super) fn is_any(&self, at: Instant) -> bool {
        let contests = [&self.values, &self.metadata, &self.status, &self.finalizer];
        contests.into_iter().any(|contest| contest.ends(at).is_some())
    }

    /// Returns how long to leave a resource alone whose status another party keeps overwriting.
    pub(super) fn status_hold_off(&self, at: Instant) -> Duration {
        let ends = self.status.ends(at);
        ends.map_or(Duration::ZERO, |ends| ends.hold_off.saturating_duration_since(at))
    }

    /// Returns whether another party keeps removing the finalizer.
    pub(super) fn is_finalizer_contested(&self, at: Instant) -> bool {
        self.finalizer.ends(at).is_some()
    }

    /// Returns who keeps changing the resource, and when that counts as over.
    pub(super) fn contested(&self, at: Instant) -> Option<Contested> {
        let contests = [
            (Reason::StatusContested, &self.status),
            (Reason::FinalizerContested, &self.finalizer),
        ];
        contests.into_iter().find_map(|(reason, contest)| {
            let ends = contest.ends(at)?;
            let rejection = Rejection::new(reason, contest.changed_by.clone());
            Some(Contested { rejection, ends: wall_clock(ends.contest, at) })
        })
    }

    /// Returns the hold-off for the state machine. `is_data_damaged`: values, or the keys made from
    /// them, are not as the operator wrote them.
    pub(super) fn hold_off(&self, at: Instant, is_data_damaged: bool) -> Option<TargetHoldOff> {
        let of_values = self.values.ends(at).map(|ends| (ends, &self.values));
        let of_metadata = self.metadata.ends(at).map(|ends| (ends, &self.metadata));
        let affects_values = of_values.is_some();
        let (ends, contest) = of_values.or(of_metadata.filter(|_| !is_data_damaged))?;
        Some(TargetHoldOff {
            until: wall_clock(ends.hold_off, at),
            ends: wall_clock(ends.contest, at),
            affects_values,
            changed_by: contest.changed_by.clone(),
        })
    }
}

fn wall_clock(instant: Instant, at: Instant) -> DateTime<Utc> {
    let left = instant.saturating_duration_since(at);
    now() + TimeDelta::from_std(left).unwrap_or_default()
}

/// Records that another party overwrote or removed the status that this process stored.
pub(super) fn note_status(reconciliation: &Reconciliation<'_>) {
    let seen = fingerprint(reconciliation.status());
    let stored = reconciliation.with_state(|state| state.stored_status);
    if stored.is_none() || stored == seen {
        return;
    }
    let resource = &reconciliation.resource;
    let manager = resource::last_other_manager(resource, Some("status"));
    let manager = manager.or_else(|| resource::last_other_manager(resource, None));
    let changed_by = format!(
        "{} keeps overwriting the status of this resource, so the operator leaves the resource alone \
         for up to 5 minutes at a time. Stop that: no other party may write the status",
        subject(manager)
    );
    reconciliation.with_state(|state| {
        state.stored_status = seen;
        let contests = state.contests.get_or_insert_default();
        contests.status.record(Instant::now(), None, 0.0, changed_by);
    });
}

/// Records the status that this process stored.
pub(super) fn note_stored_status(reconciliation: &Reconciliation<'_>) {
    let stored = fingerprint(reconciliation.status());
    reconciliation.with_state(|state| state.stored_status = stored);
}

/// Returns a hash of a status without its marker. A status contains no value of a secret.
pub(super) fn fingerprint(status: &Status) -> Option<u64> {
    let text = match &status.settled {
        Some(_) => serde_json::to_string(&Status { settled: None, ..status.clone() }),
        None => serde_json::to_string(status),
    };
    let text = text.ok()?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Some(hasher.finish())
}

/// Records that the finalizer is about to be added. To add it again for the same rotation means that
/// another party removed it.
pub(super) fn record_finalizer(reconciliation: &Reconciliation<'_>) {
    let number = reconciliation.rotation().map(|rotation| rotation.number);
    let manager = resource::last_other_manager(&reconciliation.resource, None);
    let changed_by = format!(
        "{} keeps removing the finalizer of this resource, so rotations go on without it, and a deletion \
         in mid-rotation can lose a secret. Stop that",
        subject(manager)
    );
    reconciliation.with_state(|state| {
        let contests = state.contests.get_or_insert_default();
        if number.is_some() && contests.guarded_rotation == number {
            contests.finalizer.record(Instant::now(), None, 0.0, changed_by);
        }
        contests.guarded_rotation = number;
    });
}

fn subject(manager: Option<resource::OtherManager>) -> String {
    match manager {
        Some(manager) => format!("the field manager \"{}\"", manager.name),
        None => "another party".to_owned(),
    }
}

/// Records that the target Secret is about to be restored.
pub(super) fn record_restore(
    reconciliation: &Reconciliation<'_>,
    publication: &Publication,
    rendered: &Rendered,
) {
    if !matches!(publication.purpose, Purpose::Repair | Purpose::Render) {
        return;
    }
    let present = reconciliation.target.snapshot();
    let changes = present.map(|present| rendered.changes(present)).unwrap_or_default();
    let affects_values = publication.purpose == Purpose::Repair || changes.affect_data;
    let changed_by = match present {
        Some(present) => {
            format!(
                "{} keeps changing {} of the target Secret",
                rendered.other_managers(present),
                changes.describe()
            )
        }
        None => "another party keeps deleting the target Secret".to_owned(),
    };
    record(reconciliation, affects_values, 0.0, changed_by);
}

/// Records what an admission policy changed in a write.
pub(super) fn record_admission(
    reconciliation: &Reconciliation<'_>,
    rendered: &Rendered,
    written: &Snapshot,
) {
    let changes = rendered.changes(written);
    if changes.is_empty() {
        return;
    }
    let changed_by = format!(
        "an admission policy or webhook changes {} of the target Secret in each write",
        changes.describe()
    );
    record(reconciliation, changes.affect_data, ADMISSION_LEVEL, changed_by);
}

/// Records that the API server does not accept a restore.
pub(super) fn record_rejected_restore(reconciliation: &Reconciliation<'_>, error: &str) {
    let changed_by = format!("the target Secret cannot be restored ({error})");
    record(reconciliation, false, ADMISSION_LEVEL, changed_by.clone());
    record(reconciliation, true, ADMISSION_LEVEL, changed_by);
}

fn record(
    reconciliation: &Reconciliation<'_>,
    affects_values: bool,
    min_level: f64,
    changed_by: String,
) {
    let generation = reconciliation.resource.metadata.generation;
    reconciliation.with_state(|state| {
        let Contests { values, metadata, .. } = state.contests.get_or_insert_default().as_mut();
        let contest = if affects_values { values } else { metadata };
        contest.record(Instant::now(), generation, min_level, changed_by);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contest(restores: &[u64]) -> (Contest, Instant) {
        let start = Instant::now();
        let mut contest = Contest::default();
        let mut at = start;
        for seconds in restores {
            at = start + Duration::from_secs(*seconds);
            contest.record(at, Some(1), 0.0, String::new());
        }
        (contest, at)
    }

    #[test]
    fn hold_off_grows_from_the_ninth_restore_on() {
        let seconds = |restores: usize| contest(&vec![0; restores]).0.hold_off().as_secs();
        assert_eq!([1, 2, 8, 9, 10, 11, 15].map(seconds), [0, 0, 0, 1, 2, 4, 64]);
        assert_eq!(seconds(30), 300);
    }

    #[test]
    fn permanent_contest_causes_few_restores() {
        let start = Instant::now();
        let mut contest = Contest::default();
        let mut restores = [0; 2];
        for second in 0..3600 {
            let at = start + Duration::from_secs(second);
            if contest.ends(at).is_none_or(|ends| at >= ends.hold_off) {
                contest.record(at, Some(1), 0.0, String::new());
                restores[usize::from(second >= 60)] += 1;
            }
        }
        assert!(restores[0] <= 14 && restores[1] <= 20, "{restores:?}");
    }

    #[test]
    fn rare_changes_are_restored_at_once() {
        let every_five_minutes: Vec<_> = (0..50).map(|number| number * 300).collect();
        assert!(contest(&every_five_minutes).0.hold_off().is_zero());
    }

    #[test]
    fn contest_ends_and_a_new_spec_is_none() {
        let (mut contest, at) = contest(&[0; 11]);
        let ends = contest.ends(at).unwrap();
        assert_eq!((ends.hold_off - at, ends.contest - at), (Duration::from_secs(4), MIN_QUIET));
        assert!(contest.ends(at + MIN_QUIET).is_none());
        contest.record(at, Some(2), 0.0, String::new());
        assert!(contest.hold_off().is_zero());
    }

    #[test]
    fn labels_do_not_delay_values() {
        let mut contests = Contests::default();
        let at = Instant::now();
        for _ in 0..12 {
            contests.metadata.record(at, None, 0.0, "x".into());
        }
        assert!(contests.is_held_off(at));
        assert!(contests.hold_off(at, true).is_none());
        assert!(!contests.hold_off(at, false).unwrap().affects_values);
    }
}
