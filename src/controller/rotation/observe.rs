//! Turns the objects that a reconcile has read into the state machine's observation, which names
//! values and never contains them.

use std::time::{Duration, Instant};

use auth0_client::{ClientInfo, ClientKind};
use kube::ResourceExt as _;
use leader_election::BootInstant;
use rotation::{
    ClientCheck, ClientObservation, Observation, OwnedTarget, Phase, Publication, Purpose, Reason,
    Rejection, Request, Rollout, Rotation, SecretMatch, Target, TargetHoldOff, UnreachedPods,
};

use super::{
    adoption, authorize, client_kind, consumers, owner_reference,
    reconcile::Reconciliation,
    resource,
    state::ListedSecret,
    view::{self, View},
};
use crate::{
    api::{DeletionPolicy, INITIALIZED_ANNOTATION, Keys, REQUEST_ANNOTATION},
    controller::{
        error::Error,
        object_key::ObjectKey,
        server_time,
        target_secret::{
            Contents, ExpectedOrigin, NumberedSecret, Provenance, Rendering, SecretNumbers,
            SecretValues, Snapshot, ValueOrigin,
        },
    },
};

/// How long a difference in a list of clients is a reason to read the client.
const LISTED_TTL: Duration = Duration::from_secs(300);

/// Facts that a reconcile has gathered since it last read resource and Secret.
#[derive(Default)]
pub(super) struct Readings {
    pub(super) client: ClientReading,
    /// Whether it is from a list, which is no ground for a change at Auth0.
    pub(super) client_is_listed: bool,
    /// The client, read without its secret.
    pub(super) checked_client: ClientReading,
    pub(super) client_read_at: Option<BootInstant>,
    /// When Auth0 had described the client. The wait for the rate limiter is before it.
    pub(super) client_answered_at: Option<Instant>,
    /// Whether the probe accepted the current value.
    pub(super) probe_accepted: Option<bool>,
    /// Whether the probe accepted the fallback.
    pub(super) fallback_accepted: Option<bool>,
    /// Whether Auth0 acknowledged the value of the rotation in progress.
    pub(super) secret_set: bool,
    pub(super) dry_run_passed: bool,
    pub(super) unreached_pods: UnreachedPods,
    pub(super) rollouts: Option<Vec<Rollout>>,
    /// When the intent of a change at Auth0 was stored.
    pub(super) intent_stored_at: Option<Instant>,
}

/// The client as Auth0 described it.
#[derive(Default)]
pub(super) enum ClientReading {
    #[default]
    NotRead,
    /// The client cannot be rotated.
    Rejected(Rejection),
    Read(ClientInfo),
}

impl ClientReading {
    pub(super) fn is_strict_third_party(&self) -> bool {
        matches!(self, Self::Read(client) if client.kind == ClientKind::StrictThirdParty)
    }
}

/// The target Secret as it was last read or written.
#[derive(Default)]
pub(super) struct TargetState {
    pub(super) read: TargetRead,
    /// The values that may be sent to the tenant and published again.
    pub(super) values: SecretValues,
    pub(super) provenance: Provenance,
    /// The last write of this reconcile.
    pub(super) last_written: Option<Publication>,
}

#[derive(Default)]
pub(super) enum TargetRead {
    #[default]
    NotRead,
    Absent,
    Present(Box<Snapshot>),
}

impl TargetState {
    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        match &self.read {
            TargetRead::Present(snapshot) => Some(snapshot),
            TargetRead::NotRead | TargetRead::Absent => None,
        }
    }

    /// Returns the numbers of the values.
    pub(super) fn numbers(&self) -> SecretNumbers {
        match (self.provenance, self.snapshot()) {
            (Provenance::Proven, Some(snapshot)) => snapshot.numbers(),
            _ => SecretNumbers::default(),
        }
    }

    /// Returns the numbers and values of the Secret, to be written as the spec wants them.
    pub(super) fn contents(&self) -> Option<Contents> {
        let numbers = self.numbers();
        let current =
            NumberedSecret { number: numbers.current?, secret: self.values.current.clone()? };
        let fallback = match (numbers.fallback, &self.values.fallback) {
            (Some(number), Some(secret)) => Some(NumberedSecret { number, secret: secret.clone() }),
            _ => None,
        };
        Some(Contents { current, fallback })
    }
}

