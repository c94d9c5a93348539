//! The client of each tenant: built once per generation of its resource, with the credentials, the
//! endpoint and the permission of a resource that refers to it.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use auth0_client::{
    Authentication, EgressPolicy, Endpoint, RateLimit, RateLimitStatus, RateLimiters, TenantClient,
    TenantLimits,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt as _, api::ObjectMeta};
use parking_lot::Mutex;
use rotation::{K8sDuration, Reason};

use super::{
    credentials::{self, CredentialsSecret, LastRead, SecretVersion},
    endpoint_policy::TenantEndpoint,
    permission::{self, Permission, PermissionRequest},
    proof::KnownClient,
    state::TenantState,
};
use crate::{
    api::{
        AnyTenant, Auth0Tenant, ClientSecretRotation, ClusterAuth0Tenant, CredentialsSpec, Labels,
        TenantId, TenantKind, TenantRef, TenantResource, describe_tenant, kept_domain, not_ready,
    },
    controller::{
        context::Context, error::Error, kube_call::kube_call, object_key::ObjectKey,
        queue::NamespaceLimit, state::StateMap, target_secret::ValueOrigin,
    },
    metrics::TenantMetrics,
};

/// How many tenants of a namespace are checked at a time. ClusterAuth0Tenants count as a namespace.
const CHECKS_PER_NAMESPACE: usize = 8;

/// Calls to the Management API of one rotation: it reads the client and changes its secret.
const CALLS_PER_ROTATION: u32 = 2;

/// More resources of a tenant than this are never in progress.
const MAX_ROOM: u32 = 2048;

/// The clients of all tenants, and the in-memory state of their reconciler.
pub(crate) struct TenantRegistry {
    pub(crate) context: Arc<Context>,
    pub(super) states: StateMap<TenantState>,
    /// Tenants whose status is being reconciled.
    pub(super) checks: NamespaceLimit,
    params: TenantParams,
    /// By the UID of the tenant resource.
    clients: Mutex<HashMap<String, Arc<ClientCell>>>,
    /// By the credentials Secret.
    pub(super) known_clients: Mutex<HashMap<ObjectKey, Arc<KnownClient>>>,
    /// Of the hosts that the tenants name.
    rate_limiters: RateLimiters,
    /// The last live reads of tenants, which changes at Auth0 share.
    live_reads: Mutex<HashMap<LiveKey, LiveRead>>,
}

/// A tenant, and the namespace whose permission was read.
#[derive(Clone, PartialEq, Eq, Hash)]
struct LiveKey {
    is_cluster_tenant: bool,
    namespace: String,
    name: String,
}

/// What the API server had.
#[derive(Clone)]
struct LiveRead {
    read_at: Instant,
    /// `None` if the tenant is gone.
    uid: Option<String>,
    generation: Option<i64>,
    /// Whether the selector of this operator selects the tenant.
    is_selected: bool,
    /// The labels of the namespace, where the permission depends on them.
    labels: Option<Labels>,
}

/// The client of one generation of a tenant resource. It is built outside the lock of all clients, and
/// once: also if that fails.
struct ClientCell {
    generation: Option<i64>,
    built: OnceLock<Result<BuiltClient, auth0_client::Error>>,
}

/// The operator's settings for tenants.
pub(crate) struct TenantParams {
    /// Whether tenants may be simulators: plain HTTP, or on the loopback interface.
    pub(crate) allow_http: bool,
    /// Which endpoints may be called.
    pub(crate) egress: EgressPolicy,
    pub(crate) propagation_window: K8sDuration,
    /// Where the credentials of ClusterAuth0Tenants are.
    pub(crate) operator_namespace: String,
    pub(crate) cluster_tenants: bool,
}

/// A client and its resources.
#[derive(Clone)]
struct BuiltClient {
    client: Arc<TenantClient>,
    meter: Arc<TenantMetrics>,
    credentials_read: LastRead,
}

