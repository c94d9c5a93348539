//! Reconciles the status of tenants: whether Auth0 issues a Management API token, and with which
//! scopes.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use auth0_client::{READ_CLIENT_KEYS, READ_CLIENTS, UPDATE_CLIENT_KEYS};
use chrono::{DateTime, Utc};
use kube::{
    ResourceExt as _, api::PostParams, core::DeserializeGuard, runtime::controller::Action,
};
use rotation::{Condition, ConditionStatus, Reason, condition_types, set_condition};

use super::{
    credentials_watch,
    registry::{TenantHandle, TenantRegistry},
};
use crate::{
    api::{
        Auth0TenantStatus, FIELD_MANAGER, RateLimitStatus, Scopes, TenantRef, TenantResource,
        kept_domain, with_kept_domain,
    },
    controller::{
        error::{Error, backoff},
        kube_call::{check_fence, kube_call},
        server_time::now,
        write_budget::WriteKind,
    },
};

/// How often a tenant that works is checked. A cached token is checked without a call.
const RECHECK: Duration = Duration::from_secs(600);

/// Shortest time between two writes of the rate limit to the status: it changes with every call.
const RATE_LIMIT_INTERVAL: Duration = Duration::from_secs(60);

/// Condition of a tenant: Auth0 responds.
const REACHABLE: &str = "Reachable";
/// Condition of a tenant: Auth0 accepts the credentials and issues a token.
const AUTHORIZED: &str = "Authorized";

/// A scope, and the features that need it.
struct ScopeUse {
    scope: &'static str,
    needed_for: &'static str,
}

const SCOPES: [ScopeUse; 3] = [
    ScopeUse { scope: UPDATE_CLIENT_KEYS, needed_for: "rotations" },
    ScopeUse { scope: READ_CLIENTS, needed_for: "checking clients" },
    ScopeUse { scope: READ_CLIENT_KEYS, needed_for: "import, read-back and drift" },
];

/// The token that a check found.
struct TokenInfo {
    scopes: Vec<String>,
    issued_at: Option<DateTime<Utc>>,
}

/// Reconciles the status of a tenant.
pub(super) async fn reconcile<T: TenantResource>(
    resource: Arc<DeserializeGuard<T>>,
    registry: Arc<TenantRegistry>,
) -> Result<Action, Infallible> {
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let Ok(tenant) = &resource.0 else {
        tracing::warn!(namespace, name, "failed to parse the tenant");
        return Ok(Action::await_change());
    };
    let uid = tenant.uid().unwrap_or_default();
    if !registry.context.stores.selector.selects(tenant.meta()) {
        registry.forget(&uid);
        return Ok(Action::await_change());
    }
    let check = registry.checks.acquire(&namespace).await;
    if registry.context.is_stopping() {
        return Ok(Action::await_change());
    }
    let (token, failure) = match fetch_token(tenant, &registry).await {
        Ok(token) => (Ok(token), None),
        Err(error) => (Err(error.clone()), Some(error)),
    };
    let rate_limit = rate_limit_to_report(tenant, &registry);
    let status = Auth0TenantStatus { rate_limit, ..status(tenant, token) };
    let is_first =
        registry.states.with(&uid, |state| !std::mem::replace(&mut state.was_checked, true));
    let stored = if is_first && differs_in_token_only(tenant.status(), &status) {
        // A restart is no reason for a write: the next check reports the token.
        registry.states.with(&uid, |state| state.rate_limit_reported_at = None);
        Ok(())
    } else {
        store_status(tenant, status, &registry).await
    };
    drop(check);
    credentials_watch::update(tenant, failure.as_ref(), &registry);
    let Some(error) = failure.or(stored.err()) else {
        registry.states.with(&uid, |state| state.failures = 0);
        return Ok(Action::requeue(next_check(tenant, &registry)));
    };
    let failures = registry.states.with(&uid, |state| {
        state.failures = state.failures.saturating_add(1);
        state.failures
    });
    let wait = backoff(error.class(), failures, Utc::now(), rand::random());
    let reason = error.reason();
    tracing::warn!(namespace, name, %reason, failures, ?wait, "{error}");
    Ok(Action::requeue(wait))
}

