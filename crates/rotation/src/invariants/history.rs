//! History of one client, as far as the invariants depend on it.

use chrono::{DateTime, TimeDelta, Utc};

use super::violation::Violation;
use crate::{
    condition::{condition_types, is_condition_true},
    decide::{RestartLevel, RestartNeed},
    status::{Cause, Phase, Rotation, Status, Strategy, is_unresolved},
};

/// Deletion waits at most this many propagation windows for an unknown outcome.
const MAX_DELETION_WINDOWS: i32 = 10;

/// No three changes by another party are followed within this time.
const SHORTEST_HOLD_OFF: TimeDelta = TimeDelta::minutes(2);

/// Party that changed a secret at Auth0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The operator.
    Operator,
    /// Another party, for example a user in the dashboard.
    OtherParty,
}

/// Settings that the invariants depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Maximum delay until a consumer sees what is published.
    pub staging_period: TimeDelta,
    /// How long a superseded value stays.
    pub grace_period: TimeDelta,
    /// Maximum delay until Auth0 accepts a new secret.
    pub propagation_window: TimeDelta,
    /// Whether Auth0 returns the secret of a client.
    pub secrets_readable: bool,
}

/// Why the operator is exempt from some invariants for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Exemption {
    /// The response of `rotate-secret` is not published yet.
    ResponseUnpublished,
    /// Another party changed the target Secret, which the operator has not written since.
    Tampered,
    /// The same, and Auth0's secret changed afterward, which a repair may not have seen.
    TamperedThenChanged,
    /// The target Secret does not have Auth0's secret yet, or Auth0 does not accept it yet.
    Unsettled,
}

impl Exemption {
    fn is_tampering(self) -> bool {
        matches!(self, Self::Tampered | Self::TamperedThenChanged)
    }
}

/// A list that the target Secret held before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EarlierList<V> {
    replaced_at: DateTime<Utc>,
    values: Vec<V>,
}

/// A published value that Auth0 had before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SupersededValue<V> {
    value: V,
    superseded_at: DateTime<Utc>,
    /// Another party has changed the secret since, which makes the value useless.
    is_invalidated: bool,
    /// Another party changed the target Secret and left the value in it.
    has_survived: bool,
}

/// Identity of a rotation. The number alone can repeat after the status is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RotationId {
    number: u64,
    started_at: DateTime<Utc>,
}

/// History of one client, as far as the invariants depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct History<V> {
    settings: Settings,
    /// Values of the target Secret, in the order in which consumers try them.
    list: Vec<V>,
    /// Lists that consumers may still have.
    earlier_lists: Vec<EarlierList<V>>,
    /// Auth0's secret.
    secret: V,
    changed_at: DateTime<Utc>,
    /// Auth0 rejected a random value in a probe, so a probe that it accepts is a proof.
    is_controlled: bool,
    /// Auth0 was seen to accept its secret.
    is_accepted: bool,
    /// The operator read Auth0's secret after the propagation window.
    is_read_back: bool,
    /// Auth0's secret came from `rotate-secret` and is not published.
    is_unpublished: bool,
    /// Values of the list that Auth0 had before.
    superseded: Vec<SupersededValue<V>>,
    exemption: Option<Exemption>,
    /// Values that another party removed from the target Secret. A call in flight may still set one.
    lost: Vec<V>,
    /// Requests that no stored status shows as handled.
    pending_requests: Vec<String>,
    /// Rotation in progress.
    rotation: Option<RotationId>,
    /// The superseded secret is compromised, even if the status was lost.
    is_compromised: bool,
    due_time: Option<DateTime<Utc>>,
    last_used_due_time: Option<DateTime<Utc>>,
    /// The initial rotation has started.
    has_initial_rotation: bool,
    /// When the last rotations that followed another party started.
    drift_starts: Vec<DateTime<Utc>>,
    /// Highest number of a rotation during which the operator wrote the target Secret.
    written_in: u64,
    /// Values that the Pods of restarted workloads took when they started.
    restarted_pod: Option<RestartedPod<V>>,
    /// The values for which workloads were last restarted, and when.
    restarts: Option<Restarts>,
}

