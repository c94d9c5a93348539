//! Writes the target Secret.

use std::time::Instant;

use auth0_client::ClientSecret;
use leader_election::WriteFence;
use rotation::{
    NumberedValue, Publication, Purpose, Reason, Rejection, RevokedSecret, Target, ValueSource,
};

use super::{
    contest, credentials_guard,
    dry_runs::AdmissionKey,
    observe::{ClientReading, TargetRead, observe_target, rendering, select_values},
    owner_reference,
    reconcile::Reconciliation,
    state::Revoked,
    view::View,
};
use crate::{
    controller::{
        error::Error,
        object_key::ObjectKey,
        server_time::now,
        target_secret::{Contents, NumberedSecret, Rendered, Rendering, Snapshot, ValueOrigin},
    },
    failpoint::failpoint,
};

/// Asks the API server whether it would accept what a rotation will write: wrong permissions, quotas,
/// admission webhooks and names are found before there is a value to lose.
pub(super) async fn dry_run(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    credentials_guard::check_first_write(reconciliation).await?;
    let tenant = reconciliation.tenant.clone()?;
    let target = &reconciliation.target;
    let sample = generate()?;
    let contents = Contents {
        current: NumberedSecret { number: 2, secret: sample },
        fallback: target.values.current.clone().map(|secret| NumberedSecret { number: 1, secret }),
    };
    let present = target.snapshot();
    let rendered = rendering(reconciliation, &tenant.value_origin).render(&contents, present);
    let admission =
        present.map(|present| AdmissionKey::new(&reconciliation.key.namespace, &rendered, present));
    let dry_runs = &reconciliation.controller.dry_runs;
    if admission.as_ref().is_some_and(|admission| dry_runs.has_passed(admission)) {
        reconciliation.readings.dry_run_passed = true;
        return Ok(());
    }
    let asked_at = Instant::now();
    let secrets = &reconciliation.controller.context.secrets;
    let key = target_key(reconciliation);
    let admitted = match secrets.dry_run(&key, &rendered, present).await {
        Err(error) if owner_reference::note_denial(reconciliation, &error) => {
            let rendered =
                rendering(reconciliation, &tenant.value_origin).render(&contents, present);
            secrets.dry_run(&key, &rendered, present).await?
        }
        result => result?,
    };
    check_admitted(&rendered, &admitted)?;
    if let Some(admission) = admission {
        reconciliation.controller.dry_runs.note(admission, asked_at);
    }
    reconciliation.readings.dry_run_passed = true;
    Ok(())
}

/// Checks that the API server stores what the operator depends on.
fn check_admitted(rendered: &Rendered, admitted: &Snapshot) -> Result<(), Error> {
    let Some(change) = rendered.essential_change(admitted) else { return Ok(()) };
    let message = format!(
        "an admission policy or webhook {change} in each write of the target Secret, and the \
         operator depends on that, so nothing is changed at Auth0. Exempt the Secret from the policy"
    );
    Err(Error::Denied(Rejection::new(Reason::SecretRejected, message)))
}

/// Writes a publication.
pub(super) async fn publish(
    reconciliation: &mut Reconciliation<'_>,
    publication: &Publication,
) -> Result<(), Error> {
    let name = &reconciliation.resource.spec.target.name;
    let is_restore = matches!(publication.purpose, Purpose::Repair | Purpose::Render);
    if !is_restore && reconciliation.target.last_written.as_ref() == Some(publication) {
        // The last write of this reconcile is gone again: another party writes the same keys. The next
        // reconcile retries after a backoff.
        return Err(Error::TargetContested(name.clone()));
    }
    if let Target::Rejected(rejection) = observe_target(reconciliation) {
        // The state machine publishes nothing here. This check holds even if that changes.
        return Err(Error::Rejected(rejection));
    }
    if publication.purpose != Purpose::Response {
        // Before a response there was a dry run.
        credentials_guard::check_first_write(reconciliation).await?;
    }
    let contents = contents(reconciliation, publication)?;
    let origin = publication_origin(reconciliation, publication.purpose)?;
    let present = reconciliation.target.snapshot();
    let render = || {
        let write_proven = match publication.purpose {
            Purpose::ProveWrite => reconciliation.rotation().map(|rotation| rotation.number),
            _ => None,
        };
        let rendering = rendering(reconciliation, &origin);
        Rendering { write_proven, ..rendering }.render(&contents, present)
    };
    let rendered = render();
    let key = target_key(reconciliation);
    let secrets = &reconciliation.controller.context.secrets;
    let fence = fence(reconciliation, publication.purpose);
    contest::record_restore(reconciliation, publication, &rendered);
    failpoint!("before-publish");
    let written = match present {
        None => secrets.create(&key, &rendered, fence).await,
        Some(over) => match secrets.apply(&key, &rendered, over, fence).await {
            Err(error) if owner_reference::note_denial(reconciliation, &error) => {
                secrets.apply(&key, &render(), over, fence).await
            }
            written => written,
        },
    };
    if written.is_err() {
        reconciliation.controller.dry_runs.forget(&key.namespace);
    }
    let written = written?;
    owner_reference::note_written(reconciliation);
    failpoint!("after-publish");
    contest::record_admission(reconciliation, &rendered, &written);
    record_publication(reconciliation, publication);
    keep_revoked(reconciliation, publication, origin);
    credentials_guard::note_published(reconciliation);
    reconciliation.target.last_written = Some(publication.clone());
    reconciliation.target.read = TargetRead::Present(Box::new(written));
    reconciliation.target_view = View::Live;
    select_values(reconciliation);
    reconciliation.readings.probe_accepted = None;
    reconciliation.readings.fallback_accepted = None;
    reconciliation.note_target_version();
    if publication.purpose == Purpose::ProveWrite
        && let Some(present) = reconciliation.target.snapshot()
        && let Err(error) = check_admitted(&rendered, present)
    {
        // The dry run may have been that of another Secret.
        reconciliation.controller.dry_runs.forget(&key.namespace);
        return Err(error);
    }
    Ok(())
}

