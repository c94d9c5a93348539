//! Runs the election: executes the steps of the state machine and publishes the state of this
//! process.

use std::time::{Duration, Instant};

use kube::Client;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    boot_instant::BootInstant,
    config::LeaderElectionConfig,
    election::{Election, Step, WriteOutcome},
    leadership::{LeaderState, Leadership},
    lease_lock::{LeaseClient, LeaseError, LeaseLock},
};

/// How often to log a problem that persists.
const PROBLEM_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How often to try to release the Lease.
const RELEASE_ATTEMPTS: u32 = 2;

/// Takes part in the election for this process, in a background task.
pub struct LeaderElector {
    leadership: Leadership,
    state: watch::Receiver<LeaderState>,
    mode: Mode,
}

enum Mode {
    /// Keeps the sender: receivers would see a dropped sender as the end of the election.
    Disabled {
        _state: watch::Sender<LeaderState>,
    },
    Enabled {
        task: JoinHandle<()>,
        release: oneshot::Sender<()>,
    },
}

impl LeaderElector {
    /// Returns an elector without an election: this process is always the leader.
    pub fn disabled() -> Self {
        let (sender, state) = watch::channel(LeaderState::Leader);
        Self { leadership: Leadership::unlimited(), state, mode: Mode::Disabled { _state: sender } }
    }

    /// Takes part in the election once `eligible` is true. Before that, this process neither acquires
    /// the Lease nor keeps another one from it.
    pub fn start(
        client: Client,
        lock: LeaseLock,
        config: LeaderElectionConfig,
        eligible: watch::Receiver<bool>,
    ) -> Self {
        let leadership = Leadership::elected();
        let problem = Some("the Lease has not been read yet".to_owned());
        let (sender, state) = watch::channel(LeaderState::Standby { problem });
        let (release, released) = oneshot::channel();
        let LeaseLock { namespace, name, identity, .. } = &lock;
        tracing::info!(namespace, lease = name, identity, "started leader election");
        let worker = Worker {
            election: Election::new(identity.clone(), config, BootInstant::now()),
            lease: LeaseClient::new(client, lock, config),
            leadership: leadership.clone(),
            state: sender,
            last_logged: None,
        };
        let task = tokio::spawn(worker.run(eligible, released));
        Self { leadership, state, mode: Mode::Enabled { task, release } }
    }

    /// Returns a handle to check whether this process may act.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Returns a receiver of the current state and its changes.
    pub fn subscribe(&self) -> watch::Receiver<LeaderState> {
        self.state.clone()
    }

    /// Ends leadership and releases the Lease, so that another replica can lead at once. No effect
    /// of this process may be in progress.
    pub async fn release(self) {
        if let Mode::Enabled { task, release } = self.mode {
            // Fails if the task has already ended because leadership was lost.
            let is_running = release.send(()).is_ok();
            if is_running {
                drop(task.await);
            }
        }
    }
}

/// The background task of an elector.
struct Worker {
    election: Election,
    lease: LeaseClient,
    leadership: Leadership,
    state: watch::Sender<LeaderState>,
    last_logged: Option<LoggedProblem>,
}

struct LoggedProblem {
    problem: String,
    at: Instant,
}

impl Worker {
    /// Runs until leadership is lost or `released`.
    async fn run(
        mut self,
        mut eligible: watch::Receiver<bool>,
        mut released: oneshot::Receiver<()>,
    ) {
        tokio::select! {
            is_eligible = eligible.wait_for(|is_eligible| *is_eligible) => {
                if is_eligible.is_err() {
                    return;
                }
            }
            _ = &mut released => return,
        }
        loop {
            let continues = tokio::select! {
                continues = self.execute_next_step() => continues,
                // The API server may still carry out a request that is dropped here; `release`
                // reads the Lease first and finds its effect.
                _ = &mut released => {
                    self.leadership.set_end(None);
                    return self.release().await;
                }
            };
            if !continues {
                return;
            }
        }
    }

    /// Executes one step. Returns false if it was the last one.
    async fn execute_next_step(&mut self) -> bool {
        let sent = BootInstant::now();
        match self.election.next_step(sent) {
            Step::Wait(until) => {
                let wait = until.saturating_duration_since(BootInstant::now());
                tokio::time::sleep(wait).await;
            }
            Step::Read => match self.lease.read().await {
                Ok(record) => {
                    self.election.record_read(record, BootInstant::now());
                    self.clear_problem();
                }
                Err(error) => {
                    self.election.record_failure(BootInstant::now());
                    self.report_problem(&error);
                }
            },
            Step::Create => {
                let written = self.lease.create().await;
                self.handle_write(written, sent);
            }
            Step::Write { lease_transitions, acquires } => {
                let written = self.lease.update(lease_transitions, acquires).await;
                self.handle_write(written, sent);
            }
            Step::Stop(reason) => {
                self.leadership.set_end(None);
                self.state.send_replace(LeaderState::Lost(reason));
                return false;
            }
        }
        true
    }

    fn handle_write(&mut self, written: Result<WriteOutcome, LeaseError>, sent: BootInstant) {
        let was_leader = self.election.is_leader();
        let now = BootInstant::now();
        let problem = match written {
            Ok(outcome) => {
                self.election.record_write(outcome, sent, now);
                None
            }
            Err(error) => {
                self.election.record_failure(now);
                Some(error)
            }
        };
        self.leadership.set_end(self.election.may_act_until());
        if self.election.is_leader() && !was_leader {
            tracing::info!("acquired leadership");
            self.state.send_replace(LeaderState::Leader);
        }
        match problem {
            Some(error) => self.report_problem(&error),
            None => self.clear_problem(),
        }
    }

    /// Records that the API server accepted a request about the Lease.
    fn clear_problem(&mut self) {
        self.last_logged = None;
        if self.election.is_leader() {
            return;
        }
        let standby = LeaderState::Standby { problem: None };
        let changed = self.state.send_if_modified(|state| {
            let changed = *state != standby;
            *state = standby;
            changed
        });
        if changed && let Some(holder) = self.election.holder() {
            tracing::info!(holder, "standing by: another replica is the leader");
        }
    }

    /// Logs a problem when it occurs, and repeats it periodically while it persists.
    fn report_problem(&mut self, error: &LeaseError) {
        let problem = error.to_string();
        let is_due = match &self.last_logged {
            Some(logged) => logged.problem != problem || logged.at.elapsed() > PROBLEM_LOG_INTERVAL,
            None => true,
        };
        if is_due {
            tracing::warn!(is_leader = self.election.is_leader(), "{problem}");
            self.last_logged = Some(LoggedProblem { problem: problem.clone(), at: Instant::now() });
        }
        if !self.election.is_leader() {
            self.state.send_replace(LeaderState::Standby { problem: Some(problem) });
        }
    }

    /// Removes this process as the holder, if it is. If that fails, the Lease expires.
    async fn release(&mut self) {
        if !self.election.is_leader() {
            return;
        }
        // Retries a conflict: a renewal that was in flight may be carried out in between.
        for _ in 0..RELEASE_ATTEMPTS {
            match self.lease.read().await {
                Ok(Some(record)) if self.election.is_held_by_self(&record) => {}
                Ok(_) => return,
                Err(error) => return tracing::warn!("{error}"),
            }
            match self.lease.release().await {
                Ok(WriteOutcome::Stored(_)) => return tracing::info!("released the Lease"),
                Ok(WriteOutcome::Conflict) => {}
                Err(error) => return tracing::warn!("{error}"),
            }
        }
    }
}