/// Returns when to check a tenant again that works: earlier if a scope is missing, which a new token may
/// have.
fn next_check<T: TenantResource>(tenant: &T, registry: &TenantRegistry) -> Duration {
    let required = SCOPES.map(|needed| needed.scope);
    let handle = registry.handle(tenant).ok();
    let due = handle.and_then(|handle| handle.client.next_scope_check(&required));
    let until_due = due.and_then(|due| (due - Utc::now()).to_std().ok());
    // One second more, so that it is not still a fraction in the future.
    until_due.map_or(RECHECK, |wait| RECHECK.min(wait + Duration::from_secs(1)))
}

async fn fetch_token<T: TenantResource>(
    tenant: &T,
    registry: &TenantRegistry,
) -> Result<TokenInfo, Error> {
    let handle = registry.handle(tenant)?;
    let scopes = handle.client.granted_scopes(&SCOPES.map(|needed| needed.scope)).await;
    handle.meter.count_operation("scopes", &scopes);
    let scopes = scopes?;
    // The present token is used until it expires. Until then the credentials have to be corrected.
    if let Some(error) = handle.client.unusable_credentials() {
        return Err(error.into());
    }
    Ok(TokenInfo { scopes, issued_at: handle.client.token_fetched_at() })
}

/// Returns the rate limit for the status: the one that it has, until the interval is over.
fn rate_limit_to_report<T: TenantResource>(
    tenant: &T,
    registry: &TenantRegistry,
) -> Option<RateLimitStatus> {
    let reported = tenant.status().and_then(|status| status.rate_limit);
    let handle = registry.handle(tenant).ok()?;
    let Some(observed) = handle.client.rate_limit_status() else { return reported };
    let is_due = registry.states.with(&handle.uid, |state| {
        let last = state.rate_limit_reported_at;
        let is_due = last.is_none_or(|at| at.elapsed() >= RATE_LIMIT_INTERVAL);
        if is_due {
            state.rate_limit_reported_at = Some(Instant::now());
        }
        is_due
    });
    if !is_due {
        return reported;
    }
    let auth0_client::RateLimitStatus { limit, remaining, reset_time } = observed;
    Some(RateLimitStatus { limit, remaining, reset_time })
}

impl TenantRegistry {
    /// Triggers a reconcile of a tenant when its status is behind the observed rate limit: none was
    /// reported yet, or it is used up and was not when it was reported.
    pub(crate) fn report_rate_limit(
        &self,
        namespace: &str,
        reference: &TenantRef,
        handle: &TenantHandle,
    ) {
        let Some(observed) = handle.client.rate_limit_status() else { return };
        let reported_at = self.states.with(&handle.uid, |state| state.rate_limit_reported_at);
        let valid_for = if observed.remaining == 0 { RATE_LIMIT_INTERVAL } else { RECHECK };
        if reported_at.is_none_or(|at| at.elapsed() >= valid_for) {
            self.context.trigger.tenant(namespace, reference);
        }
    }
}

fn status<T: TenantResource>(tenant: &T, token: Result<TokenInfo, Error>) -> Auth0TenantStatus {
    let mut status = tenant.status().cloned().unwrap_or_default();
    let generation = tenant.meta().generation;
    status.observed_generation = generation;
    let endpoint = tenant.access().endpoint_origin();
    status.origin.take_if(|origin| endpoint.as_ref() != Some(origin));
    let conditions = match token {
        Err(error) => {
            let (reachable, authorized) = failed_conditions(error.reason());
            let kept_domain = kept_domain(&tenant.access().domain, Some(&status));
            let message = with_kept_domain(error.to_string(), kept_domain.as_deref());
            [
                (REACHABLE, reachable, error.reason(), String::new()),
                (AUTHORIZED, authorized, error.reason(), String::new()),
                (condition_types::READY, ConditionStatus::False, error.reason(), message),
            ]
        }
        Ok(token) => {
            let scopes = relevant_scopes(&token.scopes);
            let (ready, reason, message) = readiness(&scopes);
            status.scopes = Some(scopes);
            status.token_time = token.issued_at;
            status.origin = endpoint;
            status.domain = Some(tenant.access().domain.clone());
            [
                (REACHABLE, ConditionStatus::True, Reason::Responding, String::new()),
                (AUTHORIZED, ConditionStatus::True, Reason::TokenGranted, String::new()),
                (condition_types::READY, ready.into(), reason, message),
            ]
        }
    };
    for (type_, value, reason, message) in conditions {
        let condition = Condition::new(type_, value, reason, &message, generation, now());
        set_condition(&mut status.conditions, condition);
    }
    status
}

