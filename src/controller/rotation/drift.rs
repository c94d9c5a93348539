//! Drift: whether another party changed a secret at Auth0. One list of a tenant's clients serves all
//! of its resources.
//!
//! Checks are background work: the tenant's owner sets their shortest interval, a tenant has one at a
//! time, a namespace one at a time, and their calls go last and get at most half of the rate limit.
//!
//! A difference is a suspicion, because the list may be outdated. A reconcile reads the client before it
//! acts on it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};

use auth0_client::{ClientInfo, ClientPage, Priority, TenantClient};
use chrono::{DateTime, Utc};
use kube::ResourceExt as _;
use rotation::{ConditionStatus, condition_types};

use super::{
    RotationController,
    client_kind::reject_client,
    client_lists::{Pages, Progress},
    state::{ListedClient, ListedSecret},
};
use crate::{
    api::{ClientSecretRotation, ParsedRotation, TenantId},
    controller::{
        object_key::ObjectKey, queue::NamespaceLimit, state::AbortOnDrop, tenant::Permission,
    },
};

/// Shortest time between two searches for checks that are due.
const TICK: Duration = Duration::from_secs(1);

/// How many clients may have invalid responses before a check fails.
const MAX_INVALID: usize = 3;

/// How long a check may take. A tenant with a low rate limit is checked in part, and again later.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The resources of one tenant.
struct TenantGroup {
    tenant: TenantId,
    resources: Vec<Arc<ParsedRotation>>,
    /// The shortest of their intervals, but no shorter than the tenant allows.
    interval: Duration,
    /// The shortest interval that the tenant allows.
    floor: Duration,
}

/// The next check of a tenant.
struct Schedule {
    at: Instant,
    /// The check that was started last.
    running: Option<AbortOnDrop>,
}

/// Bounds of the checks of all tenants.
struct DriftLimits {
    namespaces: NamespaceLimit,
}

/// Checks each tenant at its interval, until the process ends.
pub(crate) async fn check_drift(controller: Arc<RotationController>) {
    let mut schedules: HashMap<String, Schedule> = HashMap::new();
    let limits = Arc::new(DriftLimits { namespaces: NamespaceLimit::new(1) });
    // What exists already causes no event.
    controller.context.trigger.note_change();
    loop {
        tokio::time::sleep(TICK).await;
        let next = schedules.values().map(|schedule| schedule.at).min();
        // Without a change, nothing is due before the next check.
        tokio::select! {
            () = controller.context.trigger.changed() => {}
            () = sleep_until(next) => {}
        }
        let groups = group_by_tenant(&controller);
        schedules.retain(|tenant, _| groups.contains_key(tenant));
        for (tenant, group) in groups {
            // The first check comes at a random time within the interval: a restart is no reason to
            // check, and many tenants are not checked at once.
            let first = || Schedule {
                at: Instant::now() + group.interval.mul_f64(rand::random()),
                running: None,
            };
            let schedule = schedules.entry(tenant).or_insert_with(first);
            // A shortened interval counts from now.
            schedule.at = schedule.at.min(Instant::now() + group.interval);
            let is_running = schedule.running.as_ref().is_some_and(|check| !check.is_finished());
            if Instant::now() < schedule.at || is_running {
                continue;
            }
            schedule.at = Instant::now() + group.interval;
            let check = check_in_turn(controller.clone(), limits.clone(), group);
            schedule.running = Some(AbortOnDrop::spawn(check));
        }
    }
}