/// A Pod of a workload that is restarted in each rotation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RestartedPod<V> {
    /// The list when the Pod started.
    list: Vec<V>,
    /// The Pod took the whole list, and not only its first value.
    takes_pair: bool,
}

/// Restarts of a workload for the same values, within one propagation window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Restarts {
    number: u64,
    level: RestartLevel,
    at: Vec<DateTime<Utc>>,
}

impl<V: Clone + Eq> History<V> {
    /// Returns the history of a client that has `secret` since `at`, without a target Secret.
    pub fn new(at: DateTime<Utc>, secret: V, settings: Settings) -> Self {
        Self {
            settings,
            list: Vec::new(),
            earlier_lists: Vec::new(),
            secret,
            changed_at: at,
            is_controlled: false,
            is_accepted: false,
            is_read_back: false,
            is_unpublished: false,
            superseded: Vec::new(),
            exemption: Some(Exemption::Unsettled),
            lost: Vec::new(),
            pending_requests: Vec::new(),
            rotation: None,
            is_compromised: false,
            due_time: None,
            last_used_due_time: None,
            has_initial_rotation: false,
            drift_starts: Vec::new(),
            written_in: 0,
            restarted_pod: None,
            restarts: None,
        }
    }

    /// Records that the spec or the operator's permissions at Auth0 changed.
    pub fn record_settings(&mut self, at: DateTime<Utc>, settings: Settings) {
        self.expire(at);
        self.settings = settings;
    }

    /// Records a request by a user.
    pub fn record_request(&mut self, text: &str) {
        if !self.pending_requests.iter().any(|known| known == text) {
            self.pending_requests.push(text.to_owned());
        }
    }

    /// Records that the status was stored or lost.
    pub fn record_status(&mut self, at: DateTime<Utc>, status: &Status) -> Result<(), Violation> {
        let handled = status.last_handled_request.as_ref();
        let pending = self.pending_requests.len();
        self.pending_requests.retain(|request| Some(request) != handled);
        let handles_request = self.pending_requests.len() < pending;
        let due_time = std::mem::replace(&mut self.due_time, status.next_rotation_time);
        let before = self.rotation.take();
        self.drift_starts.retain(|start| at < *start + SHORTEST_HOLD_OFF);
        if status.observed_generation.is_none() {
            // The hold-off was lost with the status.
            self.drift_starts.clear();
        }
        let Some(rotation) = &status.rotation else { return Ok(()) };
        let Rotation { number, cause, started_at, .. } = *rotation;
        self.rotation = Some(RotationId { number, started_at });
        // A start in the future, by a clock that was ahead, is corrected.
        let is_known =
            before.is_some_and(|before| before.number == number && before.started_at >= started_at);
        self.is_compromised &= is_known || cause == Cause::Recovery;
        self.is_compromised |= rotation.skip_grace;
        if is_known {
            return Ok(());
        }
        if cause == Cause::Drift {
            self.drift_starts.push(started_at);
            if let [earlier, _, ..] = self.drift_starts[..self.drift_starts.len() - 1] {
                return Err(Violation::DriftStorm { at, number, earlier });
            }
        }
        let is_caused = match cause {
            Cause::Request => handles_request,
            Cause::Schedule => self.use_due_time(at, due_time),
            Cause::Initial => !std::mem::replace(&mut self.has_initial_rotation, true),
            // These change nothing at Auth0, which `check_change` verifies.
            Cause::Drift | Cause::Recovery => true,
        };
        if is_caused { Ok(()) } else { Err(Violation::UncausedRotation { at, number, cause }) }
    }

    /// Uses up a due time. Returns false if it is in the future or was used up before.
    fn use_due_time(&mut self, at: DateTime<Utc>, due_time: Option<DateTime<Utc>>) -> bool {
        match due_time {
            Some(due) if due <= at && due_time > self.last_used_due_time => {
                self.last_used_due_time = due_time;
                true
            }
            _ => false,
        }
    }

