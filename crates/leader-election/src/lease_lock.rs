//! The Lease object on the API server.

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

use crate::{
    config::LeaderElectionConfig,
    election::{LeaseRecord, WriteOutcome},
};

/// The Lease that serves as the lock, and the identity of this process.
#[derive(Clone, Debug)]
pub struct LeaseLock {
    /// Namespace of the Lease: the one of the operator.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Identity of this process as the holder. No two processes may have the same.
    pub identity: String,
    /// Field manager that the API server records for writes.
    pub field_manager: String,
}

/// A request about the Lease that failed, or whose outcome is unknown.
#[derive(Debug, thiserror::Error)]
#[error("can't {operation} the Lease {namespace}/{name}: {cause}")]
pub(crate) struct LeaseError {
    operation: Operation,
    namespace: String,
    name: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(
        "forbidden; grant the operator's service account create on leases, and get and update on \
         leases named {name} (group coordination.k8s.io), as deploy/operator.yaml does, or run one \
         replica with --leader-elect=false"
    )]
    Forbidden { name: String },
    #[error("the namespace {namespace} doesn't exist")]
    NoNamespace { namespace: String },
    #[error("the API server responded with status {0}")]
    Status(u16),
    #[error("can't reach the API server")]
    Unreachable,
    #[error("the API server did not respond in time")]
    TimedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Read,
    Create,
    Update,
    Release,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Release => "release",
        })
    }
}

/// Reads and writes the Lease. Keeps the version that was read or written last, over which the next
/// write goes.
pub(crate) struct LeaseClient {
    api: Api<Lease>,
    lock: LeaseLock,
    lease_duration: Duration,
    timeout: Duration,
    last: Option<Lease>,
}

type Timed<T> = Result<Result<T, kube::Error>, tokio::time::error::Elapsed>;

impl LeaseClient {
    pub(crate) fn new(client: Client, lock: LeaseLock, config: LeaderElectionConfig) -> Self {
        let api = Api::namespaced(client, &lock.namespace);
        let (lease_duration, timeout) = (config.lease_duration(), config.renew_interval());
        Self { api, lock, lease_duration, timeout, last: None }
    }

    /// Reads the Lease; `None` if it doesn't exist.
    pub(crate) async fn read(&mut self) -> Result<Option<LeaseRecord>, LeaseError> {
        let read = self.api.get_opt(&self.lock.name);
        let lease = match tokio::time::timeout(self.timeout, read).await {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) => return Err(self.error(Operation::Read, self.cause(&error))),
            Err(_) => return Err(self.error(Operation::Read, Cause::TimedOut)),
        };
        let record = lease.as_ref().map(record);
        self.last = lease;
        Ok(record)
    }

    /// Creates the Lease with this process as its holder.
    pub(crate) async fn create(&mut self) -> Result<WriteOutcome, LeaseError> {
        let now = MicroTime(Timestamp::now());
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.lock.name.clone()),
                namespace: Some(self.lock.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                acquire_time: Some(now.clone()),
                ..self.spec(now, LeaseSpec::default(), 0)
            }),
        };
        let params = self.params();
        let created = tokio::time::timeout(self.timeout, self.api.create(&params, &lease)).await;
        self.outcome(Operation::Create, created)
    }

    /// Writes this process as the holder over the version that was read last.
    pub(crate) async fn update(
        &mut self,
        lease_transitions: i32,
        acquires: bool,
    ) -> Result<WriteOutcome, LeaseError> {
        let Some(mut lease) = self.last.clone() else { return Ok(WriteOutcome::Conflict) };
        // For users: replicas detect a renewal by the resourceVersion, not by this time.
        let now = MicroTime(Timestamp::now());
        let previous = lease.spec.take().unwrap_or_default();
        let mut spec = self.spec(now.clone(), previous, lease_transitions);
        if acquires {
            spec.acquire_time = Some(now);
        }
        lease.spec = Some(spec);
        self.replace(Operation::Update, lease).await
    }

    /// Removes the holder from the version that was read last.
    pub(crate) async fn release(&mut self) -> Result<WriteOutcome, LeaseError> {
        let Some(mut lease) = self.last.clone() else { return Ok(WriteOutcome::Conflict) };
        let spec = lease.spec.take().unwrap_or_default();
        let renew_time = Some(MicroTime(Timestamp::now()));
        lease.spec = Some(LeaseSpec { holder_identity: None, renew_time, ..spec });
        self.replace(Operation::Release, lease).await
    }

    fn spec(&self, now: MicroTime, previous: LeaseSpec, lease_transitions: i32) -> LeaseSpec {
        let seconds = i32::try_from(self.lease_duration.as_secs()).unwrap_or(i32::MAX);
        LeaseSpec {
            holder_identity: Some(self.lock.identity.clone()),
            lease_duration_seconds: Some(seconds),
            renew_time: Some(now),
            lease_transitions: Some(lease_transitions),
            ..previous
        }
    }

    async fn replace(
        &mut self,
        operation: Operation,
        mut lease: Lease,
    ) -> Result<WriteOutcome, LeaseError> {
        lease.metadata.managed_fields = None;
        let params = self.params();
        let replace = self.api.replace(&self.lock.name, &params, &lease);
        let replaced = tokio::time::timeout(self.timeout, replace).await;
        self.outcome(operation, replaced)
    }

    fn outcome(
        &mut self,
        operation: Operation,
        written: Timed<Lease>,
    ) -> Result<WriteOutcome, LeaseError> {
        match written {
            Ok(Ok(lease)) => {
                let record = record(&lease);
                self.last = Some(lease);
                Ok(WriteOutcome::Stored(record))
            }
            // The Lease was changed or deleted since it was read, or created since it was missing.
            Ok(Err(kube::Error::Api(status)))
                if status.code == 409 || (status.code == 404 && operation != Operation::Create) =>
            {
                Ok(WriteOutcome::Conflict)
            }
            Ok(Err(error)) => Err(self.error(operation, self.cause(&error))),
            Err(_) => Err(self.error(operation, Cause::TimedOut)),
        }
    }

    fn params(&self) -> PostParams {
        PostParams { field_manager: Some(self.lock.field_manager.clone()), ..PostParams::default() }
    }

    fn cause(&self, error: &kube::Error) -> Cause {
        match error {
            kube::Error::Api(status) => match status.code {
                403 => Cause::Forbidden { name: self.lock.name.clone() },
                404 => Cause::NoNamespace { namespace: self.lock.namespace.clone() },
                code => Cause::Status(code),
            },
            _ => Cause::Unreachable,
        }
    }

    fn error(&self, operation: Operation, cause: Cause) -> LeaseError {
        let LeaseLock { namespace, name, .. } = self.lock.clone();
        LeaseError { operation, namespace, name, cause }
    }
}

fn record(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let uid = lease.uid().unwrap_or_default();
    let resource_version = lease.resource_version().unwrap_or_default();
    LeaseRecord {
        version: format!("{uid}/{resource_version}"),
        holder_identity: spec.holder_identity.filter(|holder| !holder.is_empty()),
        lease_duration: seconds.map(Duration::from_secs),
        lease_transitions: spec.lease_transitions.unwrap_or_default(),
    }
}
