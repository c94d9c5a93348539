//! Recognizes, from the watches alone, resources for which nothing is left to do.
//!
//! A status that is stored when nothing is left to do gets a marker ([`rotation::Settled`]): the version of
//! the target Secret, a fingerprint of the other facts that the decision depended on, one of the status
//! itself, and when there is something to do again. A process that starts compares the marker with its
//! stores. If all of it is still so, it takes the resource for observed and reads nothing. The marker is
//! never a reason for a write of its own: a resource without a valid one is reconciled.
//!
//! A marker is no evidence for a step. It only delays the first reconcile, until a watch reports a change,
//! the time comes, or a drift check finds a difference. So a forged one, whose author may write the status,
//! can at most delay the repair of that resource's own target Secret.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use kube::{Resource as _, ResourceExt as _};
use rotation::{
    ClockReading, Condition, ConditionStatus, Request, Settled, Status, condition_types,
};

use super::{
    RotationController,
    reconcile::Reconciliation,
    resource::has_finalizer,
    scheduling,
    state::{FinishedClaim, LastObserved},
};
use crate::{
    api::{ClientSecretRotation, INITIALIZED_ANNOTATION, REQUEST_ANNOTATION},
    controller::{
        context::Settings,
        fingerprint::{fingerprint, set_settled},
        object_key::ObjectKey,
        server_time::{self, now},
        tenant::{Permission, TenantHandle},
        watch::restores,
    },
};

/// Revision of what the operator decides and renders. It changes when this version would decide
/// differently, or write another target Secret, for the same facts as the version before: every resource
/// is reconciled once then.
const REVISION: u32 = 1;

/// How old the lists of the watches may be when a process begins to lead. A standby that takes over later
/// reconciles everything: its watches could lag behind the last writes of the leader before it.
pub(super) const MAX_LIST_AGE: Duration = Duration::from_secs(60);

/// How long after that resources are recognized. They are all considered at once.
pub(super) const START: Duration = Duration::from_secs(60);

/// How far ahead of this process the clock may have been that made a marker.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(30);

/// Facts about a resource that the decision depends on, besides its status and its target Secret.
#[derive(serde::Serialize)]
struct Facts<'a> {
    revision: u32,
    version: &'a str,
    settings: String,
    uid: Option<String>,
    generation: Option<i64>,
    request: Option<String>,
    is_initialized: bool,
    has_finalizer: bool,
    /// UID and generation of the tenant.
    tenant: String,
    domain: &'a str,
    origin: &'a str,
}

impl<'a> Facts<'a> {
    fn new(
        resource: &'a ClientSecretRotation,
        tenant: &'a TenantHandle,
        settings: &Settings,
    ) -> Self {
        Self {
            revision: REVISION,
            version: env!("CARGO_PKG_VERSION"),
            settings: describe(settings),
            uid: resource.uid(),
            generation: resource.meta().generation,
            // As the stores keep it.
            request: resource
                .annotations()
                .get(REQUEST_ANNOTATION)
                .map(|text| Request::parse(text).text),
            is_initialized: resource.annotations().contains_key(INITIALIZED_ANNOTATION),
            has_finalizer: has_finalizer(resource),
            tenant: tenant.spec_version(),
            domain: &tenant.value_origin.domain,
            origin: &tenant.value_origin.origin,
        }
    }
}

/// Returns a text that changes with the settings that decisions depend on.
fn describe(settings: &Settings) -> String {
    // No decision about one resource depends on the number of those that are reconciled at a time.
    format!("{:?}", Settings { concurrency: 0, ..settings.clone() })
}

/// What happens after a status is stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Then {
    /// A step, or a retry.
    #[default]
    Continue,
    /// Nothing before this time, if any.
    Wait { until: Option<DateTime<Utc>> },
}

/// Returns a resource without the marker of its status, on which no decision depends.
pub(super) fn without_marker(mut resource: ClientSecretRotation) -> ClientSecretRotation {
    if let Some(status) = &mut resource.status {
        status.settled = None;
    }
    resource
}

