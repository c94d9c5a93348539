//! Leader election with a Kubernetes Lease (`coordination.k8s.io/v1`): of several replicas, the one
//! that holds the Lease may act.
//!
//! [`LeaderElector`] runs the election in a background task. It publishes its [`LeaderState`] for
//! logs, metrics and readiness, and hands out [`Leadership`], from which every write derives the
//! [`WriteFence`] that it checks immediately before it is sent.
//!
//! | module | contents |
//! | --- | --- |
//! | `config` | validated durations, as in client-go's `LeaderElectionConfig` |
//! | `elector` | the task that runs the election |
//! | `election` | pure state machine: from observations of the Lease to the next step |
//! | `lease_lock` | reads and writes the Lease on the API server |
//! | `leadership` | how long this process may act, and the fence for writes |
//! | `boot_instant` | monotonic clock that keeps running during suspend |
//!
//! # Architecture invariants
//!
//! - The Lease is only written by compare-and-swap on its resourceVersion.
//! - Timestamps of other replicas are never used. A Lease has expired when *this* process has
//!   observed no change of it for the lease duration, measured by a monotonic clock.
//! - A leader measures its time from before it sent the request that renewed the Lease. Standbys
//!   measure theirs from after they read the renewed Lease, so the leader's time ends first.
//! - A process that lost leadership never leads again; it exits. No timer, cache or task of one
//!   term can act in the next one.
//! - `election` is pure: it makes every decision and performs no IO. `elector` executes its steps.

mod boot_instant;
mod config;
mod election;
#[cfg(test)]
mod election_simulation;
#[cfg(test)]
mod election_tests;
mod elector;
mod leadership;
mod lease_lock;

pub use boot_instant::BootInstant;
pub use config::{ConfigError, LeaderElectionConfig};
pub use election::LossReason;
pub use elector::LeaderElector;
pub use leadership::{LeaderState, Leadership, WriteFence};
pub use lease_lock::LeaseLock;
