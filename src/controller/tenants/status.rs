//! The status of tenants: whether the Management API gives a token, and with which scopes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use kube::{
    ResourceExt as _, api::PostParams, core::DeserializeGuard, runtime::controller::Action,
};
use rotation::{Condition, ConditionStatus, Failure, Reason, condition_types, set_condition};

use super::{Usable, credentials_watch, kinds::TenantResource};
use crate::api::{Auth0TenantStatus, MANAGER, RateLimitStatus, Scopes, TenantRef};
use crate::controller::{
    KUBE_DEADLINE,
    clock::now,
    context::Context,
    trouble::{self, backoff},
};
use auth0_client::{READ_CLIENT_KEYS, READ_CLIENTS, UPDATE_CLIENT_KEYS};

/// How often a tenant that works is looked at. The token is kept, so that this costs no call
/// unless it is about to expire.
const RECHECK: Duration = Duration::from_secs(600);

/// How long what was told of a budget stands, also when it is used up.
const BUDGET_KEPT: Duration = Duration::from_secs(60);

/// What works only with a scope.
const SCOPES: [(&str, &str); 3] = [
    (UPDATE_CLIENT_KEYS, "rotations"),
    (READ_CLIENTS, "checking clients"),
    (READ_CLIENT_KEYS, "import, read-back and drift"),
];

/// Brings a tenant's status up to date.
pub(in crate::controller) async fn reconcile<T: TenantResource>(
    resource: Arc<DeserializeGuard<T>>,
    context: Arc<Context>,
) -> Result<Action, std::convert::Infallible> {
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let Ok(tenant) = &resource.0 else {
        tracing::warn!(namespace, name, "the tenant can't be parsed");
        return Ok(Action::await_change());
    };
    let uid = tenant.uid().unwrap_or_default();
    let checked = check(tenant, &context).await;
    let failure = checked.as_ref().err().cloned();
    let status = Auth0TenantStatus { budget: budget(tenant, &context), ..status(tenant, checked) };
    let stored = store(tenant, status, &context).await;
    credentials_watch::follow(tenant, failure.as_ref(), &context);
    let Some(trouble) = failure.or(stored.err()) else {
        context.memory.with(&uid, |known| known.failures = 0);
        return Ok(Action::requeue(RECHECK));
    };
    let failures = context.memory.with(&uid, |known| {
        known.failures = known.failures.saturating_add(1);
        known.failures
    });
    let wait = backoff(trouble.class, failures, Utc::now(), rand::random());
    let Failure { reason, message, .. } = &trouble;
    tracing::warn!(namespace, name, %reason, failures, ?wait, "{message}");
    Ok(Action::requeue(wait))
}

/// What a tenant that works says of itself.
struct Found {
    scopes: Vec<String>,
    token_time: Option<DateTime<Utc>>,
}

async fn check<T: TenantResource>(tenant: &T, context: &Context) -> Result<Found, Failure> {
    let usable = context.tenants.usable(tenant)?;
    let scopes = usable.tenant.granted_scopes(&SCOPES.map(|(scope, _)| scope)).await;
    usable.meter.called("scopes", &scopes);
    let scopes = scopes.map_err(|error| Failure::from(&error))?;
    Ok(Found { scopes, token_time: usable.tenant.token_fetched_at().await })
}

/// What is left of the tenant's budget, for its status. It changes with every call, so it isn't told
/// each time that the tenant is looked at.
fn budget<T: TenantResource>(tenant: &T, context: &Context) -> Option<RateLimitStatus> {
    let told = tenant.status().and_then(|status| status.budget);
    let usable = context.tenants.usable(tenant).ok()?;
    let Some(left) = usable.tenant.rate_limit_status() else { return told };
    let is_due = context.memory.with(&usable.uid, |known| {
        let is_due = known.budget_told.is_none_or(|at| at.elapsed() >= BUDGET_KEPT);
        if is_due {
            known.budget_told = Some(Instant::now());
        }
        is_due
    });
    let auth0_client::RateLimitStatus { limit, remaining, reset_time } = left;
    if is_due { Some(RateLimitStatus { limit, remaining, reset_time }) } else { told }
}

/// Has a tenant looked at when its status is behind what its budget is: nothing was told of it yet,
/// or it is used up and wasn't when it was told.
pub(in crate::controller) fn tell_budget(
    (namespace, reference): (&str, &TenantRef),
    usable: &Usable,
    context: &Context,
) {
    let Some(left) = usable.tenant.rate_limit_status() else { return };
    let told = context.memory.with(&usable.uid, |known| known.budget_told);
    let kept = if left.remaining == 0 { BUDGET_KEPT } else { RECHECK };
    if told.is_none_or(|at| at.elapsed() >= kept) {
        context.pokes.poke_tenant(namespace, reference);
    }
}

