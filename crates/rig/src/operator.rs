//! The operator: the real executable, as a child process that ends with this one.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const GUARDIAN: &str = include_str!("guardian.sh");

/// Proxies are for what is elsewhere, and everything here is on loopback.
const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// How many of the log's last lines are shown when the operator ends by itself.
const TAIL: usize = 5;

/// The operator, which may be killed and started again.
#[derive(Debug)]
pub struct Operator {
    start: Start,
    /// `None` while it is killed on purpose.
    process: Option<Process>,
}

/// How the operator is to be started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program.
    pub executable: PathBuf,
    /// Its command line.
    pub arguments: Vec<String>,
    /// How it gets to its cluster.
    pub kubeconfig: PathBuf,
    /// Takes the log, and is removed by the guardian when this process is killed.
    pub folder: PathBuf,
    /// The name of the log in the folder.
    pub log: String,
}

/// A process of the operator, and the guardian that ends it.
#[derive(Debug)]
struct Process {
    guardian: Child,
    lifeline: Option<ChildStdin>,
    pid: u32,
}

/// The executable that `--operator` names, or the one that was built together with this program,
/// which `make target` and `cargo build -p target` build.
///
/// # Errors
///
/// When it isn't there.
pub fn executable(given: Option<&Path>, target: &str) -> Result<PathBuf> {
    let path = match given {
        Some(path) => std::path::absolute(path)?,
        None => std::env::current_exe()?.with_file_name("auth0-rotator"),
    };
    if !path.is_file() {
        bail!(
            "the operator's executable is not at {}: run `make {target}`, or \
             `cargo build -p auth0-rotator -p {target}`, or name it with --operator",
            path.display()
        );
    }
    Ok(path)
}

/// The operator's command line.
#[must_use]
pub fn arguments(propagation_window: &str) -> Vec<String> {
    let flags = [
        "run",
        "--allow-http-endpoints",
        "--propagation-window",
        propagation_window,
        "--metrics-addr",
        "127.0.0.1:0",
        "--health-addr",
        "127.0.0.1:0",
        "--log-format",
        "json",
    ];
    flags.map(str::to_owned).to_vec()
}

impl Operator {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When there is no shell.
    pub fn start(start: Start) -> Result<Self> {
        let process = Some(Process::spawn(&start)?);
        Ok(Self { start, process })
    }

    /// Its process id, while it isn't killed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid)
    }

    /// The log of all its processes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.start.log()
    }

    /// How the operator ended by itself, with its last words; `None` while it runs.
    ///
    /// # Errors
    ///
    /// When it can't be asked for.
    pub fn ended(&mut self) -> Result<Option<String>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let Some(status) = process.guardian.try_wait()? else { return Ok(None) };
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        Ok(Some(obituary(status.code(), &log)))
    }

    /// Ends the operator by SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again after [`kill`](Self::kill).
    ///
    /// # Errors
    ///
    /// When there is no shell.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = Some(Process::spawn(&self.start)?);
        Ok(())
    }

    /// Stops it by SIGSTOP, so that it neither runs nor ends.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.context("the operator isn't running")?, signal)?;
        Ok(())
    }

    /// Asks the operator to end, and waits for that.
    ///
    /// # Errors
    ///
    /// When its end can't be waited for.
    pub fn terminate(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), |process| process.order("terminate\n"))
    }
}

impl Start {
    fn log(&self) -> PathBuf {
        self.folder.join(&self.log)
    }
}

impl Process {
    fn spawn(start: &Start) -> Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", GUARDIAN, "operator-guardian"])
            .args([&start.log(), &start.folder, &start.executable])
            .args(&start.arguments)
            .env("KUBECONFIG", &start.kubeconfig)
            // A group of its own: SIGINT from the terminal must reach the owner only.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // The flags have variables, and those of whoever runs this are for another operator.
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let unwanted =
            |name: &String| name.starts_with("AUTH0_ROTATOR_") || PROXIES.contains(&name.as_str());
        for name in names.filter(unwanted) {
            command.env_remove(name);
        }
        let mut guardian = command.spawn().context("can't run /bin/sh")?;
        let lifeline = guardian.stdin.take();
        let mut process = Self { guardian, lifeline, pid: 0 };
        process.pid = process.read_pid()?;
        Ok(process)
    }

    fn order(&mut self, line: &str) -> Result<()> {
        if let Some(mut lifeline) = self.lifeline.take() {
            // It fails when the operator has ended already.
            let _ = lifeline.write_all(line.as_bytes());
        }
        self.guardian.wait()?;
        Ok(())
    }

    fn read_pid(&mut self) -> Result<u32> {
        let reports = self.guardian.stdout.take().context("no pipe to the operator's guardian")?;
        let mut line = String::new();
        BufReader::new(reports).read_line(&mut line)?;
        line.trim().parse().context("the operator's guardian didn't start it")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.order("kill\n");
    }
}