/// A tenant that can be called, and the permission of the resource that refers to it.
#[derive(Clone)]
pub(crate) struct TenantHandle {
    pub(crate) client: Arc<TenantClient>,
    pub(crate) meter: Arc<TenantMetrics>,
    /// The origin that is called, in the spelling that shows which tenant it is.
    pub(crate) origin: Option<String>,
    /// The origins that the spec names.
    pub(crate) named_origins: Vec<String>,
    /// Where the values of its clients come from.
    pub(crate) value_origin: ValueOrigin,
    /// The domain that target Secrets contain instead of that in the spec, until the tenant is ready
    /// under the latter.
    pub(crate) kept_domain: Option<String>,
    /// The credentials Secret.
    pub(crate) credentials: ObjectKey,
    /// Changes when a resource that refers to the tenant has to be reconciled.
    pub(crate) version: Option<String>,
    /// Reason and message of the tenant's `Ready` condition, if that is not true.
    pub(crate) not_ready: Option<(Reason, String)>,
    pub(crate) permission: Permission,
    /// The UID of the tenant resource.
    pub(super) uid: String,
    generation: Option<i64>,
    credentials_read: LastRead,
    /// The labels of the resource's namespace that the permission depends on.
    labels: Option<Labels>,
}

/// One generation of a tenant resource.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TenantIdentity {
    uid: String,
    generation: Option<i64>,
}

impl TenantHandle {
    /// Returns a text that changes with the spec of the tenant, and with nothing else.
    pub(crate) fn spec_version(&self) -> String {
        format!("{} {:?}", self.uid, self.generation)
    }

    pub(crate) fn identity(&self) -> TenantIdentity {
        TenantIdentity { uid: self.uid.clone(), generation: self.generation }
    }

    pub(super) fn credentials_version(&self) -> SecretVersion {
        self.credentials_read.version()
    }
}

impl TenantRegistry {
    pub(crate) fn new(context: Arc<Context>, params: TenantParams) -> Self {
        Self {
            context,
            params,
            states: StateMap::default(),
            checks: NamespaceLimit::new(CHECKS_PER_NAMESPACE),
            clients: Mutex::default(),
            known_clients: Mutex::default(),
            rate_limiters: RateLimiters::default(),
            live_reads: Mutex::default(),
        }
    }

    /// Returns the tenant that a resource refers to, with the permission of the resource.
    pub(crate) fn find(&self, resource: &ClientSecretRotation) -> Result<TenantHandle, Error> {
        let namespace = resource.namespace().unwrap_or_default();
        let reference = &resource.spec.tenant_ref;
        let description = describe_tenant(reference);
        if reference.kind == TenantKind::ClusterAuth0Tenant && !self.params.cluster_tenants {
            return Err(Error::TenantMissing(format!(
                "the {description} cannot be used, because this operator watches single namespaces. \
                 Refer to an Auth0Tenant of this namespace, or start the operator with \
                 --cluster-tenants"
            )));
        }
        let Some(tenant) = self.context.stores.tenant(&namespace, reference) else {
            let place = match reference.kind {
                TenantKind::Auth0Tenant => " in this namespace",
                TenantKind::ClusterAuth0Tenant => "",
            };
            return Err(Error::TenantMissing(format!(
                "there is no {description}{place}. Create it, or correct spec.tenantRef"
            )));
        };
        if !self.context.stores.is_selected(&tenant) {
            return Err(Error::TenantInOtherShard(format!(
                "this operator manages the resource, but not its {description}, which the label \
                 selector {} does not select. Give both the same labels, so that one operator manages \
                 both",
                self.context.stores.selector
            )));
        }
        let unreadable =
            || Error::TenantMissing(format!("this operator cannot parse the {description}"));
        let version = self.context.stores.tenant_version(&namespace, reference);
        match tenant {
            AnyTenant::Namespaced(tenant) => {
                let tenant = tenant.0.as_ref().map_err(|_| unreadable())?;
                Ok(TenantHandle { version, ..self.handle(tenant)? })
            }
            AnyTenant::Cluster(tenant) => {
                let tenant = tenant.0.as_ref().map_err(|_| unreadable())?;
                let (permission, labels) = self.permission_of(tenant, resource);
                let handle = self.handle(tenant)?;
                // The namespaces take turns at the rate limit.
                let client = Arc::new(handle.client.for_caller(&namespace));
                Ok(TenantHandle { client, version, permission, labels, ..handle })
            }
        }
    }

