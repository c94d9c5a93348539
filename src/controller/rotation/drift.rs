//! Drift: whether another party changed a secret at Auth0. One list of a tenant's clients serves all
//! of its resources.
//!
//! A difference is a suspicion, because the list may be older than what happened since. A reconcile
//! reads the client before it acts on it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use auth0_client::{ClientInfo, ClientPage, Priority, READ_CLIENT_KEYS, TenantClient};
use chrono::{DateTime, Utc};
use kube::ResourceExt as _;

use super::{
    RotationController,
    state::{ListedClient, ListedSecret},
};
use crate::{
    api::{ClientSecretRotation, ParsedRotation, TenantId},
    controller::{object_key::ObjectKey, tenant::Permission},
};

/// Interval at which due checks are looked up.
const TICK: Duration = Duration::from_secs(1);

/// How many clients a page has.
const PAGE_SIZE: usize = 100;

/// How long a check may take. A tenant with a low rate limit is checked in part, and again later.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The resources of one tenant.
struct TenantGroup {
    resources: Vec<Arc<ParsedRotation>>,
    /// The shortest of their intervals.
    interval: Duration,
}

/// Checks each tenant at its interval, until the process ends.
pub(crate) async fn check_drift(controller: Arc<RotationController>) {
    let mut due: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::time::sleep(TICK).await;
        let groups = group_by_tenant(&controller);
        due.retain(|tenant, _| groups.contains_key(tenant));
        for (tenant, group) in groups {
            // The first check comes at a random time within the interval: a restart is no reason to
            // check, and many tenants are not checked at once.
            let first = || Instant::now() + group.interval.mul_f64(rand::random());
            let at = due.entry(tenant.clone()).or_insert_with(first);
            // A shortened interval counts from now.
            *at = (*at).min(Instant::now() + group.interval);
            if Instant::now() < *at {
                continue;
            }
            *at = Instant::now() + group.interval;
            let controller = controller.clone();
            tokio::spawn(async move {
                let check = check_tenant(&controller, &group);
                if tokio::time::timeout(TIMEOUT, check).await.is_err() {
                    tracing::warn!(tenant, "drift check timed out");
                }
            });
        }
    }
}

fn group_by_tenant(controller: &RotationController) -> HashMap<String, TenantGroup> {
    let mut groups: HashMap<String, TenantGroup> = HashMap::new();
    for parsed in controller.context.stores.rotations() {
        let Ok(resource) = &parsed.0 else { continue };
        // A resource that never published anything has nothing to compare.
        if resource.status.as_ref().is_none_or(|status| status.current.is_none()) {
            continue;
        }
        let namespace = resource.namespace().unwrap_or_default();
        let interval = resource.spec.drift_check.every.to_std();
        let tenant = TenantId::referenced(&namespace, &resource.spec.tenant_ref).key();
        let empty = || TenantGroup { resources: Vec::new(), interval };
        let group = groups.entry(tenant).or_insert_with(empty);
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
    let checked = DriftCheck { controller, client: &handle.client, wanted }.run().await;
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
}

impl DriftCheck<'_> {
    /// Returns the number of requests.
    async fn run(mut self) -> Result<usize, auth0_client::Error> {
        if !self.client.can_read_secrets().await? {
            return Err(auth0_client::Error::MissingScope(READ_CLIENT_KEYS));
        }
        let mut requests = self.compare_pages().await?;
        for (client_id, resource) in std::mem::take(&mut self.wanted) {
            requests += 1;
            match self.read_client(client_id).await {
                Ok(client) => {
                    if let Some(secret) = client.secret {
                        self.suspect(resource, ListedSecret::Present(secret));
                    }
                }
                Err(auth0_client::Error::ClientNotFound) => {
                    self.suspect(resource, ListedSecret::ClientAbsent);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(requests)
    }

    /// Lists pages of clients, as long as fewer of them are left than clients to compare.
    async fn compare_pages(&mut self) -> Result<usize, auth0_client::Error> {
        let mut pages = 0;
        let mut pages_left = 1;
        while pages_left < self.wanted.len() {
            let page = self.list_page(pages).await?;
            pages += 1;
            let listed = PAGE_SIZE * pages as usize;
            pages_left = page.total.saturating_sub(listed).div_ceil(PAGE_SIZE);
            if page.clients.is_empty() {
                pages_left = 0;
            }
            for client in page.clients {
                if let Some(resource) = self.wanted.remove(client.client_id.as_str())
                    && let Some(secret) = client.secret
                {
                    self.suspect(resource, ListedSecret::Present(secret));
                }
            }
            if pages_left == 0 {
                // A complete list does not have these clients.
                for (_, resource) in std::mem::take(&mut self.wanted) {
                    self.suspect(resource, ListedSecret::ClientAbsent);
                }
            }
        }
        Ok(pages as usize)
    }

    async fn list_page(&self, page: u32) -> Result<ClientPage, auth0_client::Error> {
        loop {
            match self.client.list_clients(page, true, Priority::Background).await {
                Err(auth0_client::Error::Throttled { until }) => wait_until(until).await,
                listed => return listed,
            }
        }
    }

    async fn read_client(&self, client_id: &str) -> Result<ClientInfo, auth0_client::Error> {
        loop {
            match self.client.read_client(client_id, true, Priority::Background).await {
                Err(auth0_client::Error::Throttled { until }) => wait_until(until).await,
                read => return read,
            }
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

/// Waits until the rate limit has room; everything else goes first.
async fn wait_until(until: DateTime<Utc>) {
    let wait = (until - Utc::now()).to_std().unwrap_or_default();
    tokio::time::sleep(wait + TICK.mul_f64(rand::random())).await;
}
