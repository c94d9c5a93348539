//! Actions of the model.

use rotation::Verb;

/// An action that can happen next. Numbers identify processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// A process reads the resource, stores a status, or has its next effect.
    Run(usize),
    /// The next effect of a process fails.
    Fail(usize, Fault),
    /// A process crashes and loses its memory.
    Crash(usize),
    /// A process lists the tenant's clients, and compares them later.
    ListClients(usize),
    /// A call that the operator took for lost reaches Auth0.
    DeliverLateCall,
    /// Authentication at Auth0 accepts the client's secret from now on.
    Propagate,
    /// One tick passes.
    Tick,
    /// The Pod of the workload is replaced with one of the present template.
    RollOut,
    /// Another party takes the operator's last restart of the workload back.
    RevertRestart,
    /// Another party restarts the workload.
    RestartByOthers,
    /// Another party sets another secret in the Auth0 dashboard.
    ChangeInDashboard,
    /// Another party makes the client one that must not be rotated, or reverts that.
    SwitchClientKind,
    /// Another party deletes the target Secret.
    DeleteTarget,
    /// Another party writes its own value into the target Secret.
    EditTarget,
    /// An access control list answers probes with status 403 from now on.
    ForbidProbes,
    /// Another party writes its own value over the fallback.
    EditFallback,
    /// Another party restores the target Secret from before the operator's last write.
    RestoreOlderTarget,
    /// The status is lost.
    LoseStatus,
    /// A user changes strategy, staging period and grace period in the spec.
    EditSpec,
    /// A user or a deployment tool replaces the resource, which removes its finalizer and the mark that
    /// it is initialized.
    ReplaceResource,
    /// A user deletes the resource.
    DeleteResource,
    /// The wall clocks of the API server and of all processes are set, or jump.
    SetWallClocks(WallClockOffsets),
    /// A user sets the request annotation.
    Request(Verb),
}

/// How many ticks the wall clocks are ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct WallClockOffsets {
    pub(crate) server: i8,
    pub(crate) machine: i8,
}

/// Fault of one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The request gets lost: nothing happens, and the process does not know. A change at Auth0 may
    /// still arrive within the propagation window.
    RequestLost,
    /// The effect happens, but its response is lost.
    ResponseLost,
    /// The request is rejected: nothing happens, and the process knows.
    Rejected,
    /// Auth0 rejects the value as a client secret.
    ValueRejected,
    /// Auth0 rejects every change of the client's secret.
    ChangeRejected,
    /// Auth0 does not respond to a read or a probe.
    ReadFailed,
}

/// Disruptions by users and other parties.
pub(crate) const INTERFERENCE: [Action; 8] = [
    Action::ChangeInDashboard,
    Action::SwitchClientKind,
    Action::DeleteTarget,
    Action::EditTarget,
    Action::LoseStatus,
    Action::EditSpec,
    Action::ReplaceResource,
    Action::DeleteResource,
];

/// Changes of the target Secret that leave some of its values.
pub(crate) const TAMPERING: [Action; 3] =
    [Action::EditTarget, Action::EditFallback, Action::RestoreOlderTarget];

/// Disruptions of a workload.
pub(crate) const WORKLOAD_INTERFERENCE: [Action; 2] =
    [Action::RevertRestart, Action::RestartByOthers];

/// Faults of processes and their calls. Process 0 represents every process.
pub(crate) const FAULTS: [Action; 7] = [
    Action::Crash(0),
    Action::ListClients(0),
    Action::Fail(0, Fault::RequestLost),
    Action::Fail(0, Fault::ResponseLost),
    Action::Fail(0, Fault::Rejected),
    Action::Fail(0, Fault::ValueRejected),
    Action::Fail(0, Fault::ChangeRejected),
];