    /// Records that the operator wrote the target Secret.
    pub fn record_publication(&mut self, at: DateTime<Utc>, list: &[V]) -> Result<(), Violation> {
        self.expire(at);
        if let Some(rotation) = self.rotation {
            self.written_in = self.written_in.max(rotation.number);
        }
        let before = std::mem::replace(&mut self.list, list.to_vec());
        if before != self.list {
            self.earlier_lists.push(EarlierList { replaced_at: at, values: before });
        }
        let result = self
            .check_repair(at)
            .and_then(|()| self.check_survivors(at))
            .and_then(|()| self.check_removal(at));
        if self.exemption.is_some_and(Exemption::is_tampering) {
            self.exemption = Some(Exemption::Unsettled);
        }
        let list = &self.list;
        self.lost.retain(|value| !list.contains(value));
        self.superseded.retain(|superseded| list.contains(&superseded.value));
        self.is_unpublished &= !self.list.contains(&self.secret);
        self.expire(at);
        result
    }

    /// Records that the operator wrote the target Secret for a rotation that its status may not have yet.
    pub fn record_write_proof(&mut self, number: u64) {
        self.written_in = self.written_in.max(number);
    }

    /// Checks that a repair of the target Secret publishes Auth0's secret.
    fn check_repair(&self, at: DateTime<Utc>) -> Result<(), Violation> {
        let must_restore =
            self.exemption == Some(Exemption::Tampered) && self.settings.secrets_readable;
        if must_restore && !self.list.contains(&self.secret) {
            return Err(self.lost_value(at, "the target Secret was repaired with another value"));
        }
        Ok(())
    }

    /// Checks that a repair of the target Secret keeps the superseded values that are still in it.
    fn check_survivors(&self, at: DateTime<Utc>) -> Result<(), Violation> {
        if self.exemption != Some(Exemption::Tampered) {
            return Ok(());
        }
        let survivors = self.superseded.iter().filter(|superseded| superseded.has_survived);
        survivors.into_iter().try_for_each(|superseded| self.check_removed(at, superseded))
    }

    fn check_removal(&self, at: DateTime<Utc>) -> Result<(), Violation> {
        if self.exemption.is_some() {
            return Ok(());
        }
        if !self.list.contains(&self.secret) {
            return Err(self.lockout(at, &self.list));
        }
        self.superseded.iter().try_for_each(|superseded| self.check_removed(at, superseded))
    }

    /// Checks that a superseded value is in the target Secret, or is certainly obsolete.
    fn check_removed(
        &self,
        at: DateTime<Utc>,
        superseded: &SupersededValue<V>,
    ) -> Result<(), Violation> {
        let Settings { grace_period, propagation_window, .. } = self.settings;
        let grace_period = if self.is_compromised {
            TimeDelta::zero()
        } else {
            grace_period.max(propagation_window)
        };
        let SupersededValue { value, superseded_at, .. } = superseded;
        let is_over = at >= *superseded_at + grace_period;
        if self.list.contains(value) || self.is_proven(at) && is_over {
            return Ok(());
        }
        Err(Violation::EarlyRemoval {
            at,
            superseded_at: *superseded_at,
            is_accepted: self.is_proven(at),
        })
    }

    /// Records that another party edited or deleted the target Secret, which holds `list` now.
    pub fn record_tampering(&mut self, list: &[V]) {
        let before = std::mem::replace(&mut self.list, list.to_vec());
        self.lost.extend(before.into_iter().filter(|value| !list.contains(value)));
        self.earlier_lists.clear();
        self.exemption = Some(Exemption::Tampered);
        for superseded in &mut self.superseded {
            superseded.has_survived =
                list.contains(&superseded.value) && !superseded.is_invalidated;
        }
    }

