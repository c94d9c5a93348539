//! What everybody works on: the servers, the book, the counts.

use std::sync::atomic::{AtomicU64, Ordering};

use auth0_simulator::Simulator;
use kube::Client;
use local_cluster::ControlPlane;

use crate::book::Book;
use crate::fleet::Member;
use crate::operators::Operators;
use crate::tally::Tallies;
use crate::watch::Watch;

/// What everybody works on. The fields are dropped from top to bottom: first the operators, last
/// the control plane.
pub(crate) struct Arena {
    pub(crate) operators: Operators,
    pub(crate) simulator: Simulator,
    pub(crate) client: Client,
    pub(crate) book: Book,
    pub(crate) tallies: Tallies,
    pub(crate) watch: Watch,
    pub(crate) counts: Counts,
    pub(crate) control_plane: ControlPlane,
}

impl Arena {
    pub(crate) fn members(&self) -> &[Member] {
        self.book.members()
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) kills: Count,
    pub(crate) stops: Count,
    pub(crate) restarts: Count,
    pub(crate) requests: Count,
    pub(crate) revocations: Count,
    pub(crate) dashboard: Count,
    pub(crate) deletions: Count,
    pub(crate) edits: Count,
    pub(crate) wipes: Count,
    /// Changes at Auth0 by a process that was stopped when it was about to make them.
    pub(crate) stale: Count,
    /// Changes at Auth0 whose record the API server was killed over, before it wrote down that it
    /// had stored it.
    pub(crate) unproven: Count,
    /// Failed logins of consumers that were too late through our own fault.
    pub(crate) late: Count,
}

/// A number that goes up.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
