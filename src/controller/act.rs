//! Steps: each one call to Auth0 or one write, and what follows from it for the pass.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use kube::ResourceExt as _;
use rotation::{
    ErrorClass, Failure, NumberedValue, Publication, Purpose, Reason, Rejection, RolloutState,
    Step, Target, ValueSource,
};
use tracing::Instrument as _;

use super::{
    clock::now,
    consumers::{self, Consumers},
    memory::Watching,
    observe::refuse_client,
    pass::Pass,
    target::Contents,
    tenants::Usable,
    trouble,
};
use crate::failpoint::failpoint;
use auth0_client::{Auth0Error, ClientInfo, ClientSecret, Priority};
use leader_election::WriteFence;

/// How long after its intent was stored a change may still be sent to Auth0. Whoever was stopped
/// for longer reads again: another replica may have gone on meanwhile.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// How long consumers are watched at a time.
const ROLLOUT_WATCH: Duration = Duration::from_secs(1800);

impl Pass<'_> {
    pub(super) async fn take(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Wait | Step::StoreStatus => Ok(()),
            Step::ReadClient => self.read_client().await,
            Step::ProbeSecret => self.ask_accepted().await,
            Step::DryRun => self.rehearse().await,
            Step::FindUnreachedPods => {
                let secret = &self.resource.spec.target.name;
                self.unreached = self.consumers().unreached(secret).await?;
                Ok(())
            }
            Step::ReadRollouts => self.read_rollouts().await,
            Step::RestartWorkloads => self.restart_consumers().await,
            Step::AddFinalizer => {
                failpoint!("before-add-finalizer");
                self.resource = self.handle.hold(&self.resource, self.context.right()).await?;
                failpoint!("after-add-finalizer");
                self.note_resource();
                Ok(())
            }
            Step::RemoveFinalizer => {
                failpoint!("before-remove-finalizer");
                self.resource = self.handle.release(&self.resource, self.context.right()).await?;
                failpoint!("after-remove-finalizer");
                self.note_resource();
                Ok(())
            }
            Step::RotateSecret => self.rotate_secret().await,
            Step::SetSecret(number) => self.set_secret(number).await,
            Step::Publish(publication) => self.publish(&publication).await,
        }
    }

    fn tenant(&self) -> Result<Usable, Failure> {
        self.tenant.clone()
    }

    async fn read_client(&mut self) -> Result<(), Failure> {
        self.urgent = None;
        let usable = self.tenant()?;
        let client_id = self.resource.spec.client_id.clone();
        let status = self.resource.status.as_ref();
        let is_underway = status.is_some_and(|status| status.rotation.is_some());
        let urgency = if is_underway { Priority::InProgress } else { Priority::New };
        let asked_at = now();
        let read = usable.tenant.client(&client_id, true, urgency).await;
        usable.meter.called("read-client", &read);
        self.client_read_at = Some(asked_at);
        if let Ok(facts) = &read {
            self.note_metadata(facts);
        }
        self.client = Some(match read {
            Ok(facts) => refuse_client(&facts).map_or(Ok(facts), Err),
            // A tenant that doesn't let clients be read lets them be rotated all the same.
            Err(Auth0Error::MissingScope(_)) => Ok(ClientInfo::unreadable(&client_id)),
            Err(error @ Auth0Error::ClientNotFound) => {
                Err(Rejection::new(error.reason(), error.to_string()))
            }
            Err(error) => return Err(Failure::from(&error)),
        });
        Ok(())
    }

    async fn ask_accepted(&mut self) -> Result<(), Failure> {
        self.urgent = None;
        let usable = self.tenant()?;
        let Some(current) = &self.values.current else {
            return Err(trouble::conflict("the target Secret has no value to ask about"));
        };
        trouble::check(self.context.right())?;
        let asked = usable.tenant.accepts(&self.resource.spec.client_id, current).await;
        usable.meter.called("revoke", &asked);
        self.context.metrics.asked_whether_accepted(asked.as_ref().ok().copied());
        let accepted = asked.map_err(|error| Failure::from(&error))?;
        self.accepted = Some(accepted);
        let rejected_at = (!accepted).then(now);
        self.context.memory.with(&self.uid, |known| known.rejected_at = rejected_at);
        Ok(())
    }

    /// Everything that can fail before a change at Auth0, before it is recorded: the tenant is as
    /// it was read, there is a token, and it allows changes.
    pub(super) async fn prepare_change(&self) -> Result<(), Failure> {
        if self.context.is_stopping() {
            return Err(trouble::stopping());
        }
        trouble::check(self.context.right())?;
        let usable = self.tenant()?;
        if let Some(Rejection { reason, message }) = self.forbids_asking() {
            return Err(trouble::invalid(reason, message));
        }
        let reference = &self.resource.spec.tenant_ref;
        self.context.tenants.check_live(self.namespace(), reference, &usable).await?;
        let prepared = usable.tenant.prepare_change().await;
        prepared.map_err(|error| Failure { not_applied: true, ..Failure::from(&error) })
    }

    /// The one effect that can't be repeated. The call runs on by itself if this pass is dropped,
    /// and its answer is in hand before anything else can happen.
    async fn rotate_secret(&mut self) -> Result<(), Failure> {
        let usable = self.tenant()?;
        let not_after = self.last_moment(self.recorded)?;
        // What was seen of Auth0 is out of date from here on.
        (self.client, self.accepted) = (None, None);
        let client_id = self.resource.spec.client_id.clone();
        let attempt = self.status().rotation.and_then(|rotation| rotation.activating_at);
        let memory = self.context.memory.clone();
        let (uid, meter) = (self.uid.clone(), usable.meter.clone());
        failpoint!("before-rotate-secret");
        let call = async move {
            let answer = usable.tenant.rotate_secret(&client_id, not_after).await;
            memory.with(&uid, |known| {
                // What nobody answered may still be on its way.
                known.ended_attempt = attempt.filter(|_| answer.is_ok());
                known.rejected_at = None;
                answer.map(|secret| {
                    known.answer = secret.map(|secret| (secret, Instant::now()));
                })
            })
        };
        let ended = tokio::spawn(call.in_current_span()).await;
        failpoint!("after-rotate-secret");
        self.hurry_if_in_hand();
        let answer = ended.map_err(|_| Failure {
            not_applied: false,
            ..trouble::conflict("the call ended without an answer")
        })?;
        meter.called("rotate-secret", &answer);
        answer.map_err(|error| Failure::from(&error))
    }

    async fn set_secret(&mut self, number: u64) -> Result<(), Failure> {
        self.urgent = None;
        let usable = self.tenant()?;
        // Repeating it is safe. Sending it long after it was read that this is what has to be set is
        // not: another replica may have gone on meanwhile.
        let not_after = self.last_moment(Some(self.read_at).max(self.recorded))?;
        let numbers = self.snapshot().map(|secret| secret.numbers()).unwrap_or_default();
        let value = match numbers {
            (_, Some(fallback)) if fallback == number => &self.values.fallback,
            (Some(current), _) if current == number => &self.values.current,
            _ => &None,
        };
        let Some(value) = value else {
            return Err(trouble::conflict("the target Secret has no value of that number"));
        };
        failpoint!("before-set-secret");
        let set = usable.tenant.set_secret(&self.resource.spec.client_id, value, not_after).await;
        failpoint!("after-set-secret");
        usable.meter.called("set-secret", &set);
        (self.client, self.accepted) = (None, None);
        set.map_err(|error| Failure::from(&error))?;
        self.secret_set = true;
        Ok(())
    }

    fn patience(&self) -> Duration {
        STALE_AFTER.min(self.context.settings.propagation_window.to_std() / 6)
    }

    /// Until when a change may begin whose ground was read, or stored, by this process then, and
    /// while this process leads. It is looked at again just before the change is sent.
    fn last_moment(&self, since: Option<Instant>) -> Result<Instant, Failure> {
        let last = since.map(|since| since + self.patience());
        let last = last.and_then(|last| self.context.leadership.no_later_than(last));
        last.filter(|last| Instant::now() < *last).ok_or_else(|| Failure {
            // The record stands, and what it stands for is read back.
            not_applied: false,
            ..trouble::conflict("too much time went by since the intent was read or stored")
        })
    }

    /// Asks the API server whether it would take what a rotation will write: permissions, quotas,
    /// admission webhooks and names are found wrong before there is a value to lose.
    async fn rehearse(&mut self) -> Result<(), Failure> {
        let usable = self.tenant()?;
        let sample = ClientSecret::generate()
            .ok_or_else(|| trouble::conflict("the operating system gives no randomness"))?;
        let present = self.values.current.clone().map(|value| (1, value));
        let contents = Contents { current: (2, sample), fallback: present };
        let present = self.snapshot();
        let rendered = self.rendering(&usable.domain).render(&contents, present);
        let (namespace, name) = (self.namespace(), self.resource.spec.target.name.as_str());
        self.context.secrets.rehearse(namespace, name, &rendered, present).await?;
        self.dry_run_passed = true;
        Ok(())
    }

    fn consumers(&self) -> Consumers<'_> {
        let restart = &self.resource.spec.consumers.restart;
        Consumers::new(&self.context.client, self.namespace(), restart)
    }

    fn restart_at(&self) -> Result<DateTime<Utc>, Failure> {
        let rotation = self.resource.status.as_ref().and_then(|status| status.rotation.as_ref());
        let at = rotation.and_then(|rotation| rotation.restart_at);
        at.ok_or_else(|| trouble::conflict("no restart is recorded"))
    }

    async fn restart_consumers(&mut self) -> Result<(), Failure> {
        failpoint!("before-restart");
        let refused = self.consumers().restart(self.restart_at()?, self.context.right()).await?;
        failpoint!("after-restart");
        self.not_restarted = refused;
        self.rollouts = None;
        Ok(())
    }

    /// Reads how far restarts have come, and watches those that are under way.
    async fn read_rollouts(&mut self) -> Result<(), Failure> {
        let rollouts = self.consumers().rollouts(self.restart_at()?, &self.not_restarted).await?;
        let underway = rollouts.iter().any(|rollout| rollout.state == RolloutState::InProgress);
        self.rollouts = Some(rollouts);
        let (client, memory, pokes) =
            (self.context.client.clone(), self.context.memory.clone(), self.context.pokes.clone());
        let (uid, namespace) = (self.uid.clone(), self.namespace().to_owned());
        let (name, restart) =
            (self.resource.name_any(), self.resource.spec.consumers.restart.clone());
        let changed = {
            let namespace = namespace.clone();
            move || {
                memory.with(&uid, |known| known.poked = true);
                pokes.poke(&namespace, &name);
            }
        };
        self.context.memory.with(&self.uid, |known| {
            let watched = known.rollout_watch.as_ref().is_some_and(|watching| !watching.is_over());
            if underway && !watched {
                let watch = consumers::watch(client, namespace, restart, ROLLOUT_WATCH, changed);
                known.rollout_watch = Some(Watching(tokio::spawn(watch)));
            } else if !underway {
                known.rollout_watch = None;
            }
        });
        Ok(())
    }

    async fn publish(&mut self, publication: &Publication) -> Result<(), Failure> {
        self.check_not_again(publication)?;
        if let Target::Rejected(refusal) = self.target() {
            // The machine doesn't ask for this; whatever asks, it isn't done.
            return Err(trouble::invalid(refusal.reason, refusal.message));
        }
        let contents = self.contents(publication)?;
        let domain = self.domain()?;
        let rendered = self.rendering(&domain).render(&contents, self.snapshot());
        let (namespace, name) = (self.namespace(), self.resource.spec.target.name.as_str());
        let secrets = &self.context.secrets;
        let right = self.right_to_publish(publication);
        failpoint!("before-publish");
        let written = match self.snapshot() {
            None => secrets.create(namespace, name, &rendered, right).await?,
            Some(over) => secrets.apply(namespace, name, &rendered, over, right).await?,
        };
        failpoint!("after-publish");
        self.published(publication);
        self.written = Some(publication.clone());
        let keys = &self.resource.spec.target.keys;
        self.values = written.values(keys);
        self.secret = Some(Some(written));
        self.accepted = None;
        self.note_secret();
        Ok(())
    }

    pub(super) fn right_to_publish(&self, publication: &Publication) -> WriteFence<'_> {
        match publication.purpose {
            Purpose::Response => WriteFence::UnpublishedResponse,
            _ => self.context.right(),
        }
    }

    /// The tenant's domain; where the tenant is gone, what it was: an answer is published all the
    /// same.
    fn domain(&self) -> Result<String, Failure> {
        match &self.tenant {
            Ok(usable) => Ok(usable.domain.clone()),
            Err(trouble) => {
                let known = self.context.memory.with(&self.uid, |known| known.domain.clone());
                let key = &self.resource.spec.target.keys.domain;
                let written = || Some(self.snapshot()?.text(key)?.as_str().to_owned());
                known.or_else(written).ok_or_else(|| trouble.clone())
            }
        }
    }

    /// What was written in this pass and has to be written again did not stay: someone else writes
    /// the same keys, and is not raced.
    fn check_not_again(&self, publication: &Publication) -> Result<(), Failure> {
        let name = &self.resource.spec.target.name;
        if self.written.as_ref() != Some(publication) {
            return Ok(());
        }
        Err(Failure {
            class: ErrorClass::Retry,
            ..trouble::invalid(
                Reason::TargetContested,
                format!("someone else keeps changing the Secret {name}: find out who, and stop it"),
            )
        })
    }

    fn published(&mut self, publication: &Publication) {
        self.urgent = None;
        let purpose = publication.purpose;
        if purpose == Purpose::Response {
            let answer = self.context.memory.with(&self.uid, |known| known.answer.take());
            if let Some((_, since)) = answer {
                self.context.metrics.answer_published(since.elapsed());
            }
        }
        self.context.metrics.secret_written(purpose);
        let name = self.resource.name_any();
        let (current, fallback) = (publication.current.number, publication.fallback);
        let fallback = fallback.map(|fallback| fallback.number);
        tracing::info!(
            namespace = self.namespace(),
            name,
            ?purpose,
            current,
            fallback,
            "wrote the target Secret"
        );
    }

    fn contents(&self, publication: &Publication) -> Result<Contents, Failure> {
        let current = self.numbered(publication.current)?;
        let fallback = publication.fallback.map(|fallback| self.numbered(fallback)).transpose()?;
        // The same value twice is no fallback.
        let fallback = fallback.filter(|(_, value)| *value != current.1);
        Ok(Contents { current, fallback })
    }

    fn numbered(&self, wanted: NumberedValue) -> Result<(u64, ClientSecret), Failure> {
        let value = match wanted.value {
            ValueSource::Current => self.values.current.clone(),
            ValueSource::Fallback => self.values.fallback.clone(),
            ValueSource::Response => self
                .context
                .memory
                .with(&self.uid, |known| known.answer.as_ref().map(|(secret, _)| secret.clone())),
            ValueSource::Auth0 => match &self.client {
                Some(Ok(facts)) => facts.secret.clone(),
                _ => None,
            },
            ValueSource::Generated => ClientSecret::generate(),
        };
        let value = value.ok_or_else(|| trouble::conflict("a value that was seen is not there"))?;
        Ok((wanted.number, value))
    }
}