    /// Records that the operator sends a change under the stored status. `is_suitable` is the result
    /// of its read of the client in the same reconcile, or `None` if it did not read it.
    ///
    /// Only the first change of a rotation needs that: later ones complete what may have happened.
    pub fn record_request_to_change(
        &mut self,
        at: DateTime<Utc>,
        status: &Status,
        is_suitable: Option<bool>,
    ) -> Result<(), Violation> {
        let attempts = status.rotation.as_ref().map_or(0, |rotation| rotation.attempts);
        if attempts > 1 || is_suitable == Some(true) {
            return Ok(());
        }
        let number = status.rotation.as_ref().map(|rotation| rotation.number);
        Err(Violation::UnsuitableClient { at, number, was_read: is_suitable.is_some() })
    }

    /// Records the stored status, and that a change to `value` reached Auth0 under it.
    pub fn record_status_and_change(
        &mut self,
        at: DateTime<Utc>,
        value: V,
        actor: Actor,
        status: &Status,
    ) -> Result<(), Violation> {
        self.record_status(at, status)?;
        self.record_change(at, value, actor, status)
    }

    /// Records that a change to `value` reached Auth0. `sent_under` is the status that was stored
    /// when the change was sent; it may have been lost since.
    pub fn record_change(
        &mut self,
        at: DateTime<Utc>,
        value: V,
        actor: Actor,
        sent_under: &Status,
    ) -> Result<(), Violation> {
        self.expire(at);
        if value == self.secret {
            // The same `PATCH` again.
            return Ok(());
        }
        let result = match actor {
            Actor::Operator => self.check_change(at, &value, sent_under.rotation.as_ref()),
            Actor::OtherParty => {
                self.is_unpublished = false;
                for superseded in &mut self.superseded {
                    (superseded.is_invalidated, superseded.has_survived) = (true, false);
                }
                if !self.exemption.is_some_and(Exemption::is_tampering) {
                    self.exemption = Some(Exemption::Unsettled);
                }
                Ok(())
            }
        };
        if self.exemption == Some(Exemption::Tampered) {
            self.exemption = Some(Exemption::TamperedThenChanged);
        }
        self.replace_secret(at, value, actor);
        result
    }

    fn replace_secret(&mut self, at: DateTime<Utc>, value: V, actor: Actor) {
        let replaced = std::mem::replace(&mut self.secret, value);
        let secret = &self.secret;
        self.superseded.retain(|known| known.value != replaced && known.value != *secret);
        if self.list.contains(&replaced) {
            self.superseded.push(SupersededValue {
                value: replaced,
                superseded_at: at,
                is_invalidated: actor == Actor::OtherParty,
                has_survived: false,
            });
        }
        self.changed_at = at;
        self.is_accepted = false;
        self.is_read_back = false;
    }

    fn check_change(
        &mut self,
        at: DateTime<Utc>,
        value: &V,
        rotation: Option<&Rotation>,
    ) -> Result<(), Violation> {
        let rotation = match rotation {
            Some(rotation) if rotation.phase == Phase::Activating => rotation,
            _ => {
                let phase = rotation.map(|rotation| rotation.phase);
                return Err(Violation::UnrecordedChange { at, phase });
            }
        };
        let is_listed = self.list.contains(value);
        let (number, cause) = (rotation.number, rotation.cause);
        if cause == Cause::Drift || cause == Cause::Recovery && !is_listed {
            return Err(Violation::UncausedRotation { at, number, cause });
        }
        if self.is_unpublished && (!is_listed || self.settings.secrets_readable) {
            return Err(self.lost_value(at, "another value replaced it"));
        }
        if !is_listed && rotation.strategy == Strategy::Rotate {
            let has_values =
                !self.list.is_empty() && !self.exemption.is_some_and(Exemption::is_tampering);
            if has_values && self.written_in < number {
                return Err(Violation::UnprovenWrite { at, number });
            }
            self.is_unpublished = true;
            self.exemption.get_or_insert(Exemption::ResponseUnpublished);
            return Ok(());
        }
        if self.is_unpublished {
            // The replaced value stays unknown, and Auth0 may accept only that value for a while.
            self.is_unpublished = false;
            self.exemption = Some(Exemption::Unsettled);
        }
        if self.lost.contains(value) && !is_listed {
            self.exemption.get_or_insert(Exemption::Unsettled);
        }
        if rotation.skip_staging && !rotation.rollback {
            self.earlier_lists.clear();
        }
        if self.exemption.is_some() {
            return Ok(());
        }
        if let Some(pod) = &self.restarted_pod
            && pod.takes_pair
            && !rotation.skip_staging
            && !pod.list.is_empty()
            && !pod.list.contains(value)
        {
            return Err(self.lockout(at, &pod.list));
        }
        let first_without_value = self.lists().find(|list| !list.contains(value));
        match first_without_value {
            Some(list) if !list.is_empty() => Err(self.lockout(at, list)),
            _ => Ok(()),
        }
    }

