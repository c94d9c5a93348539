//! Checks that nothing is left of a node, however it ends: starts one with a running Pod, ends it in
//! different ways, and looks for directories, cgroups, mounts and processes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    runtime::wait::{await_condition, conditions},
};
use local_cluster::{
    Progress,
    node::{self, Isolation, Node},
};
use rustix::process::{Pid, Signal, kill_process};
use scenarios::program::Interrupts;
use serde_json::json;
use testkit::{cluster, terminal::Terminal};

/// Time in which everything has to be removed.
const DEADLINE: Duration = Duration::from_secs(20);
const START_DEADLINE: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const POD: &str = "sleeper";

/// Process that gets a signal.
#[derive(Clone, Copy)]
enum Receiver {
    /// The program outside of the isolation.
    Outside,
    /// The program inside.
    Inside,
}

/// One way to end a node.
struct Case {
    name: &'static str,
    receiver: Receiver,
    signal: Signal,
}

const CASES: [Case; 3] = [
    Case { name: "SIGTERM outside", receiver: Receiver::Outside, signal: Signal::TERM },
    Case { name: "SIGKILL outside", receiver: Receiver::Outside, signal: Signal::KILL },
    Case { name: "SIGKILL inside", receiver: Receiver::Inside, signal: Signal::KILL },
];

/// Runs the check.
pub(crate) async fn run(terminal: &Terminal) -> Result<ExitCode> {
    for case in CASES {
        let took = tokio::task::block_in_place(|| end_node(&case));
        let seconds = took.context(case.name)?.as_secs_f64();
        terminal.line(&format!("{:<17} nothing is left after {seconds:.1} s", case.name));
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a node with a Pod until SIGTERM. Runs inside the isolation.
pub(crate) async fn run_node(
    isolation: &Isolation,
    interrupts: &mut Interrupts,
) -> Result<ExitCode> {
    let control_plane = node::control_plane_options(isolation).start().await?;
    let node = Node::start(isolation, &control_plane, &Progress::default()).await?;
    let client = Client::try_from(control_plane.client_config())?;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": "default"},
        "spec": {"containers": [{"name": POD, "image": node::SANDBOX_IMAGE}]},
    });
    cluster::apply(&client, &[pod]).await?;
    let pods: Api<Pod> = Api::namespaced(client, "default");
    await_condition(pods, POD, conditions::is_pod_running()).await?;
    // The check waits for this line, and looks for the directory afterwards.
    writeln!(std::io::stdout(), "{}", isolation.dir().display())?;
    interrupts.wait().await;
    node.check()?;
    control_plane.stop().await?;
    Ok(ExitCode::SUCCESS)
}

/// Starts a node, ends it, and returns the time until nothing was left.
fn end_node(case: &Case) -> Result<Duration> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut program = command.arg("cleanup-check-node").stdout(Stdio::piped()).spawn()?;
    let dir = match wait_for_dir(&mut program) {
        Ok(dir) => dir,
        Err(error) => {
            let _ = program.kill();
            return Err(error);
        }
    };
    // The check would be meaningless if it could not find these while the node runs.
    let before = remains(&dir)?;
    for kind in ["directory", "cgroup", "process"] {
        if !before.iter().any(|item| item.starts_with(kind)) {
            bail!("no {kind} was found while the node ran");
        }
    }
    let pid = match case.receiver {
        Receiver::Outside => program.id(),
        Receiver::Inside => pid_inside(&dir)?,
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    let since = Instant::now();
    kill_process(pid, case.signal)?;
    program.wait()?;
    loop {
        let remains = remains(&dir)?;
        if remains.is_empty() {
            return Ok(since.elapsed());
        }
        if since.elapsed() > DEADLINE {
            bail!("left after {} s: {}", DEADLINE.as_secs(), remains.join(", "));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Waits until the Pod runs, and returns the directory of the isolation.
fn wait_for_dir(program: &mut Child) -> Result<PathBuf> {
    let output = program.stdout.take().context("the program has no output")?;
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let line = lines.recv_timeout(START_DEADLINE).context("no Pod runs")?;
    Ok(PathBuf::from(line))
}

/// Returns the process id of this program inside the isolation, seen from outside.
fn pid_inside(dir: &Path) -> Result<u32> {
    let this = std::env::current_exe()?;
    let processes = processes(dir)?;
    let inside = processes.iter().find(|process| {
        process.executable.as_deref() == Some(&*this) && process.inner_pid() != Some(process.pid)
    });
    Ok(inside.context("the program does not run inside")?.pid)
}

struct Process {
    pid: u32,
    executable: Option<PathBuf>,
}

impl Process {
    /// Returns its process id in its own PID namespace.
    fn inner_pid(&self) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        pids.split_whitespace().last()?.parse().ok()
    }
}

/// Returns the processes that have the isolation's environment, or are in its cgroup.
fn processes(dir: &Path) -> Result<Vec<Process>> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        // A process may end at any time.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let cgroups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(&*name) || cgroups.contains(&*name) {
            let executable = fs::read_link(entry.path().join("exe")).ok();
            found.push(Process { pid, executable });
        }
    }
    Ok(found)
}

/// Returns what belongs to an isolation, as seen from outside.
fn remains(dir: &Path) -> Result<Vec<String>> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let mut remains = Vec::new();
    if dir.exists() {
        remains.push(format!("directory {}", dir.display()));
    }
    let mut hierarchies = vec![PathBuf::from("/sys/fs/cgroup")];
    hierarchies.extend(fs::read_dir("/sys/fs/cgroup")?.flatten().map(|entry| entry.path()));
    for cgroup in hierarchies.iter().map(|hierarchy| hierarchy.join(&*name)) {
        if cgroup.exists() {
            remains.push(format!("cgroup {}", cgroup.display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mounts = mounts.lines().filter(|line| line.contains(&*name));
    remains.extend(mounts.map(|line| format!("mount {line}")));
    remains.extend(processes(dir)?.iter().map(|process| format!("process {}", process.pid)));
    Ok(remains)
}
