//! Options of a control plane.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf, time::Duration};

use crate::{assets::Progress, control_plane::ControlPlane, error::Error};

/// Options of a control plane; [`ControlPlane::options`] returns the defaults.
///
/// ```no_run
/// # async fn example() -> Result<(), local_cluster::Error> {
/// let control_plane = local_cluster::ControlPlane::options()
///     .feature_gate("SomeGate", true)
///     .apiserver_arg("--v=4")
///     .start()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) apiserver_args: Vec<String>,
    pub(crate) audit_policy: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) etcd_fsync: bool,
    pub(crate) feature_gates: BTreeMap<String, bool>,
    pub(crate) node_authorizer: bool,
    pub(crate) node_address: Option<Ipv4Addr>,
    pub(crate) progress: Progress,
    pub(crate) service_account_admission: bool,
    pub(crate) start_deadline: Duration,
    pub(crate) tls_sans: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            apiserver_args: Vec::new(),
            audit_policy: None,
            data_dir: None,
            etcd_fsync: false,
            feature_gates: BTreeMap::new(),
            node_authorizer: false,
            node_address: None,
            progress: Progress::default(),
            service_account_admission: false,
            start_deadline: Duration::from_secs(60),
            tls_sans: Vec::new(),
        }
    }
}

impl Options {
    /// Adds a flag to the API server's command line, for example `--v=4`. It comes last, so it
    /// overrides the flags that are set by default.
    pub fn apiserver_arg(mut self, flag: impl Into<String>) -> Self {
        self.apiserver_args.push(flag.into());
        self
    }

    /// Makes the API server write an audit log according to `policy`, an `audit.k8s.io/v1` `Policy`
    /// in YAML. [`ControlPlane::audit_log_path`] returns its path. By default there is none.
    pub fn audit_policy(mut self, policy: impl Into<String>) -> Self {
        self.audit_policy = Some(policy.into());
        self
    }

    /// Keeps the data in `dir`, which is created if it is missing and isn't removed. A control plane
    /// that is started on it later has the same objects, but another port, other certificates and
    /// another key for service account tokens. By default the directory is temporary.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Makes etcd wait for the disk. Only needed if the data must survive a crash of the machine.
    /// Off by default: writes are faster, and the data survives a crash of the servers.
    pub fn etcd_fsync(mut self, on: bool) -> Self {
        self.etcd_fsync = on;
        self
    }

    /// Turns a feature gate of the API server on or off.
    pub fn feature_gate(mut self, name: impl Into<String>, on: bool) -> Self {
        self.feature_gates.insert(name.into(), on);
        self
    }

    /// Lets kubelets join, and Pods reach the API server at `address` of this machine.
    ///
    /// The API server listens on all addresses at port 443, the port of the Service `kubernetes`.
    /// Where the Service's address ([`SERVICE_ADDRESS`](crate::SERVICE_ADDRESS)) is one of the
    /// machine's own, no proxy is needed. The API server connects to kubelets at their internal
    /// address.
    ///
    /// Turns on [`node_authorizer`](Self::node_authorizer) and
    /// [`service_account_admission`](Self::service_account_admission), which needs a controller
    /// manager. Use it in a separate network namespace only. By default everything is on loopback.
    pub fn node_address(mut self, address: Ipv4Addr) -> Self {
        self.node_address = Some(address);
        self.tls_san(address.to_string()).node_authorizer(true).service_account_admission(true)
    }

    /// Turns on the Node authorizer, besides RBAC, and the `NodeRestriction` admission plugin, which
    /// kubelets need. Off by default.
    pub fn node_authorizer(mut self, on: bool) -> Self {
        self.node_authorizer = on;
        self
    }

    /// Sets the listener for the progress of the servers' build. By default it is written to
    /// standard error.
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Turns on the `ServiceAccount` admission plugin. It rejects Pods in namespaces without a
    /// service account `default`, and without a controller manager no namespace has one. Off by
    /// default; every other plugin that is on in Kubernetes is on here.
    pub fn service_account_admission(mut self, on: bool) -> Self {
        self.service_account_admission = on;
        self
    }

    /// Sets how long a server may take to become ready each time it starts. Building it doesn't
    /// count. 60 s by default.
    pub fn start_deadline(mut self, deadline: Duration) -> Self {
        self.start_deadline = deadline;
        self
    }

    /// Adds a host name or an IP address to the API server's certificate, besides `localhost`,
    /// `127.0.0.1` and the names and address of the Service `kubernetes`.
    pub fn tls_san(mut self, name: impl Into<String>) -> Self {
        self.tls_sans.push(name.into());
        self
    }

    /// Starts the servers and waits until they are ready.
    ///
    /// # Errors
    ///
    /// When the servers can't be built, don't start, or aren't ready within the deadline. The
    /// message has the last lines of the server's log.
    pub async fn start(self) -> Result<ControlPlane, Error> {
        ControlPlane::start_with(self).await
    }
}
