//! `local-cluster`: a real etcd and kube-apiserver on loopback, from the command line.

mod cli;

use std::{
    error::Error,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser as _;
use cli::{BuildArgs, Cli, Command, StartArgs};
use local_cluster::{Assets, Binary, ControlPlane, Options, Progress};
use tokio::signal::unix::{SignalKind, signal};

const CHECK_INTERVAL: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Build(args) => build(&args),
        Command::Path => print_path(),
        Command::Start(args) => run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&*error);
            ExitCode::FAILURE
        }
    }
}

fn build(args: &BuildArgs) -> Result<(), Box<dyn Error>> {
    let binaries: Vec<_> = Binary::SERVERS.into_iter().chain(args.with.iter().copied()).collect();
    let progress = Progress::default();
    let assets = Assets::provide(&binaries, &progress)?;
    print_line(assets.dir())?;
    for binary in &args.with {
        let path = assets.ensure(*binary, &progress)?;
        if path.parent() != Some(assets.dir()) {
            print_line(&path)?;
        }
    }
    Ok(())
}

fn print_path() -> Result<(), Box<dyn Error>> {
    print_line(Assets::locate()?.dir())
}

fn run(args: StartArgs) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(start(args));
    // Don't wait for a build that is in progress: its supervisor ends it.
    runtime.shutdown_background();
    result
}

async fn start(args: StartArgs) -> Result<(), Box<dyn Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let options = options(&args)?;
    let control_plane = tokio::select! {
        started = options.start() => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let kubeconfig = match args.kubeconfig {
        Some(path) => Some(KubeconfigCopy::create(control_plane.kubeconfig_path(), path)?),
        None => None,
    };
    let client = kube::Client::try_from(control_plane.client_config())?;
    let version = client.apiserver_version().await?.git_version;
    print_summary(&control_plane, &version, kubeconfig.as_ref())?;
    let result = tokio::select! {
        error = wait_for_exit(&control_plane) => Err(error.into()),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    control_plane.stop().await?;
    result
}

fn options(args: &StartArgs) -> Result<Options, Box<dyn Error>> {
    let mut options = ControlPlane::options();
    if let Some(dir) = &args.data_dir {
        options = options.data_dir(dir);
    }
    for flag in &args.apiserver_arg {
        options = options.apiserver_arg(flag);
    }
    if let Some(file) = &args.audit_policy {
        let policy = std::fs::read_to_string(file).map_err(|error| {
            format!(
                "can't read --audit-policy {}: {error}; it takes a YAML file with an \
                 audit.k8s.io/v1 Policy, for example --audit-policy ./audit-policy.yaml",
                file.display()
            )
        })?;
        options = options.audit_policy(policy);
    }
    Ok(options)
}

/// Returns the error of a server that has exited unexpectedly.
async fn wait_for_exit(control_plane: &ControlPlane) -> local_cluster::Error {
    loop {
        if let Err(error) = control_plane.check() {
            return error;
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

fn print_summary(
    control_plane: &ControlPlane,
    version: &str,
    kubeconfig: Option<&KubeconfigCopy>,
) -> io::Result<()> {
    let kubeconfig = kubeconfig.map_or(control_plane.kubeconfig_path(), |copy| &copy.path);
    let mut out = io::stdout().lock();
    writeln!(out, "Kubernetes {version} is ready.\n")?;
    writeln!(out, "  export KUBECONFIG={}", kubeconfig.display())?;
    writeln!(out, "  kubectl get namespaces\n")?;
    let kubectl = control_plane.assets_dir().join(Binary::Kubectl.name());
    if kubectl.exists() {
        writeln!(out, "kubectl:  {}", kubectl.display())?;
    } else {
        writeln!(out, "kubectl:  not built; run `local-cluster build --with kubectl` to build it")?;
    }
    writeln!(out, "data:     {}", control_plane.data_dir().display())?;
    writeln!(out, "servers:  {}", pids(control_plane))?;
    writeln!(out, "\nPress Ctrl-C to stop.")?;
    out.flush()
}

/// Returns the process ids of the running servers, for example `etcd 28490, kube-apiserver 28499`.
fn pids(control_plane: &ControlPlane) -> String {
    let servers =
        [("etcd", control_plane.etcd_pid()), ("kube-apiserver", control_plane.apiserver_pid())];
    let running = servers.iter().filter_map(|(name, pid)| Some(format!("{name} {}", (*pid)?)));
    running.collect::<Vec<_>>().join(", ")
}

/// Copy of the kubeconfig. It is removed when dropped, because it is useless without the servers.
struct KubeconfigCopy {
    path: PathBuf,
}

impl KubeconfigCopy {
    fn create(from: &Path, to: PathBuf) -> Result<Self, Box<dyn Error>> {
        // `copy` keeps the permissions, so that only this user can read the copy.
        std::fs::copy(from, &to).map_err(|error| {
            format!(
                "can't write --kubeconfig {}: {error}; it takes the path of a file to write, for \
                 example --kubeconfig ./kubeconfig",
                to.display()
            )
        })?;
        Ok(Self { path: to })
    }
}

impl Drop for KubeconfigCopy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn print_line(path: &Path) -> Result<(), Box<dyn Error>> {
    Ok(writeln!(io::stdout(), "{}", path.display())?)
}

/// Writes `error` and its causes to standard error.
fn print_error(error: &dyn Error) {
    let mut message = format!("local-cluster: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(&format!("\n  caused by: {error}"));
        cause = error.source();
    }
    let _ = writeln!(io::stderr(), "{message}");
}
