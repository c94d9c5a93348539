//! How a fixture is to be.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::assets::Progress;
use crate::control_plane::ControlPlane;
use crate::error::Error;

/// How a fixture is to be; [`ControlPlane::options`] has the defaults.
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
    pub(crate) nodes: Option<Ipv4Addr>,
    pub(crate) progress: Progress,
    pub(crate) server_names: Vec<String>,
    pub(crate) service_account_admission: bool,
    pub(crate) start_deadline: Duration,
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
            nodes: None,
            progress: Progress::default(),
            server_names: Vec::new(),
            service_account_admission: false,
            start_deadline: Duration::from_secs(60),
        }
    }
}

impl Options {
    /// Adds a flag to the API server's command line, for example `--v=4`. It comes after the
    /// fixture's own, so that it wins over them.
    pub fn apiserver_arg(mut self, flag: impl Into<String>) -> Self {
        self.apiserver_args.push(flag.into());
        self
    }

    /// Has the API server write an audit log by `policy`, an `audit.k8s.io/v1` `Policy` in YAML.
    /// [`ControlPlane::audit_log_path`] says where. By default there is none.
    pub fn audit_policy(mut self, policy: impl Into<String>) -> Self {
        self.audit_policy = Some(policy.into());
        self
    }

    /// Keeps the data in `folder`, which is created when missing and stays. A fixture that is
    /// started on it later goes on with its objects, but has another port, other certificates and
    /// another key for service account tokens. By default the folder is a temporary one.
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(folder.into());
        self
    }

    /// Whether etcd waits for the disk. Only needed to survive a crash of the machine; without,
    /// which is the default, writes are faster and the data still survives a crash of the servers.
    pub fn etcd_fsync(mut self, on: bool) -> Self {
        self.etcd_fsync = on;
        self
    }

    /// Turns a feature gate of the API server on or off.
    pub fn feature_gate(mut self, name: impl Into<String>, on: bool) -> Self {
        self.feature_gates.insert(name.into(), on);
        self
    }

    /// Whether the Node authorizer and the `NodeRestriction` admission plugin are on besides RBAC,
    /// which kubelets need. Off by default.
    pub fn node_authorizer(mut self, on: bool) -> Self {
        self.node_authorizer = on;
        self
    }

    /// Lets kubelets join and pods reach the API server, at `address` of this machine: it listens on
    /// all addresses at port 443, which is that of the service `kubernetes`, so where the service's
    /// address ([`SERVICE_ADDRESS`](crate::SERVICE_ADDRESS)) is one of the machine's no proxy is
    /// needed. The API server calls kubelets at their internal address. Turns on
    /// [`node_authorizer`](Self::node_authorizer) and
    /// [`service_account_admission`](Self::service_account_admission), which takes a controller
    /// manager. To be used in a network namespace only: by default everything is on loopback.
    pub fn nodes(mut self, address: Ipv4Addr) -> Self {
        self.nodes = Some(address);
        self.server_name(address.to_string()).node_authorizer(true).service_account_admission(true)
    }

    /// Who hears about the build of the servers. By default standard error.
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Adds a host name or an IP address to the API server's certificate, besides `localhost`,
    /// `127.0.0.1` and the names and address of the service `kubernetes`.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_names.push(name.into());
        self
    }

    /// Whether the `ServiceAccount` admission plugin is on. It refuses pods in a namespace that
    /// has no service account `default`, and without a controller manager none has. Off by default;
    /// all other plugins that are on in Kubernetes are on here.
    pub fn service_account_admission(mut self, on: bool) -> Self {
        self.service_account_admission = on;
        self
    }

    /// How long the servers may take until they are ready, each time they start. Building them
    /// doesn't count. 60 s by default.
    pub fn start_deadline(mut self, deadline: Duration) -> Self {
        self.start_deadline = deadline;
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