    /// Returns the tenant of a tenant resource. Permission is for the caller to check.
    pub(super) fn handle<T: TenantResource>(&self, tenant: &T) -> Result<TenantHandle, Error> {
        let endpoint = TenantEndpoint::of(tenant.access())
            .map_err(|message| Error::Auth0(auth0_client::Error::InvalidConfiguration(message)))?
            .allowing_simulators(self.params.allow_http);
        let kept_domain = kept_domain(&tenant.access().domain, tenant.status());
        let domain = kept_domain.clone().unwrap_or_else(|| tenant.access().domain.clone());
        let value_origin = ValueOrigin { domain, origin: endpoint.origin() };
        let uid = tenant.uid().unwrap_or_default();
        let generation = tenant.meta().generation;
        let cell = self.cell(&uid, generation);
        let built = cell.built.get_or_init(|| self.build(tenant, endpoint)).clone()?;
        let not_ready = not_ready(tenant.status()).map(|ready| {
            let reason = Reason::parse(&ready.reason).unwrap_or(Reason::TenantNotReady);
            (reason, ready.message.clone())
        });
        Ok(TenantHandle {
            client: built.client,
            meter: built.meter,
            origin: tenant.access().endpoint_origin(),
            named_origins: tenant.access().named_origins(),
            value_origin,
            kept_domain,
            credentials: self.credentials_key(tenant),
            version: None,
            not_ready,
            permission: Permission::Granted,
            uid,
            generation,
            credentials_read: built.credentials_read,
            labels: None,
        })
    }

    /// Returns the cell of a generation, or that of a later one.
    fn cell(&self, uid: &str, generation: Option<i64>) -> Arc<ClientCell> {
        let mut clients = self.clients.lock();
        match clients.get(uid) {
            Some(known) if known.generation >= generation => known.clone(),
            _ => {
                let cell = Arc::new(ClientCell { generation, built: OnceLock::new() });
                clients.insert(uid.to_owned(), cell.clone());
                cell
            }
        }
    }

    /// Checks with the API server that the tenant and the permission for it are still as they were
    /// when it was found. A read that began up to `max_age` ago counts, so that many changes at once
    /// take one; whether they differ is always read again.
    pub(crate) async fn check_unchanged(
        &self,
        namespace: &str,
        reference: &TenantRef,
        found: &TenantHandle,
        max_age: Duration,
    ) -> Result<(), Error> {
        let key = LiveKey {
            is_cluster_tenant: reference.kind == TenantKind::ClusterAuth0Tenant,
            namespace: namespace.to_owned(),
            name: reference.name.clone(),
        };
        let recent = self.live_reads.lock().get(&key).cloned();
        if let Some(read) = recent
            && read.read_at.elapsed() <= max_age
            && read.difference(found).is_none()
        {
            return Ok(());
        }
        let read = self.read_live(&key).await?;
        let difference = read.difference(found);
        let mut reads = self.live_reads.lock();
        reads.retain(|_, read| read.read_at.elapsed() <= max_age);
        reads.insert(key, read);
        match difference {
            Some(changed) => Err(Error::TenantChanged(changed)),
            None => Ok(()),
        }
    }

    async fn read_live(&self, key: &LiveKey) -> Result<LiveRead, Error> {
        let read_at = Instant::now();
        let client = self.context.client.clone();
        let (live, labels) = if key.is_cluster_tenant {
            let api = ClusterAuth0Tenant::api(client, &key.namespace);
            let live = live_metadata(api, &key.name).await?;
            (live, Some(self.live_labels(&key.namespace).await?))
        } else {
            let api = Auth0Tenant::api(client, &key.namespace);
            (live_metadata(api, &key.name).await?, None)
        };
        let is_selected = self.context.stores.selector.selects(&live);
        let ObjectMeta { uid, generation, .. } = live;
        Ok(LiveRead { read_at, uid, generation, is_selected, labels })
    }

    async fn live_labels(&self, namespace: &str) -> Result<Labels, Error> {
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        let action = "reading the labels of the namespace";
        let live = kube_call(action, api.get_metadata(namespace)).await?;
        Ok(live.metadata.labels.unwrap_or_default())
    }

