//! The pinned Go modules from which executables are built.

use aws_lc_rs::digest;

/// One `go.mod` with its `go.sum`, and how executables are built from it.
#[derive(Debug)]
pub(crate) struct ModuleSet {
    pub(crate) go_mod: &'static str,
    /// The checksums of everything that the build downloads.
    pub(crate) go_sum: &'static str,
    /// The modules whose versions are part of the cache key.
    key_modules: &'static [&'static str],
    /// The start of the cache key, where the versions alone don't say what is inside.
    key_prefix: &'static str,
    linker_flags: fn() -> String,
}

/// Kubernetes and etcd.
pub(crate) static KUBERNETES: ModuleSet = ModuleSet {
    go_mod: include_str!("../../go/go.mod"),
    go_sum: include_str!("../../go/go.sum"),
    key_modules: &["k8s.io/kubernetes", "go.etcd.io/etcd/server/v3"],
    key_prefix: "",
    linker_flags: kubernetes_flags,
};

/// Helm, which needs a newer client-go than Kubernetes.
pub(crate) static HELM: ModuleSet = ModuleSet {
    go_mod: include_str!("../../helm/go.mod"),
    go_sum: include_str!("../../helm/go.sum"),
    key_modules: &["helm.sh/helm/v4"],
    key_prefix: "helm-",
    linker_flags: helm_flags,
};

/// Returns the version of kube-apiserver, kubectl and the other executables of Kubernetes that
/// [`Assets`](crate::Assets) builds, for example `v1.36.3`.
#[must_use]
pub fn kubernetes_version() -> &'static str {
    KUBERNETES.version_of("k8s.io/kubernetes")
}

/// Returns the version of etcd that [`Assets`](crate::Assets) builds, for example `v3.6.8`.
#[must_use]
pub fn etcd_version() -> &'static str {
    KUBERNETES.version_of("go.etcd.io/etcd/server/v3")
}

/// Returns the version of Helm that [`Assets`](crate::Assets) builds, for example `v4.3.1`.
#[must_use]
pub fn helm_version() -> &'static str {
    HELM.version_of("helm.sh/helm/v4")
}

impl ModuleSet {
    /// The oldest Go version that can build them, for example `1.26.0`.
    pub(crate) fn go_version(&self) -> &'static str {
        self.go_mod.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or_default()
    }

    pub(crate) fn linker_flags(&self) -> String {
        (self.linker_flags)()
    }

    /// Returns a directory name that changes whenever the inputs of the build change.
    pub(crate) fn cache_key(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [self.go_mod, self.go_sum, &self.linker_flags()] {
            context.update(part.as_bytes());
            context.update(b"\0");
        }
        let digest: String =
            context.finish().as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let versions: Vec<_> =
            self.key_modules.iter().map(|module| self.version_of(module)).collect();
        let (prefix, versions) = (self.key_prefix, versions.join("-"));
        format!("{prefix}{versions}-{}-{}-{digest}", go_os(), go_arch())
    }

    /// Returns the version that `go.mod` requires of `module`.
    fn version_of(&self, module: &str) -> &'static str {
        for line in self.go_mod.lines() {
            let mut words = line.split_whitespace();
            if words.next() != Some(module) {
                continue;
            }
            if let Some(version) = words.next()
                && version.starts_with('v')
            {
                return version;
            }
        }
        ""
    }
}

/// Returns linker flags that set the version of Kubernetes' executables. `kubectl version` and the
/// API server's `/version` report it, and feature gates and clients depend on it.
///
/// The commit is unknown because a module's archive doesn't contain it. The date is fixed so that
/// builds are reproducible.
fn kubernetes_flags() -> String {
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

/// Returns linker flags that set the version that `helm version` reports.
fn helm_flags() -> String {
    let package = "helm.sh/helm/v4/internal/version";
    let version = helm_version();
    format!("-s -w -X {package}.version={version} -X {package}.gitTreeState=archive")
}

/// Returns Go's name for this operating system.
pub(crate) fn go_os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

/// Returns Go's name for this machine's architecture.
pub(crate) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_from_go_mod() {
        assert!(kubernetes_version().starts_with("v1."), "{}", kubernetes_version());
        assert!(etcd_version().starts_with("v3."), "{}", etcd_version());
        assert!(helm_version().starts_with("v4."), "{}", helm_version());
        for (set, module) in [
            (&KUBERNETES, "k8s.io/kubernetes"),
            (&KUBERNETES, "go.etcd.io/etcd/server/v3"),
            (&HELM, "helm.sh/helm/v4"),
        ] {
            assert!(set.go_version().starts_with("1."), "{}", set.go_version());
            let version = set.version_of(module);
            assert!(set.go_sum.contains(&format!("{module} {version} h1:")), "{module}");
        }
    }

    #[test]
    fn staging_modules_have_the_version_of_kubernetes() {
        let version = kubernetes_version().replacen("v1.", "v0.", 1);
        let staging: Vec<_> =
            KUBERNETES.go_mod.lines().filter(|line| line.contains("=>")).collect();
        assert!(staging.len() > 30, "{staging:?}");
        for line in staging {
            assert!(line.ends_with(&format!(" {version}")), "{line} is not at {version}");
        }
    }

    #[test]
    fn cache_key_contains_the_versions() {
        let key = KUBERNETES.cache_key();
        assert!(key.starts_with(&format!("{}-{}-", kubernetes_version(), etcd_version())), "{key}");
        let key = HELM.cache_key();
        assert!(key.starts_with(&format!("helm-{}-", helm_version())), "{key}");
    }
}
