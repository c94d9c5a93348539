//! Whether someone else has changed a secret at Auth0: one list of a tenant's clients serves all
//! of its resources.
//!
//! What is found here is a suspicion: the list may be older than what was done since. A pass reads
//! the client before anything is done about it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use kube::ResourceExt as _;

use super::{
    cache::Guarded,
    context::Context,
    tenants::{Permission, tenant_key},
};
use crate::api::ClientSecretRotation;
use auth0_client::{
    ClientInfo, ClientPage, ClientSecret, Priority, READ_CLIENT_KEYS, TenantClient,
};

/// How often it is looked which tenants are to be checked; what is due is due by then.
const LOOK: Duration = Duration::from_secs(1);

/// How many clients a page has.
const PAGE: usize = 100;

/// How long a check may take. A tenant with a slow pace is checked in part, and again later.
const LONGEST: Duration = Duration::from_secs(300);

/// The resources of one tenant.
struct Group {
    resources: Vec<Arc<Guarded>>,
    /// The shortest of their intervals.
    every: Duration,
}

/// Checks each tenant at its interval, until the process ends.
pub(super) async fn run(context: Arc<Context>) {
    let mut due: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let groups = groups(&context);
        due.retain(|tenant, _| groups.contains_key(tenant));
        for (tenant, group) in groups {
            // The first time comes at random within the interval: a restart is no reason to look,
            // and many tenants are not looked at at once.
            let first = || Instant::now() + group.every.mul_f64(rand::random());
            let at = due.entry(tenant.clone()).or_insert_with(first);
            // An interval that was shortened counts from now.
            *at = (*at).min(Instant::now() + group.every);
            if Instant::now() < *at {
                continue;
            }
            *at = Instant::now() + group.every;
            let context = context.clone();
            tokio::spawn(async move {
                if tokio::time::timeout(LONGEST, check(&context, &group)).await.is_err() {
                    tracing::warn!(tenant, "the check for drift took too long and was given up");
                }
            });
        }
    }
}

/// The resources by their tenant: namespace and name.
fn groups(context: &Context) -> HashMap<String, Group> {
    let mut groups: HashMap<String, Group> = HashMap::new();
    for guarded in context.watched.resources() {
        let Ok(resource) = &guarded.0 else { continue };
        // One that has never published anything has nothing to compare.
        if resource.status.as_ref().is_none_or(|status| status.current.is_none()) {
            continue;
        }
        let namespace = resource.namespace().unwrap_or_default();
        let every = resource.spec.drift_check.every.to_std();
        let tenant = tenant_key(&namespace, &resource.spec.tenant_ref);
        let group = groups.entry(tenant).or_insert_with(|| Group { resources: Vec::new(), every });
        group.every = group.every.min(every);
        group.resources.push(guarded.clone());
    }
    groups
}

async fn check(context: &Context, group: &Group) {
    let Some(first) = group.resources.iter().find_map(|resource| resource.0.as_ref().ok()) else {
        return;
    };
    let namespace = first.namespace().unwrap_or_default();
    let reference = &first.spec.tenant_ref;
    // A tenant that can't be used is told of where it is needed.
    let Ok(usable) = context.tenants.find(first, &context.watched) else { return };
    let may_be_asked_about = |resource: &&ClientSecretRotation| {
        let found = context.tenants.find(resource, &context.watched);
        found.is_ok_and(|usable| !matches!(usable.permission, Permission::Denied(_)))
    };
    let wanted: HashMap<&str, &ClientSecretRotation> = group
        .resources
        .iter()
        .filter_map(|resource| resource.0.as_ref().ok())
        .filter(may_be_asked_about)
        .map(|resource| (resource.spec.client_id.as_str(), resource))
        .collect();
    let checked = Check { context, tenant: &usable.tenant, wanted }.run().await;
    usable.meter.called("drift-check", &checked);
    match checked {
        Ok(calls) => {
            let resources = group.resources.len();
            tracing::debug!(
                namespace,
                tenant = reference.name,
                resources,
                calls,
                "checked for drift"
            );
        }
        // Without the scope there is no drift check, which the tenant's status says.
        Err(auth0_client::Error::MissingScope(_)) => {}
        Err(error) => {
            tracing::warn!(namespace, tenant = reference.name, %error, "no check for drift")
        }
    }
}

/// One check of one tenant.
struct Check<'a> {
    context: &'a Context,
    tenant: &'a TenantClient,
    /// What is still to be seen, by client ID.
    wanted: HashMap<&'a str, &'a ClientSecretRotation>,
}

impl Check<'_> {
    /// Returns the number of calls.
    async fn run(mut self) -> Result<usize, auth0_client::Error> {
        if !self.tenant.can_read_secrets().await? {
            return Err(auth0_client::Error::MissingScope(READ_CLIENT_KEYS));
        }
        let mut calls = self.list().await?;
        for (client_id, resource) in std::mem::take(&mut self.wanted) {
            calls += 1;
            match self.client(client_id).await {
                Ok(facts) => self.seen(resource, facts.secret),
                Err(auth0_client::Error::ClientNotFound) => suspect(self.context, resource, None),
                Err(error) => return Err(error),
            }
        }
        Ok(calls)
    }

    /// Pages, as long as they are cheaper than single readings of what is still wanted.
    async fn list(&mut self) -> Result<usize, auth0_client::Error> {
        let mut pages = 0;
        let mut left = 1;
        while left < self.wanted.len() {
            let listed = self.page(pages).await?;
            pages += 1;
            let seen = PAGE * pages as usize;
            left = listed.total.saturating_sub(seen).div_ceil(PAGE);
            if listed.clients.is_empty() {
                left = 0;
            }
            for client in listed.clients {
                if let Some(resource) = self.wanted.remove(client.client_id.as_str()) {
                    self.seen(resource, client.secret);
                }
            }
            if left == 0 {
                // What a whole list doesn't have is gone: a pass finds out.
                for (_, resource) in std::mem::take(&mut self.wanted) {
                    suspect(self.context, resource, None);
                }
            }
        }
        Ok(pages as usize)
    }

    fn seen(&self, resource: &ClientSecretRotation, secret: Option<ClientSecret>) {
        if let Some(secret) = secret {
            suspect(self.context, resource, Some(secret));
        }
    }

    async fn page(&self, page: u32) -> Result<ClientPage, auth0_client::Error> {
        loop {
            match self.tenant.list_clients(page, true, Priority::Background).await {
                Err(auth0_client::Error::Throttled { until }) => wait(until).await,
                listed => return listed,
            }
        }
    }

    async fn client(&self, client_id: &str) -> Result<ClientInfo, auth0_client::Error> {
        loop {
            match self.tenant.read_client(client_id, true, Priority::Background).await {
                Err(auth0_client::Error::Throttled { until }) => wait(until).await,
                read => return read,
            }
        }
    }
}

/// Nothing is urgent here: when the tenant's pace is used up, others go first.
async fn wait(until: DateTime<Utc>) {
    let wait = (until - Utc::now()).to_std().unwrap_or_default();
    tokio::time::sleep(wait + LOOK.mul_f64(rand::random())).await;
}

/// Has a pass compare what was listed; `None`: the client isn't listed any more.
fn suspect(context: &Context, resource: &ClientSecretRotation, listed: Option<ClientSecret>) {
    let uid = resource.uid().unwrap_or_default();
    context.memory.with(&uid, |known| known.listed = Some((listed, Instant::now())));
    context.pokes.poke(&resource.namespace().unwrap_or_default(), &resource.name_any());
}