    /// Returns the last rate limit that Auth0 reported to the tenant with this UID.
    pub(crate) fn rate_limit(&self, uid: &str) -> Option<RateLimitStatus> {
        let cell = self.clients.lock().get(uid)?.clone();
        cell.built.get()?.as_ref().ok()?.client.rate_limit_status()
    }

    /// Returns how many resources of a tenant may be in progress before they wait for one another at its
    /// rate limit.
    pub(crate) fn room(&self, namespace: &str, reference: &TenantRef) -> usize {
        let uid = match self.context.stores.tenant(namespace, reference) {
            Some(AnyTenant::Namespaced(tenant)) => tenant.uid(),
            Some(AnyTenant::Cluster(tenant)) => tenant.uid(),
            None => None,
        };
        let Some(cell) = uid.and_then(|uid| self.clients.lock().get(&uid).cloned()) else {
            return 0;
        };
        let Some(Ok(built)) = cell.built.get() else { return 0 };
        let calls = built.client.available_calls(MAX_ROOM * CALLS_PER_ROTATION);
        (calls / CALLS_PER_ROTATION) as usize
    }

    /// Drops the clients, the state and the metrics of tenants whose resource is gone.
    pub(crate) fn remove_absent(&self) {
        let tenants = self.context.stores.selected_tenants();
        let uids: std::collections::HashSet<String> =
            tenants.iter().filter_map(AnyTenant::uid).collect();
        self.clients.lock().retain(|uid, _| uids.contains(uid));
        self.rate_limiters.retain(|uid| uids.contains(uid));
        self.states.retain(|uid| uids.contains(uid));
        // The management clients of other shards' tenants are protected as well.
        let secrets: std::collections::HashSet<ObjectKey> = self
            .context
            .stores
            .all_tenants()
            .iter()
            .filter_map(|tenant| {
                Some(self.credentials_secret(&tenant.id(), &tenant.access()?.credentials))
            })
            .collect();
        self.known_clients.lock().retain(|secret, _| secrets.contains(secret));
        let labels = tenants.iter().map(|tenant| tenant.id().labels()).collect();
        self.context.metrics.retain_tenants(&labels);
    }

    /// Drops the client and the state of a tenant that belongs to another shard. What this process
    /// knows about its origin must not outweigh its status, which the other operator writes.
    pub(super) fn forget(&self, uid: &str) {
        self.clients.lock().remove(uid);
        self.states.remove(uid);
    }

    fn credentials_key<T: TenantResource>(&self, tenant: &T) -> ObjectKey {
        self.credentials_secret(&TenantId::of::<T>(tenant), &tenant.access().credentials)
    }

    /// Returns the credentials Secret: in the tenant's namespace, or in the operator's for a
    /// ClusterAuth0Tenant.
    pub(super) fn credentials_secret(&self, id: &TenantId, spec: &CredentialsSpec) -> ObjectKey {
        let namespace = match id.kind {
            TenantKind::Auth0Tenant => &id.namespace,
            TenantKind::ClusterAuth0Tenant => &self.params.operator_namespace,
        };
        ObjectKey::new(namespace, spec.secret_name().unwrap_or_default())
    }

    /// Returns whether the credentials of ClusterAuth0Tenants are in this namespace.
    pub(super) fn has_cluster_credentials_in(&self, namespace: &str) -> bool {
        self.params.cluster_tenants && self.params.operator_namespace == namespace
    }

    /// Returns whether Auth0 has issued a token to this process with this generation of a tenant.
    pub(super) fn authentication(&self, uid: &str, generation: Option<i64>) -> Authentication {
        let cell = self.clients.lock().get(uid).cloned();
        match cell.as_ref().map(|cell| (cell.generation, cell.built.get())) {
            Some((built_from, Some(Ok(built)))) if built_from == generation => {
                built.client.authentication()
            }
            _ => Authentication::Unknown,
        }
    }