/// Adds a marker to a status that is about to be stored, if nothing is left to do then.
pub(super) fn with_marker(
    reconciliation: &Reconciliation<'_>,
    mut status: Status,
    then: Then,
) -> Status {
    if let Then::Wait { until } = then {
        let settled = marker(reconciliation, &status, until);
        set_settled(&mut status, settled);
    }
    status
}

/// Returns the marker for a status with which nothing is left to do before `until`; `None` if that depends
/// on anything that the marker does not cover.
fn marker(
    reconciliation: &Reconciliation<'_>,
    status: &Status,
    until: Option<DateTime<Utc>>,
) -> Option<Settled> {
    let Reconciliation { controller, resource, authorization, .. } = reconciliation;
    let tenant = reconciliation.tenant.as_ref().ok()?;
    let in_memory = reconciliation.with_state(|state| {
        state.unpublished_response.is_some()
            || state.owner_denied_at.is_some()
            || state.contests.as_ref().is_some_and(|contests| contests.is_any(Instant::now()))
            || state.revoked.as_ref().is_some_and(|revoked| revoked.secret.is_some())
    });
    if in_memory
        || authorization.denied.is_some()
        || authorization.conflict.is_some()
        || authorization.is_own_credentials
        || !is_settled(resource, status)
        || !is_alone(resource, tenant, controller)
    {
        return None;
    }
    let target_version = reconciliation.target.snapshot()?.resource_version().to_owned();
    let facts = fingerprint(&Facts::new(resource, tenant, &controller.context.settings))?;
    Some(Settled { at: now(), until, target_version, facts, status: String::new() })
}

/// Returns whether a status says that the published secret is in use and nothing is in progress.
fn is_settled(resource: &ClientSecretRotation, status: &Status) -> bool {
    let has = |type_: &str| status.conditions.iter().any(|condition| condition.type_ == type_);
    let is_pending = status.drift_hold_off.is_some_and(|hold_off| hold_off.pending);
    let required = [
        condition_types::READY,
        condition_types::TENANT_READY,
        condition_types::RECONCILING,
        condition_types::STALLED,
    ];
    status.current.is_some()
        && status.rotation.is_none()
        && !is_pending
        && status.observed_generation == resource.meta().generation
        && resource.meta().deletion_timestamp.is_none()
        && required.into_iter().all(has)
        && status.conditions.iter().all(is_quiet)
}

/// Returns whether a condition gives the operator nothing to do and nothing to check from time to time.
fn is_quiet(condition: &Condition) -> bool {
    use ConditionStatus::{False, True, Unknown};
    match condition.type_.as_str() {
        condition_types::RECONCILING
        | condition_types::STALLED
        | condition_types::SIGNS_WITH_SECRET => condition.status == False,
        condition_types::PROBE_INCONCLUSIVE => true,
        condition_types::REQUEST_ACCEPTED => condition.status != Unknown,
        condition_types::CONSUMERS_REACHED => condition.status != False,
        _ => condition.status == True,
    }
}

/// Returns whether the tenant can be used, and no other object decides about the resource: no other
/// resource names its client or its target Secret, no tenant has its credentials there, and no metadata
/// at Auth0 permits the client.
fn is_alone(
    resource: &ClientSecretRotation,
    tenant: &TenantHandle,
    controller: &RotationController,
) -> bool {
    let stores = &controller.context.stores;
    let target = ObjectKey::new(
        resource.namespace().unwrap_or_default(),
        resource.spec.target.name.as_str(),
    );
    tenant.not_ready.is_none()
        && tenant.kept_domain.is_none()
        && matches!(tenant.permission, Permission::Granted)
        && stores.sharing(resource).iter().all(|other| other.uid() == resource.uid())
        && stores.tenants_with_credentials(&target).is_empty()
}