fn obituary(code: Option<i32>, log: &str) -> String {
    let how = match code {
        Some(code @ 129..) => format!("signal {}", code - 128),
        Some(code) => format!("exit status {code}"),
        None => "a signal".to_owned(),
    };
    let lines: Vec<_> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n  ");
    format!("the operator ended by itself ({how}); its last words:\n  {tail}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A stand-in for the operator.
    fn start(script: &str, folder: &Path) -> Operator {
        Operator::start(Start {
            executable: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            kubeconfig: "/nowhere".into(),
            folder: folder.into(),
            log: "operator.log".into(),
        })
        .unwrap()
    }

    fn eventually_logs(operator: &Operator, wanted: &str) {
        eventually(|| fs::read_to_string(operator.log()).is_ok_and(|log| log == wanted));
    }

    fn eventually(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_alive(pid: u32) -> bool {
        let status = fs::read_to_string(format!("/proc/{pid}/stat"));
        status.is_ok_and(|status| !status.contains(") Z "))
    }

    #[test]
    fn its_end_is_noticed_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut operator = start("echo \"$KUBECONFIG\"; exit 3", folder.path());
        let ended = loop {
            if let Some(ended) = operator.ended().unwrap() {
                break ended;
            }
        };
        assert!(ended.contains("exit status 3"), "{ended}");
        assert!(ended.ends_with("\n  /nowhere"), "{ended}");
        assert!(folder.path().exists());
    }

    #[test]
    fn it_ends_when_asked_and_its_folder_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut operator =
            start("trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done", folder.path());
        eventually_logs(&operator, "up\n");
        assert!(operator.ended().unwrap().is_none());
        operator.terminate().unwrap();
        assert!(operator.ended().unwrap().unwrap().contains("exit status 0"));
        assert!(folder.path().exists());
    }

    #[test]
    fn it_is_killed_and_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut operator = start("echo up; exec sleep 600", folder.path());
        let first = operator.pid().unwrap();
        eventually_logs(&operator, "up\n");
        operator.kill();
        assert!(!is_alive(first) && operator.pid().is_none());
        assert!(operator.ended().unwrap().is_none(), "it did not end by itself");
        operator.start_again().unwrap();
        assert!(is_alive(operator.pid().unwrap()));
        eventually_logs(&operator, "up\nup\n");
    }

    #[test]
    fn it_stands_still_while_it_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let operator = start("echo up; while :; do sleep 0.01; done", folder.path());
        eventually_logs(&operator, "up\n");
        let state = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", operator.pid().unwrap()));
            stat.unwrap().rsplit_once(") ").unwrap().1.chars().next().unwrap()
        };
        operator.pause().unwrap();
        eventually(|| state() == 'T');
        operator.go_on().unwrap();
        eventually(|| state() != 'T');
    }

    #[test]
    fn it_ends_with_its_owner_and_the_folder_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fs::create_dir(&path).unwrap();
        let mut operator = start("exec sleep 600", &path);
        let pid = operator.pid().unwrap();
        assert!(is_alive(pid));
        // As the kernel does when the owner is killed.
        drop(operator.process.as_mut().unwrap().lifeline.take());
        eventually(|| !is_alive(pid) && !path.exists());
    }

    #[test]
    fn an_obituary_has_the_last_lines() {
        let told = obituary(Some(137), "1\n2\n3\n4\n5\n6\n7");
        assert!(told.contains("signal 9") && told.ends_with("words:\n  3\n  4\n  5\n  6\n  7"));
    }
}
