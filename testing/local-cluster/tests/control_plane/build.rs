//! Builds in the cache, with a fake `go` that is fast and can fail.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{eventually, is_alive, program, signal, write_script};

const DEADLINE: Duration = Duration::from_secs(30);

/// Directory with a cache and a fake `go` that is on PATH.
struct Build {
    dir: TempDir,
}

impl Build {
    /// Writes a fake `go` of the given version. `list` and `build` are the shell commands of `go list`
    /// and `go build`; `$output` is the path of the executable to build.
    fn new(version: &str, list: &str, build: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "cd '{}'
            case $1 in
            env) case $2 in GOVERSION) echo {version} ;; *) echo https://proxy.invalid ;; esac ;;
            list) {list}
                ;;
            build)
                for argument; do
                    [ \"$previous\" = -o ] && output=$argument
                    previous=$argument
                done
                echo \"$*\" >>builds
                {build}
                ;;
            esac",
            dir.path().display()
        );
        let go = dir.path().join("bin/go");
        fs::create_dir(go.parent().unwrap()).unwrap();
        write_script(&go, &script);
        Self { dir }
    }

    fn working() -> Self {
        let build = "echo echo built >\"$output\"; chmod +x \"$output\"";
        Self::new("go1.99.0", "echo package", build)
    }

    fn command(&self) -> Command {
        let mut command = program();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .arg("build")
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("AUTH0_ROTATOR_CACHE", self.path("cache"))
            .env_remove("KUBEBUILDER_ASSETS");
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns how often `go build` was called.
    fn count(&self) -> usize {
        fs::read_to_string(self.path("builds")).map_or(0, |builds| builds.lines().count())
    }

    fn expect_error(&self, parts: &[&str]) {
        let output = self.command().output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let message = String::from_utf8(output.stderr).unwrap();
        for part in parts {
            assert!(message.contains(part), "no {part:?} in {message}");
        }
    }
}

fn printed_path(output: &Output) -> PathBuf {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
}

/// Returns the sorted names of the files in `dir`, without the lock.
fn names(dir: &Path) -> Vec<String> {
    let entries = dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != ".lock");
    names.sort();
    names
}

#[test]
fn builds_each_executable_once_and_only_on_request() {
    let build = Build::working();
    let dir = printed_path(&build.command().output().unwrap());
    assert_eq!(names(&dir), ["etcd", "kube-apiserver"]);
    let again = build.command().output().unwrap();
    assert_eq!(printed_path(&again), dir);
    assert!(again.stderr.is_empty(), "there is no progress when nothing is built");
    assert_eq!(build.count(), 2);
    printed_path(&build.command().args(["--with", "kubectl,kubelet"]).output().unwrap());
    assert_eq!(names(&dir), ["etcd", "kube-apiserver", "kubectl", "kubelet"]);
    assert_eq!(build.count(), 4);
    let commands = fs::read_to_string(build.path("builds")).unwrap();
    let version = local_cluster::kubernetes_version();
    for command in commands.lines() {
        let flag = format!("-X k8s.io/component-base/version.gitVersion={version} ");
        for part in ["-trimpath", "-mod=readonly", &flag] {
            assert!(command.contains(part), "no {part:?} in {command}");
        }
    }
}

/// A new version of Helm must not move the servers to another directory.
#[test]
fn helm_has_its_own_directory() {
    let build = Build::working();
    let output = build.command().args(["--with", "helm"]).output().unwrap();
    let printed = printed_path(&output);
    let [dir, helm] = printed.to_str().unwrap().split('\n').map(Path::new).collect::<Vec<_>>()[..]
    else {
        panic!("{}", printed.display());
    };
    assert_eq!(names(dir), ["etcd", "kube-apiserver"]);
    assert_eq!(helm.file_name().unwrap(), "helm");
    assert_eq!(names(helm.parent().unwrap()), ["helm"]);
    let commands = fs::read_to_string(build.path("builds")).unwrap();
    let version = local_cluster::helm_version();
    let flag = format!("-X helm.sh/helm/v4/internal/version.version={version} ");
    assert!(commands.lines().last().unwrap().contains(&flag), "{commands}");
}

#[test]
fn concurrent_builds_build_once() {
    let slow = "sleep 0.5; echo echo built >\"$output\"; chmod +x \"$output\"";
    let build = Build::new("go1.99.0", "echo package", slow);
    let start = || build.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let processes = [start(), start(), start()];
    let dirs = processes.map(|process| printed_path(&process.wait_with_output().unwrap()));
    assert!(dirs.iter().all(|dir| *dir == dirs[0]));
    assert_eq!(names(&dirs[0]), ["etcd", "kube-apiserver"]);
    assert_eq!(build.count(), 2);
}

/// The build ends with its owner, and the next one succeeds.
#[test]
fn killed_build_does_not_block_the_next_one() {
    let hangs_once = "[ -e pid ] || { echo $$ >pid.new; mv pid.new pid; exec sleep 600; }
                echo echo built >\"$output\"; chmod +x \"$output\"";
    let build = Build::new("go1.99.0", "echo package", hangs_once);
    let mut killed = build.command().stdout(Stdio::null()).spawn().unwrap();
    eventually(DEADLINE, "the build hangs", || build.path("pid").exists());
    let go = fs::read_to_string(build.path("pid")).unwrap().trim().parse().unwrap();
    assert!(signal("KILL", killed.id()));
    killed.wait().unwrap();
    eventually(DEADLINE, "go has ended", || !is_alive(go));
    let dir = printed_path(&build.command().output().unwrap());
    assert_eq!(names(&dir), ["etcd", "kube-apiserver"]);
}

#[test]
fn rejects_old_go() {
    let build = Build::new("go1.20.3", "false", "false");
    build.expect_error(&["building etcd needs Go 1.", "/bin/go is 1.20.3", "https://go.dev/dl/"]);
}

#[test]
fn error_names_unreachable_module_proxy() {
    let fails = "echo 'go: k8s.io/api@v0.36.3: dial tcp: connection refused' >&2; exit 1";
    let build = Build::new("go1.99.0", fails, "false");
    build.expect_error(&["from https://proxy.invalid", "set GOPROXY", "connection refused"]);
    assert_eq!(build.count(), 0);
}

#[test]
fn error_has_the_compiler_output() {
    let build = Build::new("go1.99.0", "echo package", "echo no space left on device >&2; exit 1");
    build.expect_error(&["can't build etcd (exit status: 1", "no space left on device"]);
}

#[test]
fn reports_progress_while_it_builds() {
    let slow = "echo one/package; echo other/package; sleep 3.5
                echo echo built >\"$output\"; chmod +x \"$output\"";
    let build = Build::new("go1.99.0", "echo 'go: downloading x v1'; echo a; echo b; echo c", slow);
    let output = build.command().output().unwrap();
    let lines = String::from_utf8(output.stderr).unwrap();
    assert!(lines.contains("etcd: 2 of 3 packages compiled, 3 s\n"), "{lines}");
    assert!(lines.contains("kube-apiserver: built, "), "{lines}");
}
