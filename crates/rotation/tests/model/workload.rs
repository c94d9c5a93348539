//! A workload whose Pod takes values when it starts, and never sees later ones.

use rotation::{
    Phase, RestartLevel, RestartNeed, Rollout, RolloutState, Status, Step, TakenValues,
    must_restart,
};

use crate::{
    action::Fault,
    operator::{Operator, StepResult, failed},
    state::{Reconcile, SystemState, Tick, time},
};

/// The rotation that a restart serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) number: u64,
    pub(crate) level: RestartLevel,
}

impl Stamp {
    fn covers(self, need: &RestartNeed) -> bool {
        self.number == need.number && self.level >= need.level
    }
}

/// A workload with one Pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Workload {
    /// The operator's stamp on the template.
    pub(crate) template: Option<Stamp>,
    /// The stamp of the Pod's template.
    pub(crate) pod: Option<Stamp>,
    pub(crate) created_at: Tick,
    /// Whether the Pod takes the list.
    pub(crate) takes_pair: bool,
}

impl Workload {
    pub(crate) fn is_rolled_out(&self) -> bool {
        self.template == self.pod
    }

    fn state(&self, need: &RestartNeed) -> RolloutState {
        let is_stamped = self.template.is_some_and(|stamp| stamp.covers(need));
        let is_new =
            self.pod.is_some_and(|stamp| stamp.covers(need)) || time(self.created_at) > need.since;
        match (is_stamped, self.is_rolled_out()) {
            (true, false) => RolloutState::InProgress,
            (_, true) if is_new => RolloutState::Complete,
            (_, false) if is_new => RolloutState::InProgress,
            (true, true) => RolloutState::OldPods,
            (false, _) => RolloutState::NotRestarted { changed_by: None },
        }
    }
}

/// Progress of the workload, as a reconcile has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Progress {
    NotRestarted,
    RollingOut,
    OldPods,
    Complete,
}

impl Progress {
    pub(crate) fn rollout(self) -> Rollout {
        let state = match self {
            Self::NotRestarted => RolloutState::NotRestarted { changed_by: None },
            Self::RollingOut => RolloutState::InProgress,
            Self::OldPods => RolloutState::OldPods,
            Self::Complete => RolloutState::Complete,
        };
        Rollout { name: "Deployment shop".into(), state }
    }
}

/// Returns the values that workloads are restarted for: the number of the rotation, and whether they
/// are promoted.
pub(crate) fn restart_key(status: &Status) -> Option<(u64, bool)> {
    let rotation = status.rotation.as_ref()?;
    match rotation.phase {
        Phase::Staging => Some((rotation.number, false)),
        Phase::Confirming | Phase::Grace => Some((rotation.number, true)),
        Phase::Started | Phase::Activating | Phase::Withdrawing => None,
    }
}

impl SystemState {
    /// Replaces the Pod with one of the present template.
    pub(crate) fn replace_pod(&mut self) {
        let list = self.target.as_ref().map(|target| target.list()).unwrap_or_default();
        let now = self.now;
        let Some(workload) = &mut self.workload else { return };
        workload.pod = workload.template;
        workload.created_at = now;
        self.history.record_restarted_pod(&list, workload.takes_pair);
    }

    /// Returns whether the Pod is not one of the present template.
    pub(crate) fn has_rollout(&self) -> bool {
        self.workload.as_ref().is_some_and(|workload| !workload.is_rolled_out())
    }

    /// Takes the operator's last restart back. Returns false if there is none.
    pub(crate) fn revert_restart(&mut self) -> bool {
        let Some(workload) = &mut self.workload else { return false };
        let reverted = if workload.is_rolled_out() { None } else { workload.pod };
        let has_effect = workload.template != reverted;
        workload.template = reverted;
        has_effect
    }
}

impl Operator<'_> {
    pub(crate) fn read_rollouts(&self, reconcile: &mut Reconcile) -> StepResult {
        let status = self.status(reconcile);
        let progress = match (&self.state.workload, status.restart_need(self.taken)) {
            (Some(workload), Some(need)) => match workload.state(&need) {
                RolloutState::NotRestarted { .. } => Progress::NotRestarted,
                RolloutState::InProgress => Progress::RollingOut,
                RolloutState::OldPods => Progress::OldPods,
                _ => Progress::Complete,
            },
            _ => Progress::Complete,
        };
        reconcile.rollouts = Some(progress);
        StepResult::Continue
    }

    pub(crate) fn restart_workload(&mut self, reconcile: &mut Reconcile) -> StepResult {
        let fault = self.take_write_fault();
        if fault == Some(Fault::RequestLost) {
            return failed(Fault::RequestLost, Step::RestartWorkloads);
        }
        let status = self.resource(reconcile).status.0.clone();
        let progress = reconcile.rollouts.take();
        self.restart_if_needed(&status, progress, reconcile);
        if fault.is_some() {
            return failed(Fault::ResponseLost, Step::RestartWorkloads);
        }
        self.memory().restarted = restart_key(&status);
        StepResult::Continue
    }

    fn restart_if_needed(
        &mut self,
        status: &Status,
        progress: Option<Progress>,
        reconcile: &Reconcile,
    ) {
        let params = self.policy(reconcile).params().clone();
        let now = time(self.state.now);
        let (Some(rotation), Some(progress), Some(need)) =
            (&status.rotation, progress, status.restart_need(self.taken))
        else {
            return;
        };
        let Some(workload) = &mut self.state.workload else { return };
        let is_covered = workload.template.is_some_and(|stamp| stamp.covers(&need));
        if is_covered || !must_restart(rotation, &progress.rollout().state, now, &params) {
            return;
        }
        workload.template = Some(Stamp { number: need.number, level: need.level });
        let result = self.state.history.record_restart(now, &need);
        self.state.check(result);
    }
}

/// Pods that take the pair.
pub(crate) const PAIR: TakenValues = TakenValues { pair: true, current_only: false };

/// Pods that take only the current value.
pub(crate) const CURRENT_ONLY: TakenValues = TakenValues { pair: false, current_only: true };
