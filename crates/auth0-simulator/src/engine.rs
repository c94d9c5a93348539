//! From a request to an answer: faults, rate limit, tenant, audit log and counters, in that
//! order, under one lock, so that what the log says and what happened can't differ.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use hyper::header::{HeaderName, USER_AGENT};
use secrecy::SecretString;

use crate::audit::{self, AuditEntry, AuditKind, AuditLog};
use crate::clock::Clock;
use crate::counters::{Counters, Notes};
use crate::error::{ApiError, OAuthError, SeedError};
use crate::faults::queue::{FaultQueue, Strike, Subject};
use crate::faults::{Action, When};
use crate::http::answer::{Answer, answer};
use crate::http::credentials::{Parameters, named_client};
use crate::http::route::{Route, decoded_path, route};
use crate::http::{Outcome, Payload, Request, clients, token};
use crate::operation::Operation;
use crate::ratelimit::{Budget, Limiter};
use crate::tenant::Tenant;

const AUTH0_CLIENT: HeaderName = HeaderName::from_static("auth0-client");

/// Everything that changes.
pub(crate) struct State {
    pub(crate) tenant: Tenant,
    pub(crate) limiter: Limiter,
    pub(crate) faults: FaultQueue,
    pub(crate) audit: AuditLog,
    pub(crate) counters: Counters,
}

/// The state behind its lock, and the clock.
pub(crate) struct Engine {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

/// A request as far as it is understood without the tenant.
struct Call {
    request: Request,
    route: Route,
    path: String,
    /// The parameters of the OAuth endpoints, read once.
    parameters: Option<Result<Parameters, OAuthError>>,
    client_id: Option<String>,
}

impl Call {
    fn new(request: Request) -> Self {
        let route = route(&request.method, request.uri.path());
        let path = decoded_path(request.uri.path());
        let oauth = matches!(route.operation, Operation::Token | Operation::Revoke);
        let parameters = oauth.then(|| Parameters::read(&request));
        let client_id = match &route.client_id {
            Some(id) => id.as_ref().ok().cloned(),
            None if oauth => {
                named_client(&request, parameters.as_ref().and_then(|read| read.as_ref().ok()))
            }
            None => None,
        };
        Self { request, route, path, parameters, client_id }
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            operation: self.route.operation,
            method: self.request.method.as_str(),
            path: &self.path,
            client_id: self.client_id.as_deref(),
        }
    }
}

impl Engine {
    pub(crate) fn new(state: State, clock: Arc<dyn Clock>) -> Self {
        Self { state: Mutex::new(state), clock }
    }

    /// The state, also after a panic in somebody who held it: that request is lost, and the next
    /// one is to be answered.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Answers one request of Auth0's.
    pub(crate) async fn handle(&self, request: Request) -> Answer {
        let call = Call::new(request);
        let strike = self.state().faults.strike(&call.subject());
        pause(strike.delay_before).await;
        let sent = {
            let mut state = self.state();
            state.perform(&call, &strike, self.now())
        };
        pause(strike.delay_after).await;
        sent
    }

    /// Changes a secret at the dashboard, generating a value when none is given.
    pub(crate) fn dashboard_change(
        &self,
        client_id: &str,
        value: Option<SecretString>,
    ) -> Result<SecretString, SeedError> {
        let now = self.now();
        let mut state = self.state();
        let (value, changed) = state.tenant.dashboard_change(client_id, value, now)?;
        let mut entry = AuditEntry::new(AuditKind::Dashboard, Operation::Dashboard);
        entry.client_id = Some(client_id.into());
        entry.effect = changed;
        let notes = Notes { known_client: true, secret_changed: changed, secret_refused: false };
        state.counters.count(&entry, notes);
        state.audit.push(entry, now);
        Ok(value)
    }
}

async fn pause(length: Duration) {
    if !length.is_zero() {
        tokio::time::sleep(length).await;
    }
}

