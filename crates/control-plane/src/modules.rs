//! The pinned Go modules: what is built, in which version.

use aws_lc_rs::digest;

/// The project's own `go.mod`, which pins Kubernetes and etcd.
pub(crate) const GO_MOD: &str = include_str!("../go/go.mod");
/// The checksums of everything that the build fetches.
pub(crate) const GO_SUM: &str = include_str!("../go/go.sum");

/// The version of kube-apiserver, kubectl and the others that [`Assets`](crate::Assets) builds,
/// for example `v1.36.3`.
#[must_use]
pub fn kubernetes_version() -> &'static str {
    version_of("k8s.io/kubernetes")
}

/// The version of etcd that [`Assets`](crate::Assets) builds, for example `v3.6.8`.
#[must_use]
pub fn etcd_version() -> &'static str {
    version_of("go.etcd.io/etcd/server/v3")
}

/// The oldest Go that builds the modules, for example `1.26.0`.
pub(crate) fn go_version() -> &'static str {
    GO_MOD.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or_default()
}

/// What the linker writes into Kubernetes' executables: `kubectl version` and the API server's
/// `/version` report it, and feature gates and clients go by it.
///
/// The commit isn't known: a module's archive doesn't say it. The date is fixed so that two builds
/// give the same bytes.
pub(crate) fn linker_flags() -> String {
    let version = kubernetes_version();
    let mut numbers = version.trim_start_matches('v').split('.');
    let values = [
        ("gitVersion", version),
        ("gitMajor", numbers.next().unwrap_or_default()),
        ("gitMinor", numbers.next().unwrap_or_default()),
        ("gitCommit", "unknown"),
        ("gitTreeState", "archive"),
        ("buildDate", "1970-01-01T00:00:00Z"),
    ];
    let mut flags = String::from("-s -w");
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in values {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    flags
}

/// A folder name that changes whenever what is built does.
pub(crate) fn cache_key() -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [GO_MOD, GO_SUM, &linker_flags()] {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    let digest: String =
        context.finish().as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{digest}", kubernetes_version(), etcd_version(), go_os(), go_arch())
}

/// This system's name in Go.
pub(crate) fn go_os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

/// This machine's architecture in Go.
pub(crate) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn version_of(module: &str) -> &'static str {
    GO_MOD
        .lines()
        .filter_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' '))
        .find(|rest| rest.starts_with('v'))
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_go_mod() {
        assert!(kubernetes_version().starts_with("v1."), "{}", kubernetes_version());
        assert!(etcd_version().starts_with("v3."), "{}", etcd_version());
        assert!(go_version().starts_with("1."), "{}", go_version());
        assert!(GO_SUM.contains(&format!("k8s.io/kubernetes {} h1:", kubernetes_version())));
        assert!(GO_SUM.contains(&format!("go.etcd.io/etcd/server/v3 {} h1:", etcd_version())));
    }

    #[test]
    fn staging_modules_have_the_version_of_kubernetes() {
        let version = kubernetes_version().replacen("v1.", "v0.", 1);
        let staging: Vec<_> = GO_MOD.lines().filter(|line| line.contains("=>")).collect();
        assert!(staging.len() > 30, "{staging:?}");
        for line in staging {
            assert!(line.ends_with(&format!(" {version}")), "{line} is not at {version}");
        }
    }

    #[test]
    fn the_key_names_the_versions() {
        let key = cache_key();
        assert!(key.starts_with(&format!("{}-{}-", kubernetes_version(), etcd_version())), "{key}");
    }
}