/// Reads the target Secret, unless the watches show that there is none.
pub(super) async fn read_target(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    if view::is_target_absent(reconciliation) {
        reconciliation.target_view = View::Stored;
        reconciliation.target.read = TargetRead::Absent;
        select_values(reconciliation);
        return Ok(());
    }
    read_target_live(reconciliation).await
}

/// Reads the target Secret, live.
pub(super) async fn read_target_live(reconciliation: &mut Reconciliation<'_>) -> Result<(), Error> {
    reconciliation.target_view = View::Live;
    reconciliation.target.read = TargetRead::NotRead;
    let spec = &reconciliation.resource.spec.target;
    let key = ObjectKey::new(&reconciliation.key.namespace, &spec.name);
    let secret = reconciliation.controller.context.secrets.get(&key).await?;
    reconciliation.target.read = match secret {
        Some(secret) => TargetRead::Present(Box::new(secret)),
        None => TargetRead::Absent,
    };
    select_values(reconciliation);
    reconciliation.note_target_version();
    Ok(())
}

/// Selects the values of the target Secret that may be sent to the tenant and published again: ours,
/// of this client and from this Auth0.
pub(super) fn select_values(reconciliation: &mut Reconciliation<'_>) {
    let (mut provenance, mut values) = proven_values(reconciliation);
    if drop_published_response(reconciliation, &values) {
        // From here on, values come from the tenant.
        (provenance, values) = proven_values(reconciliation);
    }
    reconciliation.target.values = values;
    reconciliation.target.provenance = provenance;
}

fn proven_values(reconciliation: &Reconciliation<'_>) -> (Provenance, SecretValues) {
    let spec = &reconciliation.resource.spec;
    let Some(snapshot) = reconciliation.target.snapshot() else {
        return (Provenance::default(), SecretValues::default());
    };
    let origin = value_origin(reconciliation);
    let provenance = snapshot.provenance(&ExpectedOrigin {
        client_id: &spec.client_id,
        tenant: origin.as_ref(),
        keys: &spec.target.keys,
        is_recorded: reconciliation.status().current.is_some(),
    });
    let values = match provenance {
        // The operator authenticates with them at this endpoint, which the Secret allows.
        _ if reconciliation.authorization.is_own_credentials => {
            snapshot.stored_values(&Keys::default())
        }
        Provenance::Proven => snapshot.own_values(),
        Provenance::OtherOrigin | Provenance::Unproven => SecretValues::default(),
    };
    (provenance, values)
}

/// Drops the response if the target Secret has it: a write whose acknowledgment was lost happened.
/// Returns whether it did.
fn drop_published_response(reconciliation: &Reconciliation<'_>, values: &SecretValues) -> bool {
    reconciliation.with_state(|state| {
        let published = state
            .unpublished_response
            .take_if(|response| values.current.as_ref() == Some(&response.secret));
        published.is_some()
    })
}

/// Returns the Auth0 that the values of this reconcile come from: that of an unpublished response, or
/// the tenant's.
fn value_origin(reconciliation: &Reconciliation<'_>) -> Option<ValueOrigin> {
    let of_response = reconciliation.with_state(|state| {
        state.unpublished_response.as_ref().map(|response| response.origin.clone())
    });
    let of_tenant =
        || reconciliation.tenant.as_ref().ok().map(|tenant| tenant.value_origin.clone());
    of_response.or_else(of_tenant)
}