impl State {
    /// Does what the request asks for, unless a fault or the rate limit is before it, and writes
    /// it down.
    fn perform(&mut self, call: &Call, strike: &Strike, now: SystemTime) -> Answer {
        let known =
            call.client_id.as_ref().is_some_and(|id| self.tenant.clients().contains_key(id));
        let action = strike.action.as_ref();
        let stopped = action
            .is_some_and(|action| action.when() == When::Before && *action != Action::ExpiredToken);
        let (outcome, budget) = if stopped {
            (None, self.ordered_budget(action, now))
        } else {
            let (outcome, budget) = self.consult(call, action, now);
            (Some(outcome), budget)
        };
        let sent = answer(call.route.operation, outcome.as_ref(), action, budget);
        let outcome = outcome
            .unwrap_or_else(|| Outcome::new(StatusCode::OK, Payload::Empty, AuditKind::Faulted));
        self.write_down(
            call,
            outcome,
            strike,
            sent.as_ref().ok().map(|it| it.status()),
            known,
            now,
        );
        sent
    }

    /// Headers of a 429 that a fault ordered.
    fn ordered_budget(&self, action: Option<&Action>, now: SystemTime) -> Option<Budget> {
        let Some(Action::RateLimited { reset_in_s, .. }) = action else {
            return None;
        };
        Some(self.limiter.refuse(now, Duration::from_secs(*reset_in_s)))
    }

    fn consult(
        &mut self,
        call: &Call,
        action: Option<&Action>,
        now: SystemTime,
    ) -> (Outcome, Option<Budget>) {
        let Call { request, route, parameters, .. } = call;
        if action == Some(&Action::ExpiredToken)
            && let Some(bearer) = request.bearer()
        {
            self.tenant.expire_token(bearer, now);
        }
        let read = || match parameters {
            Some(Ok(parameters)) => Ok(parameters),
            Some(Err(error)) => Err(error.clone()),
            None => Err(OAuthError::missing("grant_type")),
        };
        let outcome = match route.operation {
            Operation::Token => token::token(&mut self.tenant, request, read(), now),
            Operation::Revoke => token::revoke(&mut self.tenant, request, read(), now),
            operation if operation.is_management() => match self.limiter.take(now) {
                Some(Err(budget)) => {
                    let outcome = Outcome::api_error(&ApiError::too_many_requests());
                    return (outcome, Some(budget));
                }
                budget => {
                    let id = route.client_id.as_ref();
                    let outcome = clients::call(&mut self.tenant, operation, id, request, now);
                    return (outcome, budget.and_then(Result::ok));
                }
            },
            _ => {
                Outcome { kind: AuditKind::NotFound, ..Outcome::api_error(&ApiError::not_found()) }
            }
        };
        (outcome, None)
    }

    fn write_down(
        &mut self,
        call: &Call,
        outcome: Outcome,
        strike: &Strike,
        status: Option<StatusCode>,
        known: bool,
        now: SystemTime,
    ) {
        let created = outcome.client_id.is_some();
        let entry = AuditEntry {
            client_id: outcome.client_id.or_else(|| call.client_id.as_deref().map(audit::bounded)),
            token_client_id: outcome.token_client_id,
            status: status.map(|status| status.as_u16()),
            error: outcome.error,
            effect: outcome.effect,
            shows_secret: outcome.shows_secret,
            fault: strike.name.clone(),
            auth0_client: call.request.header(AUTH0_CLIENT).and_then(audit::decode_auth0_client),
            user_agent: call.request.header(USER_AGENT).map(audit::bounded),
            ..AuditEntry::new(outcome.kind, call.route.operation)
        };
        let notes = Notes {
            known_client: known || created,
            secret_changed: outcome.secret_changed,
            secret_refused: outcome.secret_refused,
        };
        tracing::info!(
            operation = %entry.operation,
            client_id = entry.client_id.as_deref().filter(|_| notes.known_client),
            status = entry.status,
            error = entry.error,
            effect = entry.effect,
            fault = entry.fault,
            "answered"
        );
        self.counters.count(&entry, notes);
        self.audit.push(entry, now);
    }
}
