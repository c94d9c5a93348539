//! Shows that nothing is left of a node, whatever ends it: starts one with a running pod, ends it in
//! different ways, and looks for folders, control groups, mounts and processes.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};
use local_cluster::Progress;
use local_cluster::node::{Isolation, Node};
use rig::cluster;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// How long the kernel and the one who cleans up may take.
const DEADLINE: Duration = Duration::from_secs(20);
const START: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
const POD: &str = "sleeper";

/// Which process gets which signal.
#[derive(Clone, Copy)]
enum End {
    Outside(Signal),
    Inside(Signal),
}

const ENDS: [(&str, End); 3] = [
    ("SIGTERM to the program", End::Outside(Signal::TERM)),
    ("SIGKILL to the program", End::Outside(Signal::KILL)),
    ("SIGKILL to the program inside", End::Inside(Signal::KILL)),
];

#[tokio::main]
async fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    show().await.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "ends: {error:#}");
        ExitCode::FAILURE
    })
}

async fn show() -> Result<ExitCode> {
    if let Some(enclosure) = Isolation::current() {
        run(&enclosure).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if std::env::args().nth(1).is_some_and(|argument| argument == "run") {
        return local_cluster::node::run_isolated().await;
    }
    for (name, end) in ENDS {
        let took = tokio::task::spawn_blocking(move || try_end(end)).await?;
        let took = took.with_context(|| name.to_owned())?;
        let seconds = took.as_secs_f64();
        writeln!(std::io::stdout(), "{name:<30}  nothing is left after {seconds:.1} s")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Inside: runs a node with a pod until SIGTERM.
async fn run(enclosure: &Isolation) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let control_plane = local_cluster::node::control_plane_options(enclosure).start().await?;
    let node = Node::start(enclosure, &control_plane, &Progress::default()).await?;
    let client = Client::try_from(control_plane.client_config())?;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": "default"},
        "spec": {"containers": [{"name": POD, "image": local_cluster::node::SANDBOX_IMAGE}]},
    });
    cluster::apply(&client, &[pod]).await?;
    let pods: Api<Pod> = Api::namespaced(client, "default");
    await_condition(pods, POD, conditions::is_pod_running()).await?;
    // Who waits for this also learns what to look for.
    let this = std::process::id();
    writeln!(std::io::stdout(), "{this} {}", enclosure.dir().display())?;
    terminate.recv().await;
    node.check()?;
    Ok(control_plane.stop().await?)
}

/// Starts a node, ends it, and returns how long it took until nothing was left.
fn try_end(end: End) -> Result<Duration> {
    let mut program =
        Command::new(std::env::current_exe()?).arg("run").stdout(Stdio::piped()).spawn()?;
    let started = started(&mut program);
    let folder = match started {
        Ok(folder) => folder,
        Err(error) => {
            let _ = program.kill();
            return Err(error);
        }
    };
    let before = left(&folder)?;
    // What is not seen now would not be missed below.
    for kind in ["folder", "control group", "process"] {
        if !before.iter().any(|trace| trace.starts_with(kind)) {
            bail!("no {kind} was found while the node ran");
        }
    }
    let (pid, signal) = match end {
        End::Outside(signal) => (program.id(), signal),
        End::Inside(signal) => (inside(&folder)?, signal),
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("it is no process")?;
    let since = Instant::now();
    kill_process(pid, signal)?;
    program.wait()?;
    loop {
        let left = left(&folder)?;
        if left.is_empty() {
            return Ok(since.elapsed());
        }
        if since.elapsed() > DEADLINE {
            bail!("left after {} s: {}", DEADLINE.as_secs(), left.join(", "));
        }
        std::thread::sleep(POLL);
    }
}

/// Waits until the pod runs, and returns the enclosure's folder.
fn started(program: &mut Child) -> Result<PathBuf> {
    let output = program.stdout.take().context("it has no output")?;
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let line = lines.recv_timeout(START).context("no pod ran")?;
    let (_, folder) = line.split_once(' ').with_context(|| format!("it says: {line}"))?;
    Ok(PathBuf::from(folder))
}

/// The process of this program that is inside: the first one has started it.
fn inside(folder: &Path) -> Result<u32> {
    let this = std::env::current_exe()?;
    let is_it = |process: &&Process| {
        process.executable.as_deref() == Some(&*this) && process.inner_pid() != Some(process.pid)
    };
    let processes = processes(folder)?;
    let found = processes.iter().find(is_it).context("it is not to be found")?;
    Ok(found.pid)
}

struct Process {
    pid: u32,
    executable: Option<PathBuf>,
}

impl Process {
    /// Its number in its own PID namespace.
    fn inner_pid(&self) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        numbers.split_whitespace().last()?.parse().ok()
    }
}

/// The processes that were started with the enclosure's environment, or are in its control group.
fn processes(folder: &Path) -> Result<Vec<Process>> {
    let group = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        // A process may end at any time, and then has neither.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let is_ours = String::from_utf8_lossy(&environment).contains(&group);
        if is_ours || groups.contains(&group) {
            let executable = fs::read_link(entry.path().join("exe")).ok();
            found.push(Process { pid, executable });
        }
    }
    Ok(found)
}

/// What there is outside of an enclosure that belongs to it.
fn left(folder: &Path) -> Result<Vec<String>> {
    let group = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut left = Vec::new();
    if folder.exists() {
        left.push(format!("folder {}", folder.display()));
    }
    for hierarchy in [Path::new("/sys/fs/cgroup").to_path_buf()]
        .into_iter()
        .chain(fs::read_dir("/sys/fs/cgroup")?.flatten().map(|entry| entry.path()))
    {
        if hierarchy.join(&group).exists() {
            left.push(format!("control group {}", hierarchy.join(&group).display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    left.extend(
        mounts.lines().filter(|line| line.contains(&group)).map(|line| format!("mount {line}")),
    );
    left.extend(processes(folder)?.iter().map(|process| format!("process {}", process.pid)));
    Ok(left)
}
