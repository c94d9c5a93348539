//! The machine and the versions that the results belong to.

use std::{fs, process::Command, thread};

use chrono::Utc;
use serde_json::{Value, json};
use testkit::manifests::checkout_path;

pub(crate) fn describe() -> Value {
    json!({
        "time": Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
        "commit": commit(),
        "cores": thread::available_parallelism().map_or(1, usize::from),
        "processor": value_of("/proc/cpuinfo", "model name"),
        "memory": value_of("/proc/meminfo", "MemTotal"),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "kubernetes": local_cluster::kubernetes_version(),
        "etcd": local_cluster::etcd_version(),
    })
}

/// Returns the commit of the checkout.
fn commit() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(checkout_path("."))
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

/// Returns the value of the first line `name: value` of a file.
fn value_of(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = values.filter(|(key, _)| key.trim() == name);
    values.next().map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}
