//! The pinned Go modules: what is built, in which version.

use aws_lc_rs::digest;

/// A `go.mod` of the project's own, and what is built from it.
#[derive(Debug)]
pub(crate) struct Modules {
    pub(crate) go_mod: &'static str,
    /// The checksums of everything that the build fetches.
    pub(crate) go_sum: &'static str,
    /// The modules whose versions name the cache folder.
    named: &'static [&'static str],
    /// What the folder's name begins with, where the versions alone would not say what it has.
    prefix: &'static str,
    linker_flags: fn() -> String,
}

/// Kubernetes and etcd.
pub(crate) static KUBERNETES: Modules = Modules {
    go_mod: include_str!("../../go/go.mod"),
    go_sum: include_str!("../../go/go.sum"),
    named: &["k8s.io/kubernetes", "go.etcd.io/etcd/server/v3"],
    prefix: "",
    linker_flags: kubernetes_flags,
};

/// Helm, which brings a newer client-go than Kubernetes.
pub(crate) static HELM: Modules = Modules {
    go_mod: include_str!("../../helm/go.mod"),
    go_sum: include_str!("../../helm/go.sum"),
    named: &["helm.sh/helm/v4"],
    prefix: "helm-",
    linker_flags: helm_flags,
};

/// The version of kube-apiserver, kubectl and the others that [`Assets`](crate::Assets) builds,
/// for example `v1.36.3`.
#[must_use]
pub fn kubernetes_version() -> &'static str {
    KUBERNETES.version_of("k8s.io/kubernetes")
}

/// The version of etcd that [`Assets`](crate::Assets) builds, for example `v3.6.8`.
#[must_use]
pub fn etcd_version() -> &'static str {
    KUBERNETES.version_of("go.etcd.io/etcd/server/v3")
}

/// The version of Helm that [`Assets`](crate::Assets) builds, for example `v4.3.1`.
#[must_use]
pub fn helm_version() -> &'static str {
    HELM.version_of("helm.sh/helm/v4")
}

impl Modules {
    /// The oldest Go that builds them, for example `1.26.0`.
    pub(crate) fn go_version(&self) -> &'static str {
        self.go_mod.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or_default()
    }

    /// What the linker is told.
    pub(crate) fn linker_flags(&self) -> String {
        (self.linker_flags)()
    }

    /// A folder name that changes whenever what is built does.
    pub(crate) fn cache_key(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [self.go_mod, self.go_sum, &self.linker_flags()] {
            context.update(part.as_bytes());
            context.update(b"\0");
        }
        let digest: String =
            context.finish().as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let versions: Vec<_> = self.named.iter().map(|module| self.version_of(module)).collect();
        let (prefix, versions) = (self.prefix, versions.join("-"));
        format!("{prefix}{versions}-{}-{}-{digest}", go_os(), go_arch())
    }

    fn version_of(&self, module: &str) -> &'static str {
        self.go_mod
            .lines()
            .filter_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' '))
            .find(|rest| rest.starts_with('v'))
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_default()
    }
}

/// What the linker writes into Kubernetes' executables: `kubectl version` and the API server's
/// `/version` report it, and feature gates and clients go by it.
///
/// The commit isn't known: a module's archive doesn't say it. The date is fixed so that two builds
/// give the same bytes.
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

/// What `helm version` reports.
fn helm_flags() -> String {
    let package = "helm.sh/helm/v4/internal/version";
    let version = helm_version();
    format!("-s -w -X {package}.version={version} -X {package}.gitTreeState=archive")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_go_mod() {
        assert!(kubernetes_version().starts_with("v1."), "{}", kubernetes_version());
        assert!(etcd_version().starts_with("v3."), "{}", etcd_version());
        assert!(helm_version().starts_with("v4."), "{}", helm_version());
        for (modules, module) in [
            (&KUBERNETES, "k8s.io/kubernetes"),
            (&KUBERNETES, "go.etcd.io/etcd/server/v3"),
            (&HELM, "helm.sh/helm/v4"),
        ] {
            assert!(modules.go_version().starts_with("1."), "{}", modules.go_version());
            let version = modules.version_of(module);
            assert!(modules.go_sum.contains(&format!("{module} {version} h1:")), "{module}");
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
    fn the_key_names_the_versions() {
        let key = KUBERNETES.cache_key();
        assert!(key.starts_with(&format!("{}-{}-", kubernetes_version(), etcd_version())), "{key}");
        let key = HELM.cache_key();
        assert!(key.starts_with(&format!("helm-{}-", helm_version())), "{key}");
    }
}