fn status<T: TenantResource>(tenant: &T, checked: Result<Found, Failure>) -> Auth0TenantStatus {
    let mut status = tenant.status().cloned().unwrap_or_default();
    let generation = tenant.meta().generation;
    status.observed_generation = generation;
    let mut say = |kind: &str, truth: ConditionStatus, reason: Reason, message: &str| {
        let condition = Condition::new(kind, truth, reason, message, generation, now());
        set_condition(&mut status.conditions, condition);
    };
    let (ready, reason, message) = match checked {
        Err(trouble) => {
            let (reachable, authorized) = what_fails(trouble.reason);
            say(REACHABLE, reachable, trouble.reason, "");
            say(AUTHORIZED, authorized, trouble.reason, "");
            (false, trouble.reason, trouble.message)
        }
        Ok(found) => {
            say(REACHABLE, ConditionStatus::True, Reason::Responding, "");
            say(AUTHORIZED, ConditionStatus::True, Reason::TokenGranted, "");
            let scopes = sort_scopes(&found.scopes);
            let told = tell_scopes(&scopes);
            status.scopes = Some(scopes);
            status.token_time = found.token_time;
            told
        }
    };
    let ready = Condition::new(condition_types::READY, ready, reason, &message, generation, now());
    set_condition(&mut status.conditions, ready);
    status
}

/// Auth0 answers.
const REACHABLE: &str = "Reachable";
/// Auth0 takes the credentials, and gives a token for the Management API.
const AUTHORIZED: &str = "Authorized";

/// Whether Auth0 was reached, and whether it takes the credentials, when no token was got for that
/// reason.
fn what_fails(reason: Reason) -> (ConditionStatus, ConditionStatus) {
    match reason {
        Reason::Unreachable | Reason::NoResponse | Reason::TokenUnavailable => {
            (ConditionStatus::False, ConditionStatus::Unknown)
        }
        Reason::CredentialsRejected | Reason::TokenForbidden => {
            (ConditionStatus::True, ConditionStatus::False)
        }
        Reason::Unavailable | Reason::InvalidResponse | Reason::Throttled => {
            (ConditionStatus::True, ConditionStatus::Unknown)
        }
        _ => (ConditionStatus::Unknown, ConditionStatus::Unknown),
    }
}

/// Scopes that matter here, and no others: a token may have hundreds.
fn sort_scopes(granted: &[String]) -> Scopes {
    let has = &|scope: &str| granted.iter().any(|granted| granted == scope);
    let names = |wanted: bool| {
        SCOPES
            .iter()
            .map(|(scope, _)| *scope)
            .filter(move |scope| has(scope) == wanted)
            .map(str::to_owned)
    };
    Scopes { granted: names(true).collect(), missing: names(false).collect() }
}

fn tell_scopes(scopes: &Scopes) -> (bool, Reason, String) {
    let missing = |(scope, what): &(&str, &str)| {
        let missing = scopes.missing.iter().any(|missing| missing == scope);
        missing.then(|| format!("{scope} ({what})"))
    };
    let missing: Vec<_> = SCOPES.iter().filter_map(missing).collect();
    if missing.is_empty() {
        return (true, Reason::Usable, "the Management API gave a token".to_owned());
    }
    let message = format!(
        "the management client lacks scopes, without which these don't work: {}; grant them in \
         Auth0's dashboard",
        missing.join(", ")
    );
    let usable = !scopes.missing.iter().any(|scope| scope == UPDATE_CLIENT_KEYS);
    (usable, if usable { Reason::PartiallyUsable } else { Reason::MissingScope }, message)
}

async fn store<T: TenantResource>(
    tenant: &T,
    status: Auth0TenantStatus,
    context: &Context,
) -> Result<(), Failure> {
    if tenant.status() == Some(&status) {
        return Ok(());
    }
    let mut tenant = tenant.clone();
    tenant.meta_mut().managed_fields = None;
    tenant.set_status(status);
    let api = T::api(context.client.clone(), &tenant.namespace().unwrap_or_default());
    let name = tenant.name_any();
    let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    let what = "storing the tenant's status";
    trouble::check(context.right())?;
    match tokio::time::timeout(KUBE_DEADLINE, api.replace_status(&name, &params, &tenant)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(trouble::of_kube(what, &error)),
        Err(_) => Err(trouble::of_timeout(what)),
    }
}
