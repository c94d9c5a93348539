//! The files and the command line of kube-apiserver.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    certificates::{CertificateAuthority, ServiceAccountKeys},
    data_dir::DataDir,
    error::Error,
    etcd,
    options::Options,
};

pub(crate) const NAME: &str = "kube-apiserver";
/// Time between SIGTERM and SIGKILL.
pub(crate) const GRACE_PERIOD: Duration = Duration::from_secs(10);
const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The cluster IP of the Service `kubernetes`, at which Pods find the API server: the first address
/// of the service CIDR.
pub const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The port of the Service `kubernetes`, which is fixed.
pub(crate) const SERVICE_PORT: u16 = 443;
const ISSUER: &str = "https://kubernetes.default.svc";
/// The names and addresses that the API server's certificate always has, besides
/// [`SERVICE_ADDRESS`].
const CERTIFICATE_NAMES: [&str; 6] = [
    "127.0.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Files that the API server reads when it starts.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) ca_certificate: PathBuf,
    pub(crate) ca_key: PathBuf,
    pub(crate) service_account_key: PathBuf,
    service_account_public_key: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    audit: Option<Audit>,
    kubelet_client: Option<KubeletClient>,
}

/// The certificate with which the API server authenticates to kubelets.
#[derive(Debug)]
struct KubeletClient {
    certificate: PathBuf,
    key: PathBuf,
}

impl KubeletClient {
    fn write(dir: &DataDir, authority: &CertificateAuthority) -> Result<Self, Error> {
        let client =
            authority.issue_client("kube-apiserver-kubelet-client", &["system:masters"])?;
        Ok(Self {
            certificate: dir.write("kubelet-client.crt", &client.certificate_pem)?,
            key: dir.write("kubelet-client.key", &client.key_pem)?,
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
        dir: &DataDir,
        authority: &CertificateAuthority,
        options: &Options,
    ) -> Result<Self, Error> {
        let mut names: Vec<_> = CERTIFICATE_NAMES.map(str::to_owned).into();
        names.push(SERVICE_ADDRESS.to_string());
        names.extend(options.tls_sans.clone());
        let server = authority.issue_server(names)?;
        let service_account = ServiceAccountKeys::generate()?;
        let audit = match &options.audit_policy {
            Some(policy) => Some(Audit {
                policy: dir.write("audit-policy.yaml", policy)?,
                log: dir.path().join("audit.log"),
            }),
            None => None,
        };
        let kubelet_client = match options.node_address {
            Some(_) => Some(KubeletClient::write(dir, authority)?),
            None => None,
        };
        Ok(Self {
            ca_certificate: dir.write("ca.crt", authority.certificate_pem())?,
            ca_key: dir.write("ca.key", &authority.key_pem())?,
            service_account_key: dir.write("service-account.key", &service_account.private_pem)?,
            service_account_public_key: dir
                .write("service-account.pub", &service_account.public_pem)?,
            certificate: dir.write("kube-apiserver.crt", &server.certificate_pem)?,
            key: dir.write("kube-apiserver.key", &server.key_pem)?,
            audit,
            kubelet_client,
        })
    }

    pub(crate) fn audit_log(&self) -> Option<&Path> {
        self.audit.as_ref().map(|audit| audit.log.as_path())
    }
}

/// Returns the command that runs the API server on `port`, in `dir`, which has etcd's socket.
pub(crate) fn command(
    executable: &Path,
    dir: &Path,
    port: u16,
    files: &Files,
    options: &Options,
) -> Command {
    let mut command = Command::new(executable);
    add_file_flags(&mut command, files);
    let mut flag = |name: &str, value: &str| {
        command.arg(format!("--{name}={value}"));
    };
    let (bind_address, advertise_address) = match options.node_address {
        Some(address) => (Ipv4Addr::UNSPECIFIED, address),
        None => (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST),
    };
    flag("etcd-servers", etcd::CLIENT_URL);
    flag("bind-address", &bind_address.to_string());
    flag("advertise-address", &advertise_address.to_string());
    flag("secure-port", &port.to_string());
    flag("permit-port-sharing", "true");
    flag("service-cluster-ip-range", SERVICE_CIDR);
    flag("service-account-issuer", ISSUER);
    flag("allow-privileged", "true");
    flag("profiling", "false");
    // Without these two, a shutdown waits a minute for the clients' watches to end.
    flag("shutdown-send-retry-after", "true");
    flag("shutdown-watch-termination-grace-period", "1s");
    // The reconciler would fail to publish 127.0.0.1, because an endpoint can't be on loopback. With
    // a node the endpoint isn't needed either: the Service's address is one of the machine's own.
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
    command.args(&options.apiserver_args).current_dir(dir);
    command
}

fn add_file_flags(command: &mut Command, files: &Files) {
    let mut flag = |name: &str, path: &Path| {
        command.arg(format!("--{name}={}", path.to_string_lossy()));
    };
    flag("client-ca-file", &files.ca_certificate);
    flag("tls-cert-file", &files.certificate);
    flag("tls-private-key-file", &files.key);
    flag("service-account-key-file", &files.service_account_public_key);
    flag("service-account-signing-key-file", &files.service_account_key);
    if let Some(audit) = &files.audit {
        flag("audit-policy-file", &audit.policy);
        flag("audit-log-path", &audit.log);
    }
    if let Some(client) = &files.kubelet_client {
        flag("kubelet-client-certificate", &client.certificate);
        flag("kubelet-client-key", &client.key);
        // The node has no host name that could be resolved.
        command.arg("--kubelet-preferred-address-types=InternalIP");
    }
}