/// Takes a resource for observed that this process sees for the first time, if the stores show that nothing
/// was left to do when its status was stored, and nothing has changed since.
///
/// That is safe although nothing is read live: it is decided to do nothing, and each later change arrives
/// as an event, whose reconcile reads live.
pub(super) fn recognize(resource: &ClientSecretRotation, controller: &RotationController) {
    let Some(uid) = resource.uid() else { return };
    let is_first = controller.states.with(&uid, |state| {
        let is_known = std::mem::replace(&mut state.was_admitted, true);
        !is_known && state.listed.is_none() && !state.is_triggered
    });
    if !is_first || !controller.trusts_lists() {
        return;
    }
    let Some(observed) = recognized(resource, controller) else { return };
    let claim = FinishedClaim { tenant_version: observed.tenant_version.clone(), is_owner: true };
    let status = resource.status.clone().unwrap_or_default();
    controller.states.with(&uid, |state| {
        // The times of the status count from now, as in a reconcile.
        state.sightings.clock(&status, server_time::read());
        state.last_observed = Some(observed);
        state.finished_claim = Some(claim);
    });
}

/// Returns whether a marker counts now, as far as the clocks show.
fn is_current(settled: &Settled, clock: &ClockReading) -> bool {
    let ClockReading { latest, agrees, .. } = *clock;
    // A clock that was ahead could have planned times far in the future.
    let is_plausible = agrees && settled.at <= latest + CLOCK_TOLERANCE;
    is_plausible && settled.until.is_none_or(|until| until > latest)
}

