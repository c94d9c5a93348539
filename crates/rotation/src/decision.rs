//! Output of [`crate::decide()`]: the status to store, and the next step.

use chrono::{DateTime, Utc};

use crate::status::Status;

/// Next step of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Status to store, if it differs from the stored one: before the step if
    /// [`must_store_first()`](crate::must_store_first), and otherwise at the latest when the reconcile
    /// ends. For a step that changes something at Auth0, it is the durable record of the intent.
    pub status: Status,
    /// Step to execute next.
    pub step: Step,
    /// When to reconcile again if nothing happens before. Set only with [`Step::Wait`].
    pub wake: Option<DateTime<Utc>>,
}

/// The one effect to execute before observing again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Do nothing; the reconcile is over.
    Wait,
    /// Decide again with the new status.
    StoreStatus,
    /// Read the client from Auth0.
    ReadClient,
    /// Read the client from Auth0 without its secret: Auth0 logs each read of a secret.
    CheckClient,
    /// Ask Auth0 whether it accepts a random value: the negative control of probes.
    ProbeRandomValue,
    /// Ask Auth0 whether it accepts the current value of the target Secret.
    ProbeSecret,
    /// Ask Auth0 whether it accepts the fallback of the target Secret.
    ProbeFallback,
    /// Ask Auth0 whether it still accepts the secret that the last `revoke` removed.
    ProbeRevoked,
    /// Ask the API server, with a dry run, whether it would accept a new pair of values in the
    /// target Secret. This precedes `rotate-secret`, whose response cannot be fetched twice.
    DryRun,
    /// Add the finalizer to the resource and mark the resource as initialized.
    AddFinalizer,
    /// Remove the finalizer from the resource.
    RemoveFinalizer,
    /// Find Pods that never see updates of the target Secret.
    FindUnreachedPods,
    /// Read the progress of the workload rollouts.
    ReadRollouts,
    /// Restart the workloads that were not restarted yet, by writing the restart time of the
    /// rotation to their Pod templates.
    RestartWorkloads,
    /// Call `rotate-secret` and keep the response in memory. The executor never retries this call.
    RotateSecret,
    /// Set the client's secret to the value with this number in the target Secret.
    SetSecret(u64),
    /// Write the target Secret.
    Publish(Publication),
}

/// Contents of the target Secret, described without the values themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Why it is written.
    pub purpose: Purpose,
    /// Value that applications try first.
    pub current: NumberedValue,
    /// Value that applications try second.
    pub fallback: Option<NumberedValue>,
}

/// A value and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NumberedValue {
    /// Number that the value has, or gets with this publication.
    pub number: u64,
    /// Where the value comes from.
    pub value: ValueSource,
}

impl NumberedValue {
    pub(crate) const fn new(number: u64, value: ValueSource) -> Self {
        Self { number, value }
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueSource {
    /// The current value of the target Secret.
    Current,
    /// The fallback of the target Secret.
    Fallback,
    /// The response of `rotate-secret` that this process keeps in memory.
    Response,
    /// The client's secret as Auth0 returned it in this reconcile.
    Auth0,
    /// A new random value: 64 characters of `[A-Za-z0-9_-]`.
    Generated,
}

/// Why the target Secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Publishes the client's existing secret for the first time.
    Import,
    /// Publishes the response of `rotate-secret`.
    Response,
    /// Publishes a secret that Auth0 has and the operator read back: the outcome of a
    /// `rotate-secret` whose response was lost, or an out-of-band change.
    ReadBack,
    /// Writes the same values before `rotate-secret`, with the number of the rotation: only a real
    /// write proves that its response can be stored.
    ProveWrite,
    /// Publishes the pair of current and next value, before activation.
    Stage,
    /// Publishes the pair of new and previous value, after activation.
    Promote,
    /// Publishes the new value alone, after the grace period.
    Retire,
    /// Removes the next value, which will not be activated.
    Withdraw,
    /// Restores a target Secret that was edited or deleted.
    Repair,
    /// Publishes the same values in the format that the spec asks for now.
    Render,
}

/// Returns the step that writes these values.
pub(crate) fn publish(
    purpose: Purpose,
    current: NumberedValue,
    fallback: Option<NumberedValue>,
) -> Step {
    Step::Publish(Publication { purpose, current, fallback })
}
