//! Handling of one request to Auth0's paths: faults, rate limit, tenant, counters and audit log.

use std::time::{Duration, SystemTime};

use hyper::{
    StatusCode,
    header::{HeaderName, USER_AGENT},
};

use crate::{
    audit::{self, AuditEntry, AuditKind},
    client_rate_limit::ClientAdmission,
    counters::RequestFacts,
    error::{ApiError, OAuthError},
    faults::{
        Action, When,
        queue::{AppliedFaults, RequestInfo},
    },
    http::{
        Outcome, Payload, Request,
        client_auth::{Parameters, named_client},
        clients, oauth,
        response::{ResponseResult, render},
        route::{Route, decoded_path, route},
    },
    operation::Operation,
    rate_limit::{Admission, RateLimitHeaders},
    shared_state::{SharedState, State},
};

const AUTH0_CLIENT: HeaderName = HeaderName::from_static("auth0-client");

/// A request as parsed without access to the tenant.
struct ParsedRequest {
    request: Request,
    route: Route,
    path: String,
    /// Parameters of the OAuth endpoints. `None` for other operations.
    parameters: Option<Result<Parameters, OAuthError>>,
    client_id: Option<String>,
}

impl ParsedRequest {
    fn new(request: Request) -> Self {
        let route = route(&request.method, request.uri.path());
        let path = decoded_path(request.uri.path());
        let is_oauth = matches!(route.operation, Operation::Token | Operation::Revoke);
        let parameters = is_oauth.then(|| Parameters::parse(&request));
        let client_id = match (&route.client_id, &parameters) {
            (Some(id), _) => id.as_ref().ok().cloned(),
            (None, Some(parameters)) => named_client(&request, parameters.as_ref().ok()),
            (None, None) => None,
        };
        Self { request, route, path, parameters, client_id }
    }

    fn info(&self) -> RequestInfo<'_> {
        RequestInfo {
            operation: self.route.operation,
            method: self.request.method.as_str(),
            path: &self.path,
            client_id: self.client_id.as_deref(),
        }
    }

    fn oauth_parameters(&self) -> Result<&Parameters, OAuthError> {
        match &self.parameters {
            Some(Ok(parameters)) => Ok(parameters),
            Some(Err(error)) => Err(error.clone()),
            None => Err(OAuthError::missing("grant_type")),
        }
    }
}

/// Handles one request and returns the response.
pub(crate) async fn handle(shared: &SharedState, request: Request) -> ResponseResult {
    let request = ParsedRequest::new(request);
    let faults = shared.lock().faults.take_for(&request.info());
    sleep(faults.delay_before).await;
    let response = {
        let mut state = shared.lock();
        state.process(&request, &faults, shared.now())
    };
    sleep(faults.delay_after).await;
    response
}

