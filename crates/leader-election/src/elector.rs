//! Carries out what the election decides.

use std::time::{Duration, Instant};

use kube::Client;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{
    clock::BootInstant,
    election::{Election, Step, Written},
    leadership::{LeaderState, Leadership},
    lease::{LeaseName, Stored},
    terms::LeaderElectionConfig,
};

/// How often a trouble that lasts is told again.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// This process as one of several that could lead.
pub struct LeaderElector {
    leadership: Leadership,
    standing: watch::Receiver<LeaderState>,
    elector: Elected,
}

/// What decides on the standing.
enum Elected {
    /// Nothing: it stays as it is for as long as this is kept.
    Unopposed {
        _standing: watch::Sender<LeaderState>,
    },
    By {
        task: JoinHandle<()>,
        resign: oneshot::Sender<()>,
    },
}

impl LeaderElector {
    /// There is no election: this process is the only one.
    pub fn unopposed() -> LeaderElector {
        let (keeper, standing) = watch::channel(LeaderState::Leading);
        let elector = Elected::Unopposed { _standing: keeper };
        LeaderElector { leadership: Leadership::undisputed(), standing, elector }
    }

    /// Takes part in the election from now on, under a name that no other process has.
    pub fn stand(
        client: Client,
        place: LeaseName,
        identity: String,
        terms: LeaderElectionConfig,
    ) -> LeaderElector {
        let leadership = Leadership::elected();
        let trouble = Some("the Lease has not been read yet".to_owned());
        let (standing, seen) = watch::channel(LeaderState::Standby { trouble });
        let (resign, resigned) = oneshot::channel();
        let (namespace, name) = (&place.namespace, &place.name);
        tracing::info!(namespace, lease = name, identity, "takes part in the election of a leader");
        let (duration, deadline) = (terms.duration(), terms.renew_interval());
        let elector = Elector {
            stored: Stored::new(client, place, identity.clone(), duration, deadline),
            election: Election::new(identity, terms, BootInstant::now()),
            leadership: leadership.clone(),
            standing,
            told: None,
        };
        let task = tokio::spawn(elector.run(resigned));
        LeaderElector { leadership, standing: seen, elector: Elected::By { task, resign } }
    }

    /// Whether this process may act, for those who act.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// How this process stands.
    pub fn standing(&self) -> watch::Receiver<LeaderState> {
        self.standing.clone()
    }

    /// Acts no more, and lets another one lead at once. Nothing may be under way any more.
    pub async fn resign(self) {
        if let Elected::By { task, resign } = self.elector {
            // It has ended by itself when the Lease was lost.
            let asked = resign.send(());
            if asked.is_ok() {
                drop(task.await);
            }
        }
    }
}

struct Elector {
    stored: Stored,
    election: Election,
    leadership: Leadership,
    standing: watch::Sender<LeaderState>,
    /// The last trouble that was told, and when.
    told: Option<(String, Instant)>,
}

impl Elector {
    /// Runs until the Lease is lost, or `resigned`.
    async fn run(mut self, mut resigned: oneshot::Receiver<()>) {
        loop {
            let goes_on = tokio::select! {
                goes_on = self.turn() => goes_on,
                // A call that is dropped here may be carried out: it is found out by reading.
                _ = &mut resigned => {
                    self.leadership.lasts_until(None);
                    return self.release().await;
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// One step. False when it was the last one.
    async fn turn(&mut self) -> bool {
        let sent = BootInstant::now();
        match self.election.step(sent) {
            Step::Wait(until) => {
                tokio::time::sleep(until.from(BootInstant::now())).await;
                return true;
            }
            Step::Read => match self.stored.read().await {
                Ok(record) => {
                    self.election.was_read(record, BootInstant::now());
                    self.well();
                }
                Err(trouble) => {
                    self.election.failed(BootInstant::now());
                    self.tell(trouble);
                }
            },
            Step::Create => {
                let written = self.stored.create().await;
                self.was_written(written, sent);
            }
            Step::Write { transitions, takes } => {
                let written = self.stored.write(transitions, takes).await;
                self.was_written(written, sent);
            }
            Step::Stop(loss) => {
                self.leadership.lasts_until(None);
                self.standing.send_replace(LeaderState::Lost(loss));
                return false;
            }
        }
        true
    }

    fn was_written(&mut self, (written, trouble): (Written, Option<String>), sent: BootInstant) {
        let led = self.election.leads();
        self.election.was_written(written, sent, BootInstant::now());
        self.leadership.lasts_until(self.election.may_act_until());
        if self.election.leads() && !led {
            tracing::info!("leads: holds the Lease");
            self.standing.send_replace(LeaderState::Leading);
        }
        match trouble {
            Some(trouble) => self.tell(trouble),
            None => self.well(),
        }
    }

    /// The API server has answered about the Lease.
    fn well(&mut self) {
        self.told = None;
        if self.election.leads() {
            return;
        }
        let well = LeaderState::Standby { trouble: None };
        let changed = self.standing.send_if_modified(|standing| {
            let changed = *standing != well;
            *standing = well;
            changed
        });
        if changed && let Some(holder) = self.election.holder() {
            tracing::info!(holder, "stands by: another one holds the Lease");
        }
    }

    /// Tells of a trouble once, and now and then while it lasts.
    fn tell(&mut self, trouble: String) {
        let known = self.told.as_ref();
        if known.is_none_or(|(told, at)| *told != trouble || at.elapsed() > TELL_AGAIN) {
            tracing::warn!(leads = self.election.leads(), "{trouble}");
            self.told = Some((trouble.clone(), Instant::now()));
        }
        if !self.election.leads() {
            self.standing.send_replace(LeaderState::Standby { trouble: Some(trouble) });
        }
    }

    /// Empties the Lease, if it is ours. Whether it succeeds or not, others get it when it expires.
    async fn release(&mut self) {
        if !self.election.leads() {
            return;
        }
        // Twice: the call that was on its way may come in between.
        for _ in 0..2 {
            match self.stored.read().await {
                Ok(Some(record)) if self.election.is_own(&record) => {}
                Ok(_) => return,
                Err(trouble) => return tracing::warn!("{trouble}"),
            }
            match self.stored.release().await {
                (Written::Stored(_), _) => return tracing::info!("released the Lease"),
                (Written::Conflict, _) => {}
                (Written::Unknown, trouble) => {
                    return tracing::warn!("{}", trouble.unwrap_or_default());
                }
            }
        }
    }
}