/// Keeps the compromised secret that a publication removes, to ask Auth0 about it until it is rejected.
fn keep_revoked(
    reconciliation: &Reconciliation<'_>,
    publication: &Publication,
    origin: ValueOrigin,
) {
    let is_revoked = reconciliation.rotation().is_some_and(|rotation| rotation.skip_grace);
    if publication.purpose != Purpose::Retire || !is_revoked {
        return;
    }
    let target = &reconciliation.target;
    let (Some(number), Some(secret)) = (target.numbers().fallback, target.values.fallback.clone())
    else {
        return;
    };
    let observed =
        RevokedSecret { number, removed_at: now(), probed_at: None, is_accepted: None, probes: 0 };
    let revoked = Revoked { secret: Some(secret), origin, observed };
    reconciliation.with_state(|state| state.revoked = Some(Box::new(revoked)));
}

fn target_key(reconciliation: &Reconciliation<'_>) -> ObjectKey {
    let name = &reconciliation.resource.spec.target.name;
    ObjectKey::new(&reconciliation.key.namespace, name)
}

/// Returns the fence of a publication. The response of `rotate-secret` is published even after the
/// leadership was lost, because no other process has it.
pub(super) fn fence<'r>(reconciliation: &Reconciliation<'r>, purpose: Purpose) -> WriteFence<'r> {
    match purpose {
        Purpose::Response => WriteFence::UnpublishedResponse,
        _ => reconciliation.controller.context.fence(),
    }
}

/// Returns the Auth0 that a publication's values come from. Where the tenant cannot be used, the
/// values are those of the response or of the Secret, and so is their origin.
fn publication_origin(
    reconciliation: &Reconciliation<'_>,
    purpose: Purpose,
) -> Result<ValueOrigin, Error> {
    let of_response = reconciliation.with_state(|state| {
        state.unpublished_response.as_ref().map(|response| response.origin.clone())
    });
    if purpose == Purpose::Response
        && let Some(origin) = of_response
    {
        return Ok(origin);
    }
    let error = match &reconciliation.tenant {
        Ok(tenant) => return Ok(tenant.value_origin.clone()),
        Err(error) => error,
    };
    let key = &reconciliation.resource.spec.target.keys.domain;
    let snapshot = reconciliation.target.snapshot();
    let recorded = snapshot.and_then(|secret| Some((secret.text(key)?, secret.recorded_origin()?)));
    match recorded {
        Some((domain, origin)) => {
            Ok(ValueOrigin { domain: domain.as_str().to_owned(), origin: origin.to_owned() })
        }
        None => Err(error.clone()),
    }
}

fn record_publication(reconciliation: &mut Reconciliation<'_>, publication: &Publication) {
    reconciliation.urgent = None;
    let metrics = &reconciliation.controller.context.metrics;
    let purpose = publication.purpose;
    if purpose == Purpose::Response
        && let Some(response) = reconciliation.with_state(|state| state.unpublished_response.take())
    {
        metrics.observe_publish_duration(response.received_at.elapsed());
    }
    metrics.count_secret_write(purpose);
    let ObjectKey { namespace, name } = &reconciliation.key;
    let current = publication.current.number;
    let fallback = publication.fallback.map(|fallback| fallback.number);
    tracing::info!(namespace, name, ?purpose, current, fallback, "published the target Secret");
}

fn contents(
    reconciliation: &Reconciliation<'_>,
    publication: &Publication,
) -> Result<Contents, Error> {
    let current = resolve(reconciliation, publication.current)?;
    let mut fallback = match publication.fallback {
        Some(fallback) => Some(resolve(reconciliation, fallback)?),
        None => None,
    };
    // The same value twice is no fallback.
    fallback.take_if(|fallback| fallback.secret == current.secret);
    Ok(Contents { current, fallback })
}

/// Returns the value that the state machine names.
fn resolve(
    reconciliation: &Reconciliation<'_>,
    wanted: NumberedValue,
) -> Result<NumberedSecret, Error> {
    let values = &reconciliation.target.values;
    let secret = match wanted.value {
        ValueSource::Current => values.current.clone(),
        ValueSource::Fallback => values.fallback.clone(),
        ValueSource::Response => reconciliation.with_state(|state| {
            state.unpublished_response.as_ref().map(|response| response.secret.clone())
        }),
        ValueSource::Auth0 => match &reconciliation.readings.client {
            ClientReading::Read(client) => client.secret.clone(),
            ClientReading::NotRead | ClientReading::Rejected(_) => None,
        },
        ValueSource::Generated => Some(generate()?),
    };
    match secret {
        Some(secret) => Ok(NumberedSecret { number: wanted.number, secret }),
        None => Err(Error::Conflict("a value that was observed is gone")),
    }
}

pub(super) fn generate() -> Result<ClientSecret, Error> {
    ClientSecret::generate().ok_or(Error::Conflict("the operating system returned no random bytes"))
}