/// Checks a tenant when its namespace has no other check in progress.
async fn check_in_turn(
    controller: Arc<RotationController>,
    limits: Arc<DriftLimits>,
    group: TenantGroup,
) {
    let _permit = limits.namespaces.acquire(&group.tenant.namespace).await;
    let check = check_tenant(&controller, &group);
    if tokio::time::timeout(TIMEOUT, check).await.is_err() {
        let TenantId { namespace, name, .. } = &group.tenant;
        tracing::warn!(namespace, tenant = name, "drift check timed out");
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

fn group_by_tenant(controller: &RotationController) -> HashMap<String, TenantGroup> {
    let stores = &controller.context.stores;
    let mut groups: HashMap<String, TenantGroup> = HashMap::new();
    for parsed in stores.rotations() {
        let Ok(resource) = &parsed.0 else { continue };
        if !controller.is_selected(resource) {
            continue;
        }
        // A resource that never published anything has nothing to compare.
        if resource.status.as_ref().is_none_or(|status| status.current.is_none()) {
            continue;
        }
        let namespace = resource.namespace().unwrap_or_default();
        let reference = &resource.spec.tenant_ref;
        let tenant = TenantId::referenced(&namespace, reference);
        let key = tenant.key();
        let group = match groups.entry(key) {
            Entry::Occupied(group) => group.into_mut(),
            Entry::Vacant(group) => {
                let found = stores.tenant(&namespace, reference);
                let found = found.filter(|tenant| stores.is_selected(tenant));
                // A tenant that cannot be used is reported where it is needed.
                let Some(floor) = found.and_then(|found| found.min_drift_interval()) else {
                    continue;
                };
                let interval = Duration::MAX;
                group.insert(TenantGroup { tenant, resources: Vec::new(), interval, floor })
            }
        };
        let interval = resource.spec.drift_check.every.to_std().max(group.floor);
        group.interval = group.interval.min(interval);
        group.resources.push(parsed.clone());
    }
    groups
}

async fn check_tenant(controller: &RotationController, group: &TenantGroup) {
    let resources: Vec<&ClientSecretRotation> =
        group.resources.iter().filter_map(|parsed| parsed.0.as_ref().ok()).collect();
    let Some(first) = resources.first() else { return };
    // A tenant that cannot be used is reported where it is needed.
    let Ok(handle) = controller.tenants.find(first) else { return };
    let mut wanted = HashMap::new();
    for resource in &resources {
        let found = controller.tenants.find(resource);
        if found.is_ok_and(|handle| !matches!(handle.permission, Permission::Denied(_))) {
            wanted.insert(resource.spec.client_id.as_str(), *resource);
        }
    }
    // The check is for all namespaces of the tenant.
    let client = &handle.client.for_tenant();
    let reads_secrets = false;
    let checked = DriftCheck { controller, client, wanted, reads_secrets }.run().await;
    handle.meter.count_operation("drift-check", &checked);
    let namespace = first.namespace().unwrap_or_default();
    let tenant = &first.spec.tenant_ref.name;
    match checked {
        Ok(requests) => {
            let resources = resources.len();
            tracing::debug!(namespace, tenant, resources, requests, "checked for drift");
        }
        // The tenant's status reports a missing scope.
        Err(auth0_client::Error::MissingScope(_)) => {}
        Err(error) => tracing::warn!(namespace, tenant, %error, "drift check failed"),
    }
}

/// One check of one tenant.
struct DriftCheck<'a> {
    controller: &'a RotationController,
    client: &'a TenantClient,
    /// The resources that were not compared yet, by client ID.
    wanted: HashMap<&'a str, &'a ClientSecretRotation>,
    /// Whether the list has the secrets. Without them, it shows clients that must not be rotated.
    reads_secrets: bool,
}

impl DriftCheck<'_> {
    /// Returns the number of requests.
    async fn run(mut self) -> Result<usize, auth0_client::Error> {
        self.reads_secrets = self.client.can_read_secrets().await?;
        let mut requests = self.compare_pages().await?;
        let mut invalid = 0;
        for (client_id, resource) in std::mem::take(&mut self.wanted) {
            requests += 1;
            match self.read_client(client_id).await {
                Ok(client) => self.compare(resource, client),
                Err(auth0_client::Error::ClientNotFound) => {
                    self.suspect(resource, ListedSecret::ClientAbsent);
                }
                // The reconcile of its resource reports it.
                Err(auth0_client::Error::InvalidResponse(_)) if invalid < MAX_INVALID => {
                    invalid += 1;
                    self.suspect(resource, ListedSecret::Unusable);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(requests)
    }

    /// Lists pages of clients, as long as they are expected to cost less than reads of the clients that
    /// are left to compare.
    async fn compare_pages(&mut self) -> Result<usize, auth0_client::Error> {
        let mut pages = Pages::default();
        while pages.is_worthwhile(self.wanted.len()) {
            let page = match self.list_page(pages.from.as_deref()).await {
                // The clients are read one by one.
                Err(auth0_client::Error::InvalidResponse(_)) => return Ok(pages.count + 1),
                page => page?,
            };
            let ClientPage { clients, next } = page;
            let (count, before) = (clients.len(), self.wanted.len());
            for client in clients {
                if let Some(resource) = self.wanted.remove(client.client_id.as_str()) {
                    self.compare(resource, client);
                }
            }
            match pages.advance(next, count, before - self.wanted.len()) {
                Progress::Continues => {}
                Progress::Complete => {
                    // A complete list does not have these clients.
                    for (_, resource) in std::mem::take(&mut self.wanted) {
                        self.suspect(resource, ListedSecret::ClientAbsent);
                    }
                }
                Progress::Endless => break,
            }
        }
        Ok(pages.count)
    }

    async fn list_page(&self, from: Option<&str>) -> Result<ClientPage, auth0_client::Error> {
        loop {
            let permit = self.controller.client_lists.calls.acquire().await;
            let list = self.client.list_clients(from, self.reads_secrets, Priority::Background);
            let list = list.await;
            drop(permit);
            match list {
                Err(auth0_client::Error::Throttled { until }) => wait_until(until).await,
                listed => return listed,
            }
        }
    }

    async fn read_client(&self, client_id: &str) -> Result<ClientInfo, auth0_client::Error> {
        loop {
            let read = self.client.read_client(client_id, self.reads_secrets, Priority::Background);
            match read.await {
                Err(auth0_client::Error::Throttled { until }) => wait_until(until).await,
                read => return read,
            }
        }
    }

    /// Compares a client with its resource. Without its secret, only its kind is known.
    fn compare(&self, resource: &ClientSecretRotation, client: ClientInfo) {
        let is_forbidden = reject_client(&client).is_some();
        match client.secret {
            // The reconciles of its resource keep an eye on it.
            _ if is_forbidden && is_reported(resource) => {}
            _ if is_forbidden => self.suspect(resource, ListedSecret::ClientRejected),
            Some(secret) => self.suspect(resource, ListedSecret::Present(secret)),
            None if client.is_secret_malformed => self.suspect(resource, ListedSecret::Unusable),
            None if is_reported(resource) => self.suspect(resource, ListedSecret::Unreadable),
            None => {}
        }
    }

    /// Triggers a reconcile that compares what was listed.
    fn suspect(&self, resource: &ClientSecretRotation, secret: ListedSecret) {
        let uid = resource.uid().unwrap_or_default();
        let listed = ListedClient { secret, listed_at: Instant::now() };
        self.controller.states.with(&uid, |state| state.listed = Some(listed));
        self.controller.context.trigger.rotation(&ObjectKey::of(resource));
    }
}

/// Returns whether the resource's conditions say that its client cannot be rotated.
fn is_reported(resource: &ClientSecretRotation) -> bool {
    let conditions = resource.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| {
        condition.type_ == condition_types::CLIENT_ROTATABLE
            && condition.status == ConditionStatus::False
    })
}

/// Waits until the rate limit has room; everything else goes first.
async fn wait_until(until: DateTime<Utc>) {
    let wait = (until - Utc::now()).to_std().unwrap_or_default();
    tokio::time::sleep(wait + TICK.mul_f64(rand::random())).await;
}
