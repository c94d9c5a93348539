//! Configuration files of containerd, the network plugins, and the kubelet.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// The socket of containerd, in a file system that is private to the isolated processes.
pub(crate) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// The pod sandbox image, whose container holds the namespaces of a Pod.
pub const SANDBOX_IMAGE: &str = "localhost/sandbox:node";

/// The directories in which distributions, and upstream's archive, install the network plugins.
const PLUGIN_DIRS: [&str; 3] = ["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"];
const POD_CIDR: &str = "10.244.0.0/24";

/// Finds the directory of the network plugins.
pub(crate) fn plugin_dir() -> Result<PathBuf> {
    let found = PLUGIN_DIRS.iter().map(PathBuf::from).find(|dir| dir.join("ptp").is_file());
    found.with_context(|| {
        format!(
            "there is no network plugin ptp in {}: install it, for example with apt-get install \
             containernetworking-plugins",
            PLUGIN_DIRS.join(", ")
        )
    })
}

/// Returns containerd's configuration.
///
/// The machine itself may be a container, so the configuration avoids features that don't work in
/// one: overlays (the snapshotter `native` copies files instead) and lower OOM scores.
pub(crate) fn containerd(dir: &Path, plugin_dir: &Path) -> String {
    let (dir, plugin_dir) = (dir.display(), plugin_dir.display());
    format!(
        r#"version = 2
root = "{dir}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.overlayfs",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt",
]

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{SANDBOX_IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugin_dir}"
conf_dir = "{dir}/cni"
"#
    )
}

/// Returns the configuration of the Pod network. Each Pod has an interface whose other end is on the
/// node, and a default route to the node.
pub(crate) fn network(dir: &Path) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": POD_CIDR}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": dir.join("cni-addresses"),
            },
        }],
    })
}

/// Returns the kubelet's configuration. Every setting that affects how fast Pods see changes has the
/// default of Kubernetes: the kubelet watches Secrets and updates mounted ones when it syncs the Pod,
/// within a minute.
pub(crate) fn kubelet(dir: &Path, cgroup: &str, ca_certificate: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": ca_certificate},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        // Both cgroup versions work.
        "failCgroupV1": false,
        // Not every file system supports it.
        "localStorageCapacityIsolation": false,
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "failSwapOn": false,
        // The Pods write nothing, so a nearly full disk is no reason to evict them.
        "evictionHard": {
            "imagefs.available": "0%",
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": false,
        "podLogsDir": dir.join("pods"),
        "resolvConf": dir.join("resolv.conf"),
        // There is no DNS server at this address: Pods connect by IP address.
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "volumePluginDir": dir.join("volume-plugins"),
        "shutdownGracePeriod": "0s",
    })
}
