//! The Lease on the API server.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};

use super::election::{Record, Written};

/// Where the Lease is.
#[derive(Clone, Debug)]
pub struct LeaseName {
    /// The operator's own namespace.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// The name under which the API server records the writes.
    pub field_manager: String,
}

/// The Lease on the API server, and its last version that was read or written.
pub(super) struct Stored {
    api: Api<Lease>,
    place: LeaseName,
    identity: String,
    duration: Duration,
    deadline: Duration,
    last: Option<Lease>,
}

impl Stored {
    pub(super) fn new(
        client: Client,
        place: LeaseName,
        identity: String,
        duration: Duration,
        deadline: Duration,
    ) -> Stored {
        let api = Api::namespaced(client, &place.namespace);
        Stored { api, place, identity, duration, deadline, last: None }
    }

    /// Reads it; what is wrong comes back as text.
    pub(super) async fn read(&mut self) -> Result<Option<Record>, String> {
        match tokio::time::timeout(self.deadline, self.api.get_opt(&self.place.name)).await {
            Ok(Ok(lease)) => {
                let record = lease.as_ref().map(record);
                self.last = lease;
                Ok(record)
            }
            Ok(Err(error)) => Err(self.describe("reading", &error)),
            Err(_) => Err(self.no_answer("reading")),
        }
    }

    /// Creates it, held by this process.
    pub(super) async fn create(&mut self) -> (Written, Option<String>) {
        let now = MicroTime(Timestamp::now());
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.place.name.clone()),
                namespace: Some(self.place.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                acquire_time: Some(now.clone()),
                ..self.spec(now, LeaseSpec::default(), 0)
            }),
        };
        let params = self.params();
        let created = tokio::time::timeout(self.deadline, self.api.create(&params, &lease)).await;
        self.outcome("creating", created)
    }

    /// Writes it over the version that was read last, held by this process.
    pub(super) async fn write(
        &mut self,
        transitions: i32,
        takes: bool,
    ) -> (Written, Option<String>) {
        let Some(mut lease) = self.last.clone() else { return (Written::Conflict, None) };
        // Others see that it was renewed by its change; what the clock says is for people.
        let now = MicroTime(Timestamp::now());
        let mut spec = self.spec(now.clone(), lease.spec.take().unwrap_or_default(), transitions);
        if takes {
            spec.acquire_time = Some(now);
        }
        lease.spec = Some(spec);
        self.replace("writing", lease).await
    }

    /// Takes the holder out of it, if that is this process.
    pub(super) async fn release(&mut self) -> (Written, Option<String>) {
        let Some(mut lease) = self.last.clone() else { return (Written::Conflict, None) };
        let spec = lease.spec.take().unwrap_or_default();
        let renew_time = Some(MicroTime(Timestamp::now()));
        lease.spec = Some(LeaseSpec { holder_identity: None, renew_time, ..spec });
        self.replace("releasing", lease).await
    }

    fn spec(&self, now: MicroTime, before: LeaseSpec, transitions: i32) -> LeaseSpec {
        let seconds = i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(seconds),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..before
        }
    }

    async fn replace(&mut self, what: &str, mut lease: Lease) -> (Written, Option<String>) {
        lease.metadata.managed_fields = None;
        let params = self.params();
        let replaced = self.api.replace(&self.place.name, &params, &lease);
        let replaced = tokio::time::timeout(self.deadline, replaced).await;
        self.outcome(what, replaced)
    }

    fn outcome(
        &mut self,
        what: &str,
        written: Result<Result<Lease, kube::Error>, tokio::time::error::Elapsed>,
    ) -> (Written, Option<String>) {
        match written {
            Ok(Ok(lease)) => {
                let record = record(&lease);
                self.last = Some(lease);
                (Written::Stored(record), None)
            }
            // Another version, or none any more; or one where there was none.
            Ok(Err(kube::Error::Api(status)))
                if status.code == 409 || (status.code == 404 && what != "creating") =>
            {
                (Written::Conflict, None)
            }
            Ok(Err(error)) => (Written::Unknown, Some(self.describe(what, &error))),
            Err(_) => (Written::Unknown, Some(self.no_answer(what))),
        }
    }

    fn params(&self) -> PostParams {
        PostParams {
            field_manager: Some(self.place.field_manager.clone()),
            ..PostParams::default()
        }
    }

    /// What is wrong, and what to do about it.
    fn describe(&self, what: &str, error: &kube::Error) -> String {
        let LeaseName { namespace, name, .. } = &self.place;
        match error {
            kube::Error::Api(status) if status.code == 403 => format!(
                "{what} the Lease {name} is forbidden in the namespace {namespace}: grant the \
                 operator's service account create on leases, and get and update on leases named \
                 {name} (group coordination.k8s.io), as deploy/operator.yaml does; with one replica \
                 --leader-elect=false does without"
            ),
            kube::Error::Api(status) if status.code == 404 => {
                format!("{what} the Lease {name}: there is no namespace {namespace}")
            }
            kube::Error::Api(status) => {
                format!(
                    "{what} the Lease {namespace}/{name}: the API server answered {}",
                    status.code
                )
            }
            _ => format!("{what} the Lease {namespace}/{name}: the API server can't be reached"),
        }
    }

    fn no_answer(&self, what: &str) -> String {
        let LeaseName { namespace, name, .. } = &self.place;
        format!("{what} the Lease {namespace}/{name}: the API server did not answer in time")
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let text = |text: Option<String>| text.unwrap_or_default();
    Record {
        version: format!("{}/{}", text(lease.uid()), text(lease.resource_version())),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: seconds.map(Duration::from_secs),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}
