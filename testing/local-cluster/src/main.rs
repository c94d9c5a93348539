//! `control-plane`: a real etcd and kube-apiserver on loopback, from the command line.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use local_cluster::{Assets, Binary, ControlPlane, Progress};
use tokio::signal::unix::{SignalKind, signal};

const ABOUT: &str = "A real etcd and kube-apiserver on loopback, for tests and for trying things.

The executables are those in the folder that KUBEBUILDER_ASSETS names. When it isn't set, they are \
built once from Go modules, into control-plane/ in the first of AUTH0_ROTATOR_CACHE, \
XDG_CACHE_HOME/auth0-rotator and ~/.cache/auth0-rotator. That needs Go and a module proxy, and \
takes some minutes.";

/// A real etcd and kube-apiserver on loopback, for tests and for trying things.
#[derive(Parser)]
#[command(version, long_about = ABOUT)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build what is missing and print the folder of the servers' executables; a tool that is built
    /// from modules of its own is in another one, whose path is on a line of its own
    Build {
        /// Build these, too
        #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum)]
        with: Vec<Name>,
    },
    /// Print the folder of the executables, whatever is in it
    Path,
    /// Run the servers until SIGINT or SIGTERM
    Start(Start),
}

#[derive(Args)]
struct Start {
    /// Write the administrator's kubeconfig to this file, too; it is removed at the end
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Keep the data in this folder, and go on with what is there [default: a temporary folder]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Add a flag to the API server's command line, for example --apiserver-arg=--v=4
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    apiserver_arg: Vec<String>,
    /// Write an audit log by the policy in this file
    #[arg(long, value_name = "FILE")]
    audit_policy: Option<PathBuf>,
}

/// What can be built.
#[derive(Clone, Copy)]
struct Name(Binary);

impl ValueEnum for Name {
    fn value_variants<'a>() -> &'a [Self] {
        const NAMES: [Name; Binary::ALL.len()] = {
            let mut names = [Name(Binary::ALL[0]); Binary::ALL.len()];
            let mut at = 0;
            while at < names.len() {
                names[at] = Name(Binary::ALL[at]);
                at += 1;
            }
            names
        };
        &NAMES
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(self.0.name().into())
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Task::Build { with } => build(&with),
        Task::Path => Assets::locate().map_err(Into::into).and_then(|assets| print(assets.dir())),
        Task::Start(start) => run(start),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn build(with: &[Name]) -> Result<(), Box<dyn Error>> {
    let binaries: Vec<_> =
        Binary::SERVERS.into_iter().chain(with.iter().map(|name| name.0)).collect();
    let progress = Progress::default();
    let assets = Assets::provide(&binaries, &progress)?;
    print(assets.dir())?;
    for Name(binary) in with {
        let path = assets.ensure(*binary, &progress)?;
        if path.parent() != Some(assets.dir()) {
            print(&path)?;
        }
    }
    Ok(())
}

fn run(options: Start) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(start(options));
    // A build may be under way, which need not be waited for: its guardian ends it.
    runtime.shutdown_background();
    result
}

async fn start(options: Start) -> Result<(), Box<dyn Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut fixture = ControlPlane::options();
    if let Some(folder) = &options.data_dir {
        fixture = fixture.data_dir(folder);
    }
    for flag in &options.apiserver_arg {
        fixture = fixture.apiserver_arg(flag);
    }
    if let Some(file) = &options.audit_policy {
        let policy = std::fs::read_to_string(file)
            .map_err(|error| format!("can't read {}: {error}", file.display()))?;
        fixture = fixture.audit_policy(policy);
    }
    let control_plane = tokio::select! {
        started = fixture.start() => started?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let copy = options.kubeconfig.map(|path| Copy::new(control_plane.kubeconfig_path(), path));
    let copy = copy.transpose()?;
    let client = kube::Client::try_from(control_plane.client_config())?;
    let version = client.apiserver_version().await?.git_version;
    greet(&control_plane, &version, copy.as_ref())?;
    let result = tokio::select! {
        error = failure(&control_plane) => Err(error.into()),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    control_plane.stop().await?;
    result
}

/// Returns when a server has ended by itself.
async fn failure(control_plane: &ControlPlane) -> local_cluster::Error {
    loop {
        if let Err(error) = control_plane.check() {
            return error;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn greet(control_plane: &ControlPlane, version: &str, copy: Option<&Copy>) -> std::io::Result<()> {
    let kubeconfig = copy.map_or(control_plane.kubeconfig_path(), |copy| &copy.path);
    let mut out = std::io::stdout().lock();
    writeln!(out, "Kubernetes {version} is ready.\n")?;
    writeln!(out, "  export KUBECONFIG={}", kubeconfig.display())?;
    writeln!(out, "  kubectl get namespaces\n")?;
    let kubectl = control_plane.assets_dir().join(Binary::Kubectl.name());
    if kubectl.exists() {
        writeln!(out, "kubectl:  {}", kubectl.display())?;
    } else {
        writeln!(out, "kubectl:  not built; `control-plane build --with kubectl` builds it")?;
    }
    writeln!(out, "folder:   {}", control_plane.data_dir().display())?;
    writeln!(out, "servers:  {}", pids(control_plane))?;
    writeln!(out, "\nInterrupt (Ctrl-C) to end it.")?;
    out.flush()
}

fn pids(control_plane: &ControlPlane) -> String {
    let servers =
        [("etcd", control_plane.etcd_pid()), ("kube-apiserver", control_plane.apiserver_pid())];
    let running = servers.iter().filter_map(|(name, pid)| Some(format!("{name} {}", (*pid)?)));
    running.collect::<Vec<_>>().join(", ")
}

/// A copy of the kubeconfig, which is removed at the end, for it is of no use then.
struct Copy {
    path: PathBuf,
}

impl Copy {
    fn new(from: &Path, to: PathBuf) -> Result<Self, Box<dyn Error>> {
        // It keeps the permissions: only this user may read it.
        std::fs::copy(from, &to)
            .map_err(|error| format!("can't write {}: {error}", to.display()))?;
        Ok(Self { path: to })
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn print(path: &Path) -> Result<(), Box<dyn Error>> {
    Ok(writeln!(std::io::stdout(), "{}", path.display())?)
}

/// Writes `error` and what caused it to standard error.
fn complain(error: &dyn Error) {
    let mut message = format!("control-plane: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(&format!("\n  because: {error}"));
        cause = error.source();
    }
    let _ = writeln!(std::io::stderr(), "{message}");
}