/// Returns the observation of everything that was read.
pub(super) fn observe(reconciliation: &Reconciliation<'_>) -> Observation {
    let resource = &reconciliation.resource;
    let status = reconciliation.status().clone();
    let annotation = |name: &str| resource.annotations().get(name).map(String::as_str);
    let attempt = reconciliation.rotation().and_then(|rotation| rotation.activating_at);
    let (has_unpublished_response, rejected_at, attempt_finished) =
        reconciliation.with_state(|state| {
            let is_finished = attempt.is_some() && state.finished_attempt == attempt;
            (state.unpublished_response.is_some(), state.rejected_at, is_finished)
        });
    let (probe_control, revoked) = reconciliation.with_state(|state| {
        (state.probe_control, state.revoked.as_ref().map(|revoked| revoked.observed))
    });
    let (contested, finalizer_contested) = reconciliation.with_state(|state| {
        let (contests, at) = (state.contests.as_ref(), Instant::now());
        let is_finalizer = contests.is_some_and(|contests| contests.is_finalizer_contested(at));
        (contests.and_then(|contests| contests.contested(at)), is_finalizer)
    });
    let (consumers_checked_at, client_checked_at) =
        reconciliation.with_state(|state| (state.consumers_checked_at, state.client_checked_at));
    let readings = &reconciliation.readings;
    let client = match &readings.client {
        ClientReading::NotRead => &readings.checked_client,
        client => client,
    };
    let (signs_with_secret, client_doubt) = match client {
        ClientReading::Read(client) => (Some(client.signs_with_secret), client_kind::doubt(client)),
        ClientReading::NotRead | ClientReading::Rejected(_) => (None, None),
    };
    Observation {
        signs_with_secret,
        client_doubt,
        client_check: match &readings.checked_client {
            ClientReading::NotRead => ClientCheck::NotMade,
            ClientReading::Rejected(rejection) => ClientCheck::Rejected(rejection.clone()),
            ClientReading::Read(_) => ClientCheck::Passed,
        },
        generation: resource.metadata.generation.unwrap_or_default(),
        request: annotation(REQUEST_ANNOTATION).map(Request::parse),
        initialized: annotation(INITIALIZED_ANNOTATION).is_some(),
        was_published: was_published(reconciliation),
        has_finalizer: resource::has_finalizer(resource),
        is_deleting: resource.metadata.deletion_timestamp.is_some(),
        target: observe_target(reconciliation),
        client: observe_client(reconciliation),
        client_read_at: readings.client_read_at.map(server_time::at),
        accepted: readings.probe_accepted,
        fallback_accepted: readings.fallback_accepted,
        probe_control,
        rejected_at: rejected_at.map(server_time::at),
        has_unpublished_response,
        attempt_finished,
        dry_run_passed: readings.dry_run_passed,
        drift_suspected: reconciliation.authorization.denied.is_none()
            && is_drift_suspected(reconciliation),
        unreached_pods: readings.unreached_pods.clone(),
        rollouts: readings.rollouts.clone(),
        revoked,
        restart_attempted: consumers::is_attempted(reconciliation),
        consumers_checked_at,
        client_checked_at,
        secret_set: readings.secret_set,
        target_hold_off: observe_hold_off(reconciliation),
        contested,
        finalizer_contested,
        status,
    }
}

/// Returns whether the target Secret was written for a resource of this name.
fn was_published(reconciliation: &Reconciliation<'_>) -> bool {
    let owner = reconciliation.target.snapshot().and_then(Snapshot::owner);
    owner == Some(reconciliation.key.name.as_str())
}

/// Returns the hold-off of a contest over the target Secret.
fn observe_hold_off(reconciliation: &Reconciliation<'_>) -> Option<TargetHoldOff> {
    if !reconciliation.with_state(|state| state.contests.is_some()) {
        return None;
    }
    let is_data_damaged = match reconciliation.target.snapshot() {
        Some(snapshot) => is_data_damaged(reconciliation, snapshot),
        None => true,
    };
    reconciliation
        .with_state(|state| state.contests.as_ref()?.hold_off(Instant::now(), is_data_damaged))
}

/// Returns whether values, or the keys made from them, are not as we wrote them.
fn is_data_damaged(reconciliation: &Reconciliation<'_>, snapshot: &Snapshot) -> bool {
    let target = &reconciliation.target;
    let keys = &reconciliation.resource.spec.target.keys;
    if target.provenance != Provenance::Proven || snapshot.is_tampered(keys, &target.values) {
        return true;
    }
    match (&reconciliation.tenant, target.contents()) {
        (Ok(tenant), Some(contents)) => {
            let rendering = rendering(reconciliation, &tenant.value_origin);
            rendering.render(&contents, Some(snapshot)).changes(snapshot).affect_data
        }
        _ => false,
    }
}

