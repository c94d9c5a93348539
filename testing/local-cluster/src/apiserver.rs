//! The files and the command line of kube-apiserver.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::certificates::{Authority, service_account_keys};
use crate::data_dir::DataFolder;
use crate::error::Error;
use crate::etcd;
use crate::options::Options;

pub(crate) const NAME: &str = "kube-apiserver";
/// Between SIGTERM and SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The address of the service `kubernetes`, by which pods know the API server: the first of the
/// range of service addresses.
pub const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The port of that service, which the API server doesn't let anyone choose.
pub(crate) const SERVICE_PORT: u16 = 443;
const ISSUER: &str = "https://kubernetes.default.svc";

/// What the API server reads at its start.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) authority: PathBuf,
    pub(crate) authority_key: PathBuf,
    pub(crate) service_account_key: PathBuf,
    service_account_public_key: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    audit: Option<Audit>,
    kubelet_client: Option<KubeletClient>,
}

/// How the API server shows kubelets who it is.
#[derive(Debug)]
struct KubeletClient {
    certificate: PathBuf,
    key: PathBuf,
}

impl KubeletClient {
    fn write(folder: &DataFolder, authority: &Authority) -> Result<Self, Error> {
        let client = authority.client("kube-apiserver-kubelet-client", &["system:masters"])?;
        Ok(Self {
            certificate: folder.write("kubelet-client.crt", &client.certificate)?,
            key: folder.write("kubelet-client.key", &client.key)?,
        })
    }
}

#[derive(Debug)]
struct Audit {
    policy: PathBuf,
    log: PathBuf,
}

impl Files {
    pub(crate) fn write(
        folder: &DataFolder,
        authority: &Authority,
        options: &Options,
    ) -> Result<Self, Error> {
        let fixed = [
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let names = fixed.into_iter().map(str::to_owned).chain([SERVICE_ADDRESS.to_string()]);
        let names = names.chain(options.server_names.clone());
        let server = authority.server(names.collect())?;
        let (signs, verifies) = service_account_keys()?;
        let audit = match &options.audit_policy {
            Some(policy) => Some(Audit {
                policy: folder.write("audit-policy.yaml", policy)?,
                log: folder.path().join("audit.log"),
            }),
            None => None,
        };
        let kubelet_client = match options.nodes {
            Some(_) => Some(KubeletClient::write(folder, authority)?),
            None => None,
        };
        Ok(Self {
            authority: folder.write("ca.crt", authority.certificate())?,
            authority_key: folder.write("ca.key", &authority.key())?,
            service_account_key: folder.write("service-account.key", &signs)?,
            service_account_public_key: folder.write("service-account.pub", &verifies)?,
            certificate: folder.write("kube-apiserver.crt", &server.certificate)?,
            key: folder.write("kube-apiserver.key", &server.key)?,
            audit,
            kubelet_client,
        })
    }

    pub(crate) fn audit_log(&self) -> Option<&Path> {
        self.audit.as_ref().map(|audit| audit.log.as_path())
    }
}

/// The command that runs the API server on `port`, in `folder`, where etcd's socket is.
pub(crate) fn command(
    executable: &Path,
    folder: &Path,
    port: u16,
    files: &Files,
    options: &Options,
) -> Command {
    let mut command = Command::new(executable);
    let mut flag = |name: &str, value: &str| {
        command.arg(format!("--{name}={value}"));
    };
    let mut file = |name: &str, path: &Path| flag(name, &path.to_string_lossy());
    file("client-ca-file", &files.authority);
    file("tls-cert-file", &files.certificate);
    file("tls-private-key-file", &files.key);
    file("service-account-key-file", &files.service_account_public_key);
    file("service-account-signing-key-file", &files.service_account_key);
    if let Some(audit) = &files.audit {
        file("audit-policy-file", &audit.policy);
        file("audit-log-path", &audit.log);
    }
    if let Some(client) = &files.kubelet_client {
        file("kubelet-client-certificate", &client.certificate);
        file("kubelet-client-key", &client.key);
        // Only machines of a cloud have names that anyone could look up.
        flag("kubelet-preferred-address-types", "InternalIP");
    }
    let listens = if options.nodes.is_some() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    flag("etcd-servers", etcd::CLIENT_URL);
    flag("bind-address", &listens.to_string());
    flag("advertise-address", &options.nodes.unwrap_or(Ipv4Addr::LOCALHOST).to_string());
    flag("secure-port", &port.to_string());
    flag("permit-port-sharing", "true");
    flag("service-cluster-ip-range", SERVICE_RANGE);
    flag("service-account-issuer", ISSUER);
    flag("allow-privileged", "true");
    flag("profiling", "false");
    // Without these two it waits a minute for the clients' watches to end.
    flag("shutdown-send-retry-after", "true");
    flag("shutdown-watch-termination-grace-period", "1s");
    // It would try in vain to publish 127.0.0.1: an endpoint can't be on loopback. Nobody needs the
    // endpoint elsewhere, either: the service's address is one of the machine's.
    flag("endpoint-reconciler-type", "none");
    if options.node_authorizer {
        flag("authorization-mode", "Node,RBAC");
        flag("enable-admission-plugins", "NodeRestriction");
    } else {
        flag("authorization-mode", "RBAC");
    }
    if !options.service_account_admission {
        flag("disable-admission-plugins", "ServiceAccount");
    }
    if !options.feature_gates.is_empty() {
        let gates = options.feature_gates.iter().map(|(name, on)| format!("{name}={on}"));
        flag("feature-gates", &gates.collect::<Vec<_>>().join(","));
    }
    command.args(&options.apiserver_args).current_dir(folder);
    command
}