    /// Records a negative control: whether Auth0 rejected a random value in a probe.
    pub fn record_control(&mut self, is_rejected: bool) {
        self.is_controlled = is_rejected;
    }

    /// Records that a Pod of a workload that is restarted in each rotation started with this list, and
    /// took all of it, or only its first value.
    pub fn record_restarted_pod(&mut self, list: &[V], takes_pair: bool) {
        self.restarted_pod = Some(RestartedPod { list: list.to_vec(), takes_pair });
    }

    /// Records that the operator restarted a workload.
    pub fn record_restart(
        &mut self,
        at: DateTime<Utc>,
        need: &RestartNeed,
    ) -> Result<(), Violation> {
        let RestartNeed { number, level, .. } = *need;
        let window = self.settings.propagation_window;
        let known = self.restarts.take();
        let known = known.filter(|known| (known.number, known.level) == (number, level));
        let mut times = known.map(|known| known.at).unwrap_or_default();
        times.retain(|time| at < *time + window);
        times.push(at);
        let violation = match times[..] {
            [earlier, _, _, ..] => Err(Violation::RestartStorm { at, number, earlier }),
            _ => Ok(()),
        };
        self.restarts = Some(Restarts { number, level, at: times });
        violation
    }

    /// Records that Auth0 accepted `value` in a probe.
    pub fn record_accepted_probe(&mut self, at: DateTime<Utc>, value: &V) {
        self.is_accepted |= self.is_controlled && *value == self.secret;
        self.expire(at);
    }

    /// Records that the Management API returned `value`.
    pub fn record_read(&mut self, at: DateTime<Utc>, value: &V) {
        let is_propagated = at >= self.changed_at + self.settings.propagation_window;
        self.is_read_back |= is_propagated && *value == self.secret;
    }

    /// Returns whether something proves that Auth0 accepts its secret: a probe with a negative
    /// control, or a read after the propagation window. Where secrets are unreadable, the end of the
    /// window has to do.
    fn is_proven(&self, at: DateTime<Utc>) -> bool {
        let is_propagated = at >= self.changed_at + self.settings.propagation_window;
        let is_read_back = self.is_read_back || !self.settings.secrets_readable;
        self.is_accepted || is_propagated && is_read_back
    }

    /// Checks the login of a consumer that tried all values of `list`, while Auth0 accepts
    /// `accepted`. A list that is older than the staging period, or exempt, may fail.
    pub fn check_login(
        &mut self,
        at: DateTime<Utc>,
        list: &[V],
        accepted: &[V],
    ) -> Result<(), Violation> {
        self.expire(at);
        let succeeds = list.iter().any(|value| accepted.contains(value));
        let must_succeed = self.exemption.is_none() && self.lists().any(|known| known == list);
        if succeeds || list.is_empty() || !must_succeed {
            return Ok(());
        }
        Err(self.lockout(at, list))
    }

    /// Checks a login with each list that consumers may have.
    pub fn check_logins(&mut self, at: DateTime<Utc>, accepted: &[V]) -> Result<(), Violation> {
        self.expire(at);
        let lists: Vec<Vec<V>> = self.lists().map(<[V]>::to_vec).collect();
        lists.iter().try_for_each(|list| self.check_login(at, list, accepted))
    }

