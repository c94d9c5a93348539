//! What the machine answers.

use chrono::{DateTime, Utc};

use crate::status::Status;

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The status to store before the step, when it differs from the stored one. For a step that
    /// changes something at Auth0 it is the durable record of the intent.
    pub status: Status,
    /// What to do once the status is stored.
    pub step: Step,
    /// When to look again if nothing happens before. Only a decision to rest has one.
    pub wake: Option<DateTime<Utc>>,
}

/// The one thing to do before looking again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing; the pass is over.
    Wait,
    /// Nothing but storing the status, then decide again.
    StoreStatus,
    /// Read the client at Auth0.
    ReadClient,
    /// Ask Auth0 whether it accepts the target Secret's current value.
    ProbeSecret,
    /// Ask the API server whether it would take a new pair of values in the target Secret: before
    /// Auth0 is asked for a value that can't be had twice.
    DryRun,
    /// Put our finalizer on the resource, and mark it as initialized.
    AddFinalizer,
    /// Take our finalizer off the resource.
    RemoveFinalizer,
    /// Look for the pods that will never see what is written into the target Secret.
    FindUnreachedPods,
    /// See how far the restarts of consumers have come.
    ReadRollouts,
    /// Restart the consumers that haven't been, by stamping their pod templates with the time in
    /// the record.
    RestartWorkloads,
    /// Call `rotate-secret` and keep the answer in hand; never repeated by itself.
    RotateSecret,
    /// Set the client's secret to the value of that number in the target Secret.
    SetSecret(u64),
    /// Write the target Secret.
    Publish(Publication),
}

/// The contents of the target Secret, in symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// What it is for.
    pub purpose: Purpose,
    /// The value to try first.
    pub current: NumberedValue,
    /// The value to try second.
    pub fallback: Option<NumberedValue>,
}

/// A value and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NumberedValue {
    /// The number it has, or is given.
    pub number: u64,
    /// Where the value comes from.
    pub value: ValueSource,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueSource {
    /// The target Secret's present current value.
    Current,
    /// The target Secret's present fallback.
    Fallback,
    /// The answer of `rotate-secret` that this process holds.
    Response,
    /// What Auth0 said in this pass that the client's secret is.
    Auth0,
    /// A new one from the operating system's generator: 64 characters of `[A-Za-z0-9_-]`.
    Generated,
}

/// What a publication is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The client's present secret, for the first time.
    Import,
    /// The answer of `rotate-secret`.
    Response,
    /// A secret that Auth0 has and nobody here was told of, read back: the outcome of a
    /// `rotate-secret` whose answer was lost, or a change that someone else made.
    ReadBack,
    /// The pair of current and next, before activation.
    Stage,
    /// The pair of new and previous, after activation.
    Promote,
    /// The new secret alone, after the grace period.
    Retire,
    /// The current secret without the next one, which will not be activated.
    Withdraw,
    /// The target Secret was edited or deleted.
    Repair,
    /// The same values, as the spec now wants them written.
    Render,
}

/// The step that writes these values, each with its number.
pub(crate) fn publish(
    purpose: Purpose,
    current: (u64, ValueSource),
    fallback: Option<(u64, ValueSource)>,
) -> Step {
    let numbered = |(number, value)| NumberedValue { number, value };
    Step::Publish(Publication {
        purpose,
        current: numbered(current),
        fallback: fallback.map(numbered),
    })
}