    /// Returns what the rules of a ClusterAuth0Tenant say about a resource that refers to it; `None`
    /// for an Auth0Tenant, or if the tenant cannot be read.
    pub(crate) fn permission(&self, resource: &ClientSecretRotation) -> Option<Permission> {
        let namespace = resource.namespace().unwrap_or_default();
        let tenant = self.context.stores.tenant(&namespace, &resource.spec.tenant_ref)?;
        match tenant {
            AnyTenant::Namespaced(_) => None,
            AnyTenant::Cluster(tenant) => {
                Some(self.permission_of(tenant.0.as_ref().ok()?, resource).0)
            }
        }
    }

    fn permission_of(
        &self,
        tenant: &ClusterAuth0Tenant,
        resource: &ClientSecretRotation,
    ) -> (Permission, Option<Labels>) {
        let namespace = resource.namespace().unwrap_or_default();
        let labels = self.context.stores.labels(&namespace);
        let request = PermissionRequest {
            tenant: &resource.spec.tenant_ref.name,
            namespace: &namespace,
            labels: labels.as_ref(),
            client_id: &resource.spec.client_id,
        };
        (permission::permission(&tenant.spec.allow, &request), labels)
    }

    fn build<T: TenantResource>(
        &self,
        tenant: &T,
        endpoint: TenantEndpoint,
    ) -> Result<BuiltClient, auth0_client::Error> {
        let access = tenant.access();
        permission::check_rules(tenant.allow_rules().unwrap_or_default())
            .map_err(auth0_client::Error::InvalidConfiguration)?;
        endpoint.check_tenant(access)?;
        let connection = Endpoint {
            url: endpoint.url.clone(),
            ca_bundle: access.ca_bundle.clone().filter(|bundle| !bundle.trim().is_empty()),
            egress: self.params.egress.clone(),
            timeout: call_deadline(self.params.propagation_window),
        };
        let audience =
            access.audience.clone().unwrap_or_else(|| format!("https://{}/api/v2/", access.domain));
        let credentials_read = LastRead::default();
        let secret = CredentialsSecret {
            store: self.context.secrets.clone(),
            key: self.credentials_key(tenant),
            endpoint,
            last_read: credentials_read.clone(),
        };
        let credentials = credentials::source(access, secret)?;
        let rate_limit = RateLimit {
            requests_per_second: access.rate_limit.requests_per_second,
            burst: access.rate_limit.burst,
        };
        let limits = TenantLimits {
            tenant: &tenant.uid().unwrap_or_default(),
            caller: &tenant.namespace().unwrap_or_default(),
            rate_limit,
            takes_precedence: T::KIND == TenantKind::ClusterAuth0Tenant,
        };
        let limiter = self.rate_limiters.limiter(&connection.url, limits);
        let meter = Arc::new(self.context.metrics.tenant(TenantId::of::<T>(tenant).labels()));
        let client = TenantClient::new(&connection, audience, credentials, limiter, meter.clone())?;
        Ok(BuiltClient { client: Arc::new(client), meter, credentials_read })
    }
}

impl LiveRead {
    /// Returns what differs from a tenant as it was found.
    fn difference(&self, found: &TenantHandle) -> Option<&'static str> {
        // A tenant that was created again may have the same generation.
        if self.uid.as_ref() != Some(&found.uid) || self.generation != found.generation {
            return Some("the tenant");
        }
        if !self.is_selected {
            return Some("the labels of the tenant");
        }
        match &self.labels {
            Some(labels) if *labels != found.labels.clone().unwrap_or_default() => {
                Some("the labels of the namespace")
            }
            _ => None,
        }
    }
}

/// Returns the metadata of a tenant; that of a tenant that is gone has no UID.
async fn live_metadata<T: TenantResource>(api: Api<T>, name: &str) -> Result<ObjectMeta, Error> {
    let live = kube_call("reading the tenant", api.get_metadata_opt(name)).await?;
    Ok(live.map(|live| live.metadata).unwrap_or_default())
}

/// Returns the deadline of a call once it is sent. It is well below the propagation window: after the
/// window, no call from before it may still be on its way.
fn call_deadline(propagation_window: K8sDuration) -> Duration {
    (propagation_window.to_std() * 3 / 5).clamp(Duration::from_millis(100), Duration::from_secs(18))
}