/// Returns the conditions `Reachable` and `Authorized` when no token was issued for this reason.
fn failed_conditions(reason: Reason) -> (ConditionStatus, ConditionStatus) {
    match reason {
        Reason::Unreachable | Reason::NoResponse | Reason::TokenUnavailable => {
            (ConditionStatus::False, ConditionStatus::Unknown)
        }
        Reason::CredentialsRejected | Reason::TokenForbidden => {
            (ConditionStatus::True, ConditionStatus::False)
        }
        Reason::Unavailable
        | Reason::InvalidResponse
        | Reason::Throttled
        | Reason::TokenThrottled => (ConditionStatus::True, ConditionStatus::Unknown),
        _ => (ConditionStatus::Unknown, ConditionStatus::Unknown),
    }
}

/// Returns the scopes that the operator uses, and no others: a token may have hundreds.
fn relevant_scopes(granted: &[String]) -> Scopes {
    let mut scopes = Scopes::default();
    for ScopeUse { scope, .. } in SCOPES {
        let is_granted = granted.iter().any(|granted| granted == scope);
        let list = if is_granted { &mut scopes.granted } else { &mut scopes.missing };
        list.push(scope.to_owned());
    }
    scopes
}

/// Returns status, reason and message of `Ready`.
fn readiness(scopes: &Scopes) -> (bool, Reason, String) {
    let is_missing = |scope: &str| scopes.missing.iter().any(|missing| missing == scope);
    let missing: Vec<String> = SCOPES
        .iter()
        .filter(|needed| is_missing(needed.scope))
        .map(|needed| format!("{} ({})", needed.scope, needed.needed_for))
        .collect();
    if missing.is_empty() {
        return (true, Reason::Usable, "Auth0 issued a Management API token".to_owned());
    }
    let message = format!(
        "the management client lacks scopes: {}. Grant them in Auth0's dashboard; the operator looks for \
         them at growing intervals of up to an hour",
        missing.join(", ")
    );
    if is_missing(UPDATE_CLIENT_KEYS) {
        (false, Reason::MissingScope, message)
    } else {
        (true, Reason::PartiallyUsable, message)
    }
}

/// Returns whether only the rate limit changed, whose writes [`RATE_LIMIT_INTERVAL`] bounds.
fn differs_in_rate_limit_only(
    stored: Option<&Auth0TenantStatus>,
    status: &Auth0TenantStatus,
) -> bool {
    let Some(stored) = stored else { return false };
    Auth0TenantStatus { rate_limit: stored.rate_limit, ..status.clone() } == *stored
}

/// Returns whether only the time of the token and the rate limit changed.
fn differs_in_token_only(stored: Option<&Auth0TenantStatus>, status: &Auth0TenantStatus) -> bool {
    let Some(stored) = stored else { return false };
    let token_time = stored.token_time;
    let status = Auth0TenantStatus { token_time, ..status.clone() };
    status == *stored || differs_in_rate_limit_only(Some(stored), &status)
}

async fn store_status<T: TenantResource>(
    tenant: &T,
    status: Auth0TenantStatus,
    registry: &TenantRegistry,
) -> Result<(), Error> {
    if tenant.status() == Some(&status) {
        return Ok(());
    }
    if !differs_in_rate_limit_only(tenant.status(), &status) {
        let uid = tenant.uid().unwrap_or_default();
        registry.states.with(&uid, |state| state.writes.take(WriteKind::Ordinary))?;
    }
    let mut tenant = tenant.clone();
    tenant.meta_mut().managed_fields = None;
    tenant.set_status(status);
    let context = &registry.context;
    let api = T::api(context.client.clone(), &tenant.namespace().unwrap_or_default());
    let name = tenant.name_any();
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    check_fence(context.fence())?;
    let stored = api.replace_status(&name, &params, &tenant);
    kube_call("storing the tenant's status", stored).await.map(drop)
}
