//! Checker of the invariants, independent of the state machine.
//!
//! Tests record in a [`History`], in order, the values in a client's target Secret, its secret at
//! Auth0, and its stored status. The history returns a [`Violation`] when an invariant does not
//! hold. It compares values but never shows one: the model check uses symbols for them, and tests
//! with real secrets give each one a number.
//!
//! # Definitions
//!
//! - **No lockout.** A consumer whose list is younger than one staging period finds an accepted
//!   value in it. With `Rotate` this holds from the moment the response is written; earlier lists
//!   are exempt. After `revoke`, lists without the new secret are exempt.
//! - **Write-ahead.** When the operator changes the secret at Auth0, the stored phase is
//!   [`Phase::Activating`](crate::Phase::Activating).
//! - **One rotation per cause.** A rotation starts with a request or due time that no other
//!   rotation has used up, or once in the life of a resource with `initial: Rotate`.
//! - **Nothing lost.** The value that `rotate-secret` returned is written before the operator
//!   changes the secret again. Where secrets are unreadable, a value that is already published may
//!   replace it.
//! - **Evidence before removal.** A value that Auth0 had is removed from the target Secret when its
//!   grace period is over and Auth0 was seen to accept the value after it: in a probe, if a negative
//!   control was rejected before, or by a read after the propagation window. A revoked secret has no
//!   grace period. A repair of the target Secret keeps such a value if another party left it there.
//! - **No lockout, restarts.** When the operator activates a staged value, the Pods of workloads that
//!   it restarts have taken that value, if they take the list and the rotation does not skip staging.
//!   In the end all of them have Auth0's secret.
//! - **Restart hold-off.** The operator does not restart a workload three times for the same values
//!   within one propagation window.
//! - **Drift hold-off.** The operator does not follow three changes by another party within two
//!   minutes, unless the status that records them was lost.
//! - **Ready means login.** When a reconcile ends, Ready is not true if no published value has been
//!   accepted since the end of the propagation window, and the process could know it: it has read the
//!   client's secret or has it in a response, or the stored status records an attempt to change it.
//!
//! # Limits
//!
//! Two things are outside of the operator's control. A party that changes the secret at Auth0
//! invalidates the previous one, and a party that edits or deletes the target Secret removes values
//! that cannot be fetched again, because Auth0 returns only its current secret. From then on the
//! operator is exempt until the target Secret has Auth0's secret and Auth0 accepts it, which is
//! known from a probe or because the propagation window is over. Earlier lists stay exempt.

mod history;
mod violation;

pub use history::{Actor, History, Settings};
pub use violation::{Invariant, Violation};

#[cfg(test)]
mod tests;
