//! What containerd, the network plugins and the kubelet read at their start.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// containerd's socket: in a file system of the enclosure's own.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";
/// The image of the container that holds a pod's namespaces.
pub const SANDBOX_IMAGE: &str = "localhost/sandbox:node";

/// Where distributions have network plugins, and where upstream installs them.
const PLUGINS: [&str; 3] = ["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"];
/// The addresses of pods.
const POD_SUBNET: &str = "10.244.0.0/24";

/// The folder of the network plugins.
pub(crate) fn plugins() -> Result<PathBuf> {
    let found = PLUGINS.iter().map(PathBuf::from).find(|folder| folder.join("ptp").is_file());
    found.with_context(|| {
        let folders = PLUGINS.join(", ");
        format!(
            "there is no network plugin ptp in {folders}: apt-get install \
             containernetworking-plugins"
        )
    })
}

/// containerd's configuration.
///
/// The snapshotter `native` copies, and so needs nothing of the kernel. The machine itself may be a
/// container, whose file system can't be below an overlay, and in which scores for the OOM killer
/// can't be lowered.
pub(crate) fn containerd(folder: &Path, plugins: &Path) -> String {
    let (folder, plugins) = (folder.display(), plugins.display());
    format!(
        r#"version = 2
root = "{folder}/containerd"
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
address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{SANDBOX_IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{folder}/cni"
"#
    )
}

/// The network of pods: each has an interface whose other end is on the node, and a default route
/// that ends there.
pub(crate) fn network(folder: &Path) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": POD_SUBNET}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": folder.join("cni-addresses"),
            },
        }],
    })
}

/// The kubelet's configuration. What pods see of delays is as Kubernetes has it by default: Secrets
/// are watched, and a mounted one is updated when the pod is synchronized, within a minute.
pub(crate) fn kubelet(folder: &Path, group: &str, authority: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": authority},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{group}"),
        // Both versions of control groups will do.
        "failCgroupV1": false,
        // Not known of every file system.
        "localStorageCapacityIsolation": false,
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "failSwapOn": false,
        // A disk that is nearly full is no reason to end pods that write nothing.
        "evictionHard": {
            "imagefs.available": "0%",
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": false,
        "podLogsDir": folder.join("pods"),
        "resolvConf": folder.join("resolv.conf"),
        // Nobody answers there: pods use addresses.
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "volumePluginDir": folder.join("volume-plugins"),
        "shutdownGracePeriod": "0s",
    })
}