fn observe_client(reconciliation: &Reconciliation<'_>) -> ClientObservation {
    if let Some(rejection) = authorize::forbids_asking(reconciliation) {
        return ClientObservation::Rejected(rejection);
    }
    match &reconciliation.readings.client {
        ClientReading::NotRead => ClientObservation::NotRead,
        ClientReading::Rejected(rejection) => ClientObservation::Rejected(rejection.clone()),
        ClientReading::Read(client) => {
            ClientObservation::Found(compare(client, &reconciliation.target.values))
        }
    }
}

/// Compares the secret at Auth0 with the values of the target Secret.
fn compare(client: &ClientInfo, values: &SecretValues) -> SecretMatch {
    match &client.secret {
        None if client.is_secret_malformed => SecretMatch::Unpublishable,
        None => SecretMatch::Unreadable,
        Some(secret) if values.current.as_ref() == Some(secret) => SecretMatch::Current,
        Some(secret) if values.fallback.as_ref() == Some(secret) => SecretMatch::Fallback,
        Some(_) => SecretMatch::Other,
    }
}

/// Returns whether a list of the tenant's clients showed a secret that the target does not have, or a
/// client that cannot be rotated.
fn is_drift_suspected(reconciliation: &Reconciliation<'_>) -> bool {
    let values = &reconciliation.target.values;
    reconciliation.with_state(|state| match &state.listed {
        Some(listed) if listed.listed_at.elapsed() <= LISTED_TTL => match &listed.secret {
            ListedSecret::Present(secret) => {
                values.current.as_ref() != Some(secret) && values.fallback.as_ref() != Some(secret)
            }
            ListedSecret::Unreadable => false,
            ListedSecret::Unusable | ListedSecret::ClientAbsent | ListedSecret::ClientRejected => {
                true
            }
        },
        _ => false,
    })
}

/// Returns the target Secret in the terms of the state machine.
pub(super) fn observe_target(reconciliation: &Reconciliation<'_>) -> Target {
    let target = &reconciliation.target;
    if matches!(target.read, TargetRead::NotRead) {
        return Target::Unknown;
    }
    let snapshot = target.snapshot();
    let is_owner = snapshot.is_some_and(|snapshot| is_owner(reconciliation, snapshot));
    if let Some(rejection) = authorize::forbids_writing(reconciliation, is_owner) {
        return Target::Rejected(rejection.clone());
    }
    if is_rotation_from_elsewhere(reconciliation) {
        return Target::Rejected(origin_changed());
    }
    let Some(snapshot) = snapshot else { return Target::Absent };
    if let Some(rejection) = reject_target(reconciliation, snapshot) {
        return Target::Rejected(rejection);
    }
    if let Some(rejection) = adoption::forbids_secret(reconciliation, snapshot, is_owner) {
        // Without the permission for the client, nothing else about the target matters.
        let denied = reconciliation.authorization.denied.clone();
        return Target::Rejected(denied.unwrap_or(rejection));
    }
    let is_from_elsewhere = target.provenance == Provenance::OtherOrigin;
    let numbers = target.numbers();
    let keys = &reconciliation.resource.spec.target.keys;
    let own = match target.provenance {
        Provenance::Proven => snapshot.own_values(),
        Provenance::OtherOrigin | Provenance::Unproven => SecretValues::default(),
    };
    let tampered =
        target.provenance != Provenance::Proven || snapshot.is_tampered(keys, &target.values);
    let in_sync = match (&reconciliation.tenant, target.contents()) {
        (Ok(tenant), Some(contents)) if !tampered => {
            let rendering = rendering(reconciliation, &tenant.value_origin);
            rendering.render(&contents, Some(snapshot)).matches(snapshot)
        }
        // Without the tenant its domain is unknown; its return triggers the next reconcile.
        _ => true,
    };
    Target::Owned(OwnedTarget {
        current: numbers.current,
        fallback: numbers.fallback,
        has_current: target.values.current.is_some(),
        current_is_ours: own.current.is_some(),
        fallback_is_ours: own.fallback.is_some(),
        tampered,
        is_from_elsewhere,
        in_sync,
        write_proven: snapshot.write_proven().max(proven_in_this_reconcile(reconciliation)),
    })
}