fn recognized(
    resource: &ClientSecretRotation,
    controller: &RotationController,
) -> Option<LastObserved> {
    let status = resource.status.as_ref()?;
    let settled = status.settled.as_deref()?;
    let clock = server_time::read();
    let target = ObjectKey::new(resource.namespace()?, &resource.spec.target.name);
    let secret_versions = vec![settled.target_version.clone()];
    if !is_current(settled, &clock)
        || scheduling::has_work(resource, clock.latest)
        || !is_settled(resource, status)
        || !controller.context.stores.is_known_secret(&target, &secret_versions)
    {
        return None;
    }
    let tenant = controller.tenants.find(resource).ok()?;
    let facts = fingerprint(&Facts::new(resource, &tenant, &controller.context.settings))?;
    if facts != settled.facts || !is_alone(resource, &tenant, controller) {
        return None;
    }
    Some(LastObserved {
        resource_versions: vec![resource.resource_version()?],
        secret_versions,
        tenant_version: tenant.version,
        is_claimed: false,
        credentials_version: String::new(),
        restores: restores(),
        wake: settled.until.map(server_time::instant),
        finished_at: Some(Instant::now()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn facts(texts: &[String; 3]) -> Facts<'_> {
        Facts {
            revision: REVISION,
            version: "1.2.3",
            settings: "settings".into(),
            uid: Some("uid".into()),
            generation: Some(4),
            request: Some("rotate/1".into()),
            is_initialized: true,
            has_finalizer: false,
            tenant: texts[0].clone(),
            domain: &texts[1],
            origin: &texts[2],
        }
    }

    #[test]
    fn every_fact_changes_the_fingerprint() {
        let texts = ["tenant", "acme.eu.auth0.com", "https://acme.eu.auth0.com"].map(str::to_owned);
        let other = String::from("other");
        let changes: [fn(&mut Facts<'_>); 8] = [
            |facts| facts.revision += 1,
            |facts| facts.version = "1.2.4",
            |facts| facts.settings.push('x'),
            |facts| facts.uid = Some("another".into()),
            |facts| facts.generation = Some(5),
            |facts| facts.request = None,
            |facts| facts.is_initialized = false,
            |facts| facts.has_finalizer = true,
        ];
        let mut all = vec![fingerprint(&facts(&texts)).unwrap()];
        for change in changes {
            let mut changed = facts(&texts);
            change(&mut changed);
            all.push(fingerprint(&changed).unwrap());
        }
        for number in 0..3 {
            let mut changed = texts.clone();
            changed[number].clone_from(&other);
            all.push(fingerprint(&facts(&changed)).unwrap());
        }
        assert_eq!(all[0], fingerprint(&facts(&texts)).unwrap());
        let fields = serde_json::to_value(facts(&texts)).unwrap().as_object().unwrap().len();
        assert_eq!(all.len(), fields + 1);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), fields + 1);
    }

    fn resource(status: Value) -> ClientSecretRotation {
        serde_json::from_value(json!({
            "apiVersion": "auth0-rotator.dev/v1alpha1", "kind": "ClientSecretRotation",
            "metadata": { "name": "shop", "namespace": "web", "uid": "u", "generation": 2 },
            "spec": { "clientId": "c", "tenantRef": { "name": "acme" }, "target": { "name": "t" } },
            "status": status,
        }))
        .unwrap()
    }

    fn condition(type_: &str, status: &str) -> Value {
        json!({
            "type": type_, "status": status, "reason": "Reason", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    }

    /// Returns whether a resource is settled whose status has this condition as well, and these fields.
    fn is_settled_with(type_: &str, status: &str, fields: Value) -> bool {
        let settled = [
            ("Ready", "True"),
            ("TenantReady", "True"),
            ("Reconciling", "False"),
            ("Stalled", "False"),
        ];
        let mut conditions: Vec<Value> =
            settled.map(|(type_, status)| condition(type_, status)).to_vec();
        conditions.retain(|condition| condition["type"] != type_);
        conditions.push(condition(type_, status));
        let mut value = json!({ "observedGeneration": 2, "current": 1, "conditions": conditions });
        for (name, field) in fields.as_object().unwrap() {
            value[name] = field.clone();
        }
        let resource = resource(value);
        is_settled(&resource, resource.status.as_ref().unwrap())
    }

    #[test]
    fn settled_status_reports_nothing_to_do() {
        let with = |type_, status| is_settled_with(type_, status, json!({}));
        for (type_, status) in [
            ("Ready", "True"),
            ("SignsWithSecret", "False"),
            ("RequestAccepted", "True"),
            ("RequestAccepted", "False"),
            ("ConsumersReached", "Unknown"),
            ("ProbeInconclusive", "True"),
            ("InSync", "True"),
            ("RevokedSecretRejected", "True"),
        ] {
            assert!(with(type_, status), "{type_} {status}");
        }
        for (type_, status) in [
            ("Ready", "False"),
            ("Ready", "Unknown"),
            ("TenantReady", "False"),
            ("Reconciling", "True"),
            ("Stalled", "True"),
            ("SignsWithSecret", "True"),
            ("RequestAccepted", "Unknown"),
            ("ConsumersReached", "False"),
            ("OwnerReferenceSet", "False"),
            ("ClientRotatable", "False"),
            ("InSync", "False"),
            ("RevokedSecretRejected", "Unknown"),
            ("Unheard", "False"),
        ] {
            assert!(!with(type_, status), "{type_} {status}");
        }
    }

    #[test]
    fn marker_of_a_clock_that_was_ahead_does_not_count() {
        let at = |seconds: i64| DateTime::from_timestamp(1_000 + seconds, 0).unwrap();
        let reading = |agrees| ClockReading {
            earliest: at(0),
            latest: at(0),
            agrees,
            monotonic: Duration::ZERO,
        };
        let marker = |made: i64, until: Option<i64>| Settled {
            at: at(made),
            until: until.map(at),
            target_version: "7".into(),
            facts: "facts".into(),
            status: "status".into(),
        };
        assert!(is_current(&marker(-10, Some(1)), &reading(true)));
        assert!(is_current(&marker(30, None), &reading(true)));
        assert!(!is_current(&marker(31, None), &reading(true)));
        assert!(!is_current(&marker(-10, Some(0)), &reading(true)));
        assert!(!is_current(&marker(-10, Some(1)), &reading(false)));
    }

    #[test]
    fn rotation_or_pending_change_is_not_settled() {
        let with = |fields| is_settled_with("Ready", "True", fields);
        let rotation = json!({
            "number": 2, "cause": "Request", "strategy": "Rotate", "phase": "Grace",
            "startedAt": "2026-01-01T00:00:00Z",
        });
        assert!(with(json!({ "previous": 1 })));
        assert!(!with(json!({ "rotation": rotation })));
        assert!(!with(json!({ "current": null })));
        assert!(!with(json!({ "observedGeneration": 1 })));
        let hold_off = |pending| {
            json!({ "driftHoldOff": {
                "recurrences": 0, "until": "2026-01-01T00:00:00Z", "pending": pending,
            } })
        };
        assert!(with(hold_off(false)));
        assert!(!with(hold_off(true)));
    }
}