async fn sleep(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

/// Result of dispatching a request, before faults are applied to the response.
struct Dispatched {
    outcome: Outcome,
    headers: Option<RateLimitHeaders>,
    /// Decision of the client's own limit.
    admission: Option<ClientAdmission>,
}

impl State {
    /// Executes the request, unless a fault or the rate limit prevents it, and records it in the
    /// counters and the audit log.
    fn process(
        &mut self,
        request: &ParsedRequest,
        faults: &AppliedFaults,
        now: SystemTime,
    ) -> ResponseResult {
        let is_known_client = match &request.client_id {
            Some(id) => self.tenant.clients().contains_key(id),
            None => false,
        };
        let action = faults.action.as_ref();
        let operation = request.route.operation;
        let (outcome, response) = match action {
            Some(action) if prevents_effect(action) => {
                let headers = self.injected_headers(action, now);
                let response = render(operation, None, Some(action), headers);
                let outcome = Outcome::new(StatusCode::OK, Payload::Empty, AuditKind::Faulted);
                (outcome, response)
            }
            _ => {
                let Dispatched { outcome, headers, admission } =
                    self.dispatch(request, action, now);
                let mut response = render(operation, Some(&outcome), action, headers);
                if let (Ok(response), Some(admission)) = (&mut response, &admission) {
                    admission.add_headers(response.headers_mut());
                }
                (outcome, response)
            }
        };
        let facts = RequestFacts {
            is_known_client: is_known_client || outcome.client_id.is_some(),
            secret_changed: outcome.secret_changed,
            secret_rejected: outcome.secret_rejected,
        };
        let status = response.as_ref().ok().map(hyper::Response::status);
        let entry = audit_entry(request, outcome, faults, status);
        self.record(entry, facts, now);
        response
    }

    /// Returns the rate limit headers of an injected 429, or `None` for other actions.
    fn injected_headers(&self, action: &Action, now: SystemTime) -> Option<RateLimitHeaders> {
        match action {
            Action::RateLimited { reset_in_s, .. } => {
                let reset_in = Duration::from_secs(*reset_in_s);
                Some(self.rate_limiter.injected_headers(now, reset_in))
            }
            _ => None,
        }
    }

    fn dispatch(
        &mut self,
        request: &ParsedRequest,
        action: Option<&Action>,
        now: SystemTime,
    ) -> Dispatched {
        let ParsedRequest { request: http, route, .. } = request;
        if action == Some(&Action::ExpiredToken)
            && let Some(bearer) = http.bearer()
        {
            self.tenant.expire_token(bearer, now);
        }
        let admission = request.client_id.as_deref().and_then(|client_id| {
            self.client_rate_limiters.acquire(client_id, route.operation, now)
        });
        if let Some(admission) = &admission
            && !admission.is_admitted
        {
            let kind = match route.operation {
                Operation::Token => AuditKind::FailedLogin,
                _ => AuditKind::FailedRevocation,
            };
            let outcome = Outcome::oauth_error(&admission.error(), kind);
            return Dispatched { outcome, headers: None, admission: Some(*admission) };
        }
        let tenant = &mut self.tenant;
        let outcome = match route.operation {
            Operation::Token => oauth::token(tenant, http, request.oauth_parameters(), now),
            Operation::Revoke => oauth::revoke(tenant, http, request.oauth_parameters(), now),
            operation if operation.is_management() => {
                return self.dispatch_management(http, route, now);
            }
            _ => {
                Outcome { kind: AuditKind::NotFound, ..Outcome::api_error(&ApiError::not_found()) }
            }
        };
        Dispatched { outcome, headers: None, admission }
    }

    fn dispatch_management(
        &mut self,
        request: &Request,
        route: &Route,
        now: SystemTime,
    ) -> Dispatched {
        let is_read = matches!(route.operation, Operation::ListClients | Operation::GetClient);
        // Self-service plans don't report the limit of everything but reads.
        let is_reported = is_read || self.read_rate_limiter.is_none();
        let limiter = match &mut self.read_rate_limiter {
            Some(limiter) if is_read => limiter,
            _ => &mut self.rate_limiter,
        };
        let (headers, is_admitted) = match limiter.acquire(now) {
            Admission::Unlimited => (None, true),
            Admission::Admitted(headers) => (Some(headers), true),
            Admission::Rejected(headers) => (Some(headers), false),
        };
        let headers = if is_reported { headers } else { None };
        if !is_admitted {
            let outcome = Outcome::api_error(&ApiError::too_many_requests());
            return Dispatched { outcome, headers, admission: None };
        }
        let client_id = route.client_id.as_ref();
        let outcome = clients::call(&mut self.tenant, route.operation, client_id, request, now);
        Dispatched { outcome, headers, admission: None }
    }

    fn record(&mut self, entry: AuditEntry, facts: RequestFacts, now: SystemTime) {
        tracing::info!(
            operation = %entry.operation,
            client_id = entry.client_id.as_deref().filter(|_| facts.is_known_client),
            status = entry.status,
            error = entry.error,
            effect = entry.effect,
            fault = entry.fault,
            "handled request"
        );
        self.counters.count(&entry, facts);
        self.audit.push(entry, now);
    }
}

/// Returns whether the action ends the request before it reaches the tenant. An expired token is
/// rejected by the tenant itself.
fn prevents_effect(action: &Action) -> bool {
    action.when() == When::Before && *action != Action::ExpiredToken
}

fn audit_entry(
    request: &ParsedRequest,
    outcome: Outcome,
    faults: &AppliedFaults,
    status: Option<StatusCode>,
) -> AuditEntry {
    let http = &request.request;
    let requested_id = request.client_id.as_deref().map(audit::truncated);
    AuditEntry {
        client_id: outcome.client_id.or(requested_id),
        token_client_id: outcome.token_client_id,
        status: status.map(|status| status.as_u16()),
        error: outcome.error,
        effect: outcome.effect,
        shows_secret: outcome.shows_secret,
        fault: faults.names.clone(),
        auth0_client: http.header(AUTH0_CLIENT).and_then(audit::decode_auth0_client),
        user_agent: http.header(USER_AGENT).map(audit::truncated),
        ..AuditEntry::new(outcome.kind, request.route.operation)
    }
}