    /// Records that the resource is deleted, so that no one reads back a value anymore.
    pub fn record_deletion(&mut self, at: DateTime<Utc>) -> Result<(), Violation> {
        self.expire(at);
        let deadline = self.changed_at + self.settings.propagation_window * MAX_DELETION_WINDOWS;
        let is_tampered = self.exemption.is_some_and(Exemption::is_tampering);
        let must_publish = self.settings.secrets_readable && at < deadline && !is_tampered;
        if self.is_unpublished && must_publish {
            return Err(self.lost_value(at, "the resource was deleted"));
        }
        Ok(())
    }

    /// Checks Ready at the end of a reconcile that left this status. `seen` is the secret that the
    /// process knows Auth0 to have.
    pub fn check_ready(
        &self,
        at: DateTime<Utc>,
        status: &Status,
        seen: Option<&V>,
    ) -> Result<(), Violation> {
        let is_over = at >= self.changed_at + self.settings.propagation_window;
        let is_locked_out = is_over && !self.list.contains(&self.secret);
        let has_attempt = status
            .rotation
            .as_ref()
            .is_some_and(|rotation| rotation.attempts > 0 && is_unresolved(rotation));
        let is_ready = is_condition_true(&status.conditions, condition_types::READY);
        if is_ready && is_locked_out && (has_attempt || seen == Some(&self.secret)) {
            return Err(Violation::ReadyWithoutLogin { at, since: self.changed_at });
        }
        Ok(())
    }

    /// Checks the result when nothing interferes with the operator anymore, it had enough time, and
    /// it is idle with this status.
    pub fn check_settled(&self, at: DateTime<Utc>, status: &Status) -> Result<(), Violation> {
        let problem = if status.rotation.is_some() {
            "a rotation is in progress"
        } else if self.is_unpublished || self.list.first() != Some(&self.secret) {
            "the first value of the target Secret is not Auth0's secret"
        } else if self.list.len() > 1 {
            "the target Secret still has a fallback"
        } else if self.restarted_pod.as_ref().is_some_and(|pod| !self.knows_secret(pod)) {
            "a Pod that is restarted in each rotation does not have Auth0's secret"
        } else {
            return Ok(());
        };
        Err(Violation::NotSettled { at, problem })
    }

    fn knows_secret(&self, pod: &RestartedPod<V>) -> bool {
        match pod.takes_pair {
            true => pod.list.contains(&self.secret),
            false => pod.list.first() == Some(&self.secret),
        }
    }

    /// Returns the lists that consumers may have.
    fn lists(&self) -> impl Iterator<Item = &[V]> {
        let earlier = self.earlier_lists.iter().map(|list| list.values.as_slice());
        earlier.chain([self.list.as_slice()])
    }

    /// Drops lists that no consumer has anymore, and an exemption that has ended.
    fn expire(&mut self, at: DateTime<Utc>) {
        let staging_period = self.settings.staging_period;
        self.earlier_lists.retain(|list| list.replaced_at + staging_period > at);
        let is_propagated =
            self.is_accepted || at >= self.changed_at + self.settings.propagation_window;
        let is_published = self.list.contains(&self.secret);
        let has_ended = match self.exemption {
            None | Some(Exemption::Tampered | Exemption::TamperedThenChanged) => false,
            Some(Exemption::ResponseUnpublished) => is_published,
            Some(Exemption::Unsettled) => is_propagated && is_published,
        };
        if has_ended {
            self.exemption = None;
            self.earlier_lists.clear();
        }
    }

    fn lockout(&self, at: DateTime<Utc>, list: &[V]) -> Violation {
        let number = self.rotation.map(|rotation| rotation.number);
        Violation::Lockout { at, number, values: list.len() }
    }

    fn lost_value(&self, at: DateTime<Utc>, problem: &'static str) -> Violation {
        Violation::LostValue { at, since: self.changed_at, problem }
    }
}