/// Returns whether a Secret is this resource's. If another party removed the annotation that says so,
/// the provenance of its values shows it.
fn is_owner(reconciliation: &Reconciliation<'_>, snapshot: &Snapshot) -> bool {
    match snapshot.owner() {
        Some(owner) => owner == reconciliation.key.name,
        None => reconciliation.target.provenance == Provenance::Proven,
    }
}

/// Returns the rotation in progress if this reconcile has proven by a write that its secret can be
/// published. An admission policy may have removed the record of it.
fn proven_in_this_reconcile(reconciliation: &Reconciliation<'_>) -> Option<u64> {
    let written = reconciliation.target.last_written.as_ref()?;
    let rotation = reconciliation.rotation()?;
    (written.purpose == Purpose::ProveWrite).then_some(rotation.number)
}

/// Returns whether a rotation has published and changed nothing that its status shows.
pub(super) fn is_untouched(rotation: &Rotation) -> bool {
    rotation.phase == Phase::Started && rotation.attempts == 0
}

/// Returns whether the rotation in progress belongs to another Auth0 endpoint.
fn is_rotation_from_elsewhere(reconciliation: &Reconciliation<'_>) -> bool {
    let Some(rotation) = reconciliation.rotation() else { return false };
    if is_untouched(rotation) {
        return false;
    }
    match (&rotation.origin, value_origin(reconciliation)) {
        (Some(started), Some(now)) => *started != now.origin,
        // An older version started it.
        (None, _) => reconciliation.target.provenance == Provenance::OtherOrigin,
        (Some(_), None) => false,
    }
}

fn origin_changed() -> Rejection {
    Rejection::new(
        Reason::OriginChanged,
        "a rotation is in progress, and the tenant's endpoint is not the one that the published \
         secrets came from, so the operator sends and publishes none of them. Restore \
         spec.tenantRef, and the tenant's domain and endpoint, until the rotation has ended, or \
         delete this resource and create it again",
    )
}

/// Returns why an existing Secret may not be the target, if it may not.
fn reject_target(reconciliation: &Reconciliation<'_>, secret: &Snapshot) -> Option<Rejection> {
    let spec = &reconciliation.resource.spec.target;
    let name = &spec.name;
    if secret.immutable {
        return Some(Rejection::new(
            Reason::TargetImmutable,
            format!("the Secret {name} is immutable. Delete it, or set another spec.target.name"),
        ));
    }
    match secret.owner() {
        _ if is_owner(reconciliation, secret) => None,
        Some(owner) if is_other_resource(reconciliation, owner) => Some(Rejection::new(
            Reason::TargetClaimed,
            format!(
                "the Secret {name} belongs to the ClientSecretRotation {owner}. Set another \
                 spec.target.name"
            ),
        )),
        _ if spec.adopt => None,
        _ => Some(Rejection::new(
            Reason::TargetNotOwned,
            format!(
                "the Secret {name} exists and was not created for this resource. Set \
                 spec.target.adopt to true to take it over, or set another spec.target.name"
            ),
        )),
    }
}

fn is_other_resource(reconciliation: &Reconciliation<'_>, name: &str) -> bool {
    let key = ObjectKey::new(&reconciliation.key.namespace, name);
    let found = reconciliation.controller.context.stores.rotation(&key);
    found.is_some_and(|found| found.uid().as_deref() != Some(reconciliation.uid.as_str()))
}

/// Returns how the target Secret is rendered.
pub(super) fn rendering<'r>(
    reconciliation: &'r Reconciliation<'_>,
    origin: &'r ValueOrigin,
) -> Rendering<'r> {
    let spec = &reconciliation.resource.spec;
    Rendering {
        spec: &spec.target,
        allowed_metadata: &reconciliation.controller.context.settings.allowed_metadata,
        resource: &reconciliation.key.name,
        namespace: &reconciliation.key.namespace,
        client_id: &spec.client_id,
        domain: &origin.domain,
        origin: &origin.origin,
        owner: kube::Resource::owner_ref(&reconciliation.resource, &()),
        deleted_with_owner: spec.target.deletion_policy == DeletionPolicy::Delete,
        keeps_owner: owner_reference::is_denied(reconciliation),
        write_proven: None,
    }
}
