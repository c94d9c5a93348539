//! Which of several replicas acts: the one that holds a Lease (`coordination.k8s.io/v1`).
//!
//! # Architecture invariants
//!
//! - The Lease is written by compare-and-swap on its resourceVersion, and in no other way.
//! - What another replica's clock says is never used. A Lease has expired when *this* process has
//!   seen no change of it for its duration, by a clock that only goes on.
//! - A leader counts its time from before it sent the call that renewed the Lease; the others count
//!   theirs from after they read that. So the leader's time is over first.
//! - Whoever has lost the Lease never leads again: the process ends. No timer, cache or task of one
//!   term can act in the next one.
//! - What to do next is decided in `election`, which is pure; `elector` carries it out.

mod clock;
mod election;
#[cfg(test)]
mod election_tests;
mod elector;
mod leadership;
mod lease;
mod terms;

pub use election::Loss;
pub use elector::LeaderElector;
pub use leadership::{LeaderState, Leadership, WriteFence};
pub use lease::LeaseName;
pub use terms::LeaderElectionConfig;
