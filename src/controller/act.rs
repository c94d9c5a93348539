//! Steps: each one call to Auth0 or one write, and what follows from it for the pass.

use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use rand::TryRng as _;
use rotation::{
    Class, Held, Numbered, Publication, Purpose, Refusal, SecretSeen, Step, Target, Trouble, Value,
};
use secrecy::SecretString;

use super::{
    pass::{Pass, now},
    target::{Contents, Values},
    tenants::Usable,
    trouble,
};
use crate::auth0::{Auth0Error, ClientFacts, ClientKind, ClientSecret};

/// How long after its intent was stored a change may still be sent to Auth0. Whoever was stopped
/// for longer reads again: another replica may have gone on meanwhile.
const STALE_AFTER: Duration = Duration::from_secs(5);

impl Pass<'_> {
    pub(super) async fn take(&mut self, step: Step) -> Result<(), Trouble> {
        match step {
            Step::Rest | Step::Record => Ok(()),
            Step::ReadClient => self.read_client().await,
            Step::AskAccepted => self.ask_accepted().await,
            Step::Hold => {
                self.resource = self.handle.hold(&self.resource).await?;
                self.note_resource();
                Ok(())
            }
            Step::Release => {
                self.resource = self.handle.release(&self.resource).await?;
                self.note_resource();
                Ok(())
            }
            Step::RotateSecret => self.rotate_secret().await,
            Step::SetSecret(number) => self.set_secret(number).await,
            Step::Publish(publication) => self.publish(&publication).await,
        }
    }

    fn tenant(&self) -> Result<Usable, Trouble> {
        self.tenant.clone()
    }

    pub(super) async fn read_secret(&mut self) -> Result<(), Trouble> {
        let target = &self.resource.spec.target;
        self.secret = self.context.secrets.get(self.namespace(), &target.name).await?;
        self.values = match &self.secret {
            Some(secret) => secret.values(&target.keys),
            None => Values::default(),
        };
        self.note_secret();
        Ok(())
    }

    async fn read_client(&mut self) -> Result<(), Trouble> {
        let usable = self.tenant()?;
        let client_id = &self.resource.spec.client_id;
        let read = usable.tenant.client(client_id, true).await;
        self.context.metrics.auth0_called("read-client", &read);
        self.client = Some(match read {
            Ok(facts) => refusal(&facts).map_or(Ok(facts), Err),
            // A tenant that doesn't let clients be read lets them be rotated all the same.
            Err(Auth0Error::MissingScope(_)) => Ok(ClientFacts::unreadable(client_id)),
            Err(error @ Auth0Error::ClientNotFound) => {
                Err(Refusal::new(error.reason(), error.to_string()))
            }
            Err(error) => return Err(Trouble::from(&error)),
        });
        Ok(())
    }

    /// Compares what Auth0 has with what the target Secret holds, and tells only which it is.
    pub(super) fn compare(&self, facts: &ClientFacts) -> SecretSeen {
        match &facts.secret {
            None => SecretSeen::Unreadable,
            Some(secret) if self.values.current.as_ref() == Some(secret) => SecretSeen::Current,
            Some(secret) if self.values.fallback.as_ref() == Some(secret) => SecretSeen::Fallback,
            Some(_) => SecretSeen::Other,
        }
    }

    async fn ask_accepted(&mut self) -> Result<(), Trouble> {
        let usable = self.tenant()?;
        let Some(current) = &self.values.current else {
            return Err(trouble::conflict("the target Secret has no value to ask about"));
        };
        let asked = usable.tenant.accepts(&self.resource.spec.client_id, current).await;
        self.context.metrics.auth0_called("revoke", &asked);
        let accepted = asked.map_err(|error| Trouble::from(&error))?;
        self.accepted = Some(accepted);
        let refused_at = (!accepted).then(now);
        self.context.memory.with(&self.uid, |known| known.refused_at = refused_at);
        Ok(())
    }

    /// The one effect that can't be repeated. The call runs on by itself if this pass is dropped,
    /// and its answer is in hand before anything else can happen.
    async fn rotate_secret(&mut self) -> Result<(), Trouble> {
        let usable = self.tenant()?;
        self.check_recorded()?;
        // What was seen of Auth0 is out of date from here on.
        (self.client, self.accepted) = (None, None);
        let client_id = self.resource.spec.client_id.clone();
        let memory = self.context.memory.clone();
        let uid = self.uid.clone();
        let call = tokio::spawn(async move {
            let answer = usable.tenant.rotate_secret(&client_id).await;
            answer.map(|secret| {
                memory.with(&uid, |known| {
                    known.refused_at = None;
                    known.answer = secret.map(|secret| (secret, Instant::now()));
                });
            })
        });
        let answer = call.await;
        self.urgent = Some(self.context.precedence.urgent());
        let answer = answer.map_err(|_| trouble::conflict("the call ended without an answer"))?;
        self.context.metrics.auth0_called("rotate-secret", &answer);
        answer.map_err(|error| Trouble::from(&error))
    }

    async fn set_secret(&mut self, number: u64) -> Result<(), Trouble> {
        let usable = self.tenant()?;
        let numbers = self.secret.as_ref().map(|secret| secret.numbers()).unwrap_or_default();
        let value = match numbers {
            (_, Some(fallback)) if fallback == number => &self.values.fallback,
            (Some(current), _) if current == number => &self.values.current,
            _ => &None,
        };
        let Some(value) = value else {
            return Err(trouble::conflict("the target Secret has no value of that number"));
        };
        let set = usable.tenant.set_secret(&self.resource.spec.client_id, value).await;
        self.context.metrics.auth0_called("set-secret", &set);
        (self.client, self.accepted) = (None, None);
        set.map_err(|error| Trouble::from(&error))?;
        self.secret_set = true;
        Ok(())
    }

    /// The intent was stored a moment ago, by this process.
    fn check_recorded(&self) -> Result<(), Trouble> {
        let window = self.context.settings.propagation_window.to_std();
        match self.recorded {
            Some(at) if at.elapsed() < STALE_AFTER.min(window / 6) => Ok(()),
            _ => Err(Trouble {
                // Not said to be unchanged: the record stands, and what it stands for is read back.
                unchanged: false,
                ..trouble::conflict("the intent was stored too long ago")
            }),
        }
    }

    async fn publish(&mut self, publication: &Publication) -> Result<(), Trouble> {
        self.check_not_again(publication)?;
        let contents = self.contents(publication)?;
        let usable = self.tenant()?;
        let rendered = self.rendering(&usable.domain).render(&contents, self.secret.as_ref());
        let (namespace, name) = (self.namespace(), self.resource.spec.target.name.as_str());
        let secrets = &self.context.secrets;
        let written = match &self.secret {
            None => secrets.create(namespace, name, &rendered).await?,
            Some(over) => secrets.apply(namespace, name, &rendered, over).await?,
        };
        self.published(publication);
        self.written = Some(publication.clone());
        let keys = &self.resource.spec.target.keys;
        self.values = written.values(keys);
        self.secret = Some(written);
        self.accepted = None;
        self.note_secret();
        Ok(())
    }

    /// What was written in this pass and has to be written again did not stay: someone else writes
    /// the same keys, and is not raced.
    fn check_not_again(&self, publication: &Publication) -> Result<(), Trouble> {
        let name = &self.resource.spec.target.name;
        if self.written.as_ref() == Some(publication) {
            return Err(Trouble {
                class: Class::Retry,
                ..trouble::invalid(
                    "TargetContested",
                    format!(
                        "someone else keeps changing the Secret {name}: find out who, and stop it"
                    ),
                )
            });
        }
        Ok(())
    }

    fn published(&mut self, publication: &Publication) {
        let purpose = publication.purpose;
        if purpose == Purpose::Answer {
            self.urgent = None;
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

    fn contents(&self, publication: &Publication) -> Result<Contents, Trouble> {
        let current = self.numbered(publication.current)?;
        let fallback = publication.fallback.map(|fallback| self.numbered(fallback)).transpose()?;
        // The same value twice is no fallback.
        let fallback = fallback.filter(|(_, value)| *value != current.1);
        Ok(Contents { current, fallback })
    }

    fn numbered(&self, wanted: Numbered) -> Result<(u64, ClientSecret), Trouble> {
        let value = match wanted.value {
            Value::Current => self.values.current.clone(),
            Value::Fallback => self.values.fallback.clone(),
            Value::Answer => self
                .context
                .memory
                .with(&self.uid, |known| known.answer.as_ref().map(|(secret, _)| secret.clone())),
            Value::Auth0 => match &self.client {
                Some(Ok(facts)) => facts.secret.clone(),
                _ => None,
            },
            Value::Fresh => fresh_secret(),
        };
        let value = value.ok_or_else(|| trouble::conflict("a value that was seen is not there"))?;
        Ok((wanted.number, value))
    }

    /// What the target Secret is to the machine.
    pub(super) fn inspect_target(&self) -> Target {
        let Some(secret) = &self.secret else { return Target::Absent };
        let spec = &self.resource.spec.target;
        if let Some(refusal) = self.refuse_target(secret.owner(), secret.immutable) {
            return Target::Refused(refusal);
        }
        let (current, fallback) = secret.numbers();
        let edited = secret.is_edited(&spec.keys, &self.values);
        let faithful = match (&self.tenant, self.present_contents()) {
            (Ok(usable), Some(contents)) if !edited => {
                self.rendering(&usable.domain).render(&contents, Some(secret)).is_as(secret)
            }
            // Without the tenant its domain isn't known; it is looked at again when it is there.
            _ => true,
        };
        Target::Held(Held {
            current,
            fallback,
            has_current: self.values.current.is_some(),
            edited,
            faithful,
        })
    }

    fn refuse_target(&self, owner: Option<&str>, immutable: bool) -> Option<Refusal> {
        let spec = &self.resource.spec.target;
        let name = &spec.name;
        if immutable {
            return Some(Refusal::new(
                "TargetImmutable",
                format!(
                    "the Secret {name} is immutable: delete it, or choose another spec.target.name"
                ),
            ));
        }
        match owner {
            Some(owner) if owner == self.resource.name_any() => None,
            Some(owner) if self.exists(owner) => Some(Refusal::new(
                "TargetClaimed",
                format!(
                    "the Secret {name} belongs to the ClientSecretRotation {owner}: choose another \
                     spec.target.name"
                ),
            )),
            _ if spec.adopt => None,
            _ => Some(Refusal::new(
                "TargetForeign",
                format!(
                    "the Secret {name} exists and was not created for this resource: set \
                     spec.target.adopt to true to take it over, or choose another spec.target.name"
                ),
            )),
        }
    }

    fn exists(&self, name: &str) -> bool {
        let resources = self.context.watched.resources();
        resources.iter().any(|resource| {
            resource.name_any() == name
                && resource.namespace() == self.resource.namespace()
                && resource.uid().as_deref() != Some(self.uid.as_str())
        })
    }
}

/// Why a client is not one to rotate, if so.
fn refusal(facts: &ClientFacts) -> Option<Refusal> {
    match facts.kind {
        ClientKind::Confidential => None,
        ClientKind::Public => Some(Refusal::new(
            "PublicClient",
            "the client is public (its token_endpoint_auth_method is none): it does not authenticate, \
             so there is nothing to rotate; choose an authentication method in Auth0, or delete this \
             resource",
        )),
        ClientKind::WithKeys => Some(Refusal::new(
            "ClientUsesKeys",
            "the client authenticates with keys (client_authentication_methods): it has no secret to \
             rotate; delete this resource, or switch the client back to a client secret",
        )),
    }
}

/// 64 characters of `[A-Za-z0-9_-]` from the operating system's generator: 384 bits.
fn fresh_secret() -> Option<ClientSecret> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    let mut bytes = zeroize::Zeroizing::new([0u8; 64]);
    rand::rngs::SysRng.try_fill_bytes(bytes.as_mut()).ok()?;
    let text: String =
        bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect();
    ClientSecret::new(SecretString::from(text)).ok()
}
