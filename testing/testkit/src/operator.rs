//! The operator's executable as a child process that ends with this one.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use local_cluster::supervised::{SpawnOptions, SupervisedDir, SupervisedProcess};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::poll::{poll, poll_until};

/// Flags of every operator that a test starts.
const BASE_ARGUMENTS: [&str; 7] = [
    "run",
    "--metrics-addr",
    "127.0.0.1:0",
    "--health-addr",
    "127.0.0.1:0",
    "--log-format",
    "json",
];
/// Everything that the operator connects to is on loopback, so the user's proxies are removed.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// Time in which the operator has to end after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(40);
/// Number of log lines in the message about an unexpected exit.
const EXIT_TAIL_LINES: usize = 5;
/// Number of log lines in the message of a failed test.
const TAIL_LINES: usize = 25;

/// How to start the operator.
#[derive(Clone, Debug)]
pub struct OperatorCommand {
    pub executable: PathBuf,
    pub arguments: Vec<String>,
    /// Variables besides those of this process. `AUTH0_ROTATOR_*` and proxies are not inherited.
    pub environment: BTreeMap<String, String>,
    pub kubeconfig: PathBuf,
    /// Directory of the logs. Each process writes to a file of its own, `operator-N.log`.
    pub log_dir: Arc<SupervisedDir>,
}

/// Returns a temporary directory for the logs of operators, which is removed after the last of them
/// has ended, even if SIGKILL ends this process.
pub fn log_dir(prefix: &str) -> Result<Arc<SupervisedDir>> {
    let dir = tempfile::Builder::new().prefix(prefix).tempdir()?;
    Ok(Arc::new(SupervisedDir::new(dir)?))
}

/// Returns the path of the operator's executable, which Cargo builds into the directory of the
/// program that calls this, or into its parent if the program is a test or a benchmark. Fails if it
/// is missing.
pub fn executable() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let mut dir = program.parent().context("this program is in no directory")?;
    if dir.ends_with("deps") {
        dir = dir.parent().unwrap_or(dir);
    }
    let path = dir.join("auth0-rotator");
    if !path.is_file() {
        bail!(
            "the operator's executable is not at {}: run `cargo build -p auth0-rotator`",
            path.display()
        );
    }
    Ok(path)
}

impl OperatorCommand {
    /// Returns a command with the flags that every operator gets.
    pub fn new(executable: PathBuf, kubeconfig: PathBuf, log_dir: Arc<SupervisedDir>) -> Self {
        let arguments = BASE_ARGUMENTS.map(str::to_owned).to_vec();
        Self { executable, arguments, environment: BTreeMap::new(), kubeconfig, log_dir }
    }

    /// Appends arguments.
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Starts the operator.
    pub fn spawn(&self) -> Result<Operator> {
        let log = next_log(self.log_dir.path())?;
        let mut command = Command::new(&self.executable);
        command.args(&self.arguments);
        for (name, _) in std::env::vars_os() {
            let Some(text) = name.to_str() else { continue };
            if text.starts_with("AUTH0_ROTATOR_") || PROXY_VARIABLES.contains(&text) {
                command.env_remove(name);
            }
        }
        command.envs(&self.environment).env("KUBECONFIG", &self.kubeconfig);
        let options = SpawnOptions {
            grace_period: STOP_DEADLINE,
            orphan_grace_period: Duration::ZERO,
            supervisor_stderr: self.log_dir.attach()?,
        };
        let process = SupervisedProcess::spawn(&command, &log, options)
            .context("can't start the operator")?;
        Ok(Operator { process, metrics_token: None, _log_dir: self.log_dir.clone() })
    }
}

/// Creates the next log file of the directory.
fn next_log(dir: &Path) -> Result<PathBuf> {
    for number in 1.. {
        let path = dir.join(format!("operator-{number}.log"));
        match File::create_new(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("can't create {}", path.display()));
            }
        }
    }
    unreachable!("the numbers don't end")
}

/// Running operator. It is killed when this is dropped and when this process ends, even by SIGKILL.
#[derive(Debug)]
pub struct Operator {
    process: SupervisedProcess,
    /// Bearer token with which to read the metrics, if the operator asks for one.
    pub metrics_token: Option<String>,
    /// Dropped after the process, because dropping the directory waits for its processes.
    _log_dir: Arc<SupervisedDir>,
}

impl Operator {
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn log_path(&self) -> &Path {
        self.process.log()
    }

    /// Returns the lines of the log so far that are JSON.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Returns whether a log message contains `text`.
    pub fn has_logged(&self, text: &str) -> bool {
        self.log().iter().any(|line| message(line).contains(text))
    }

    /// Returns the exit status once the process has ended. A signal appears as 128 + n.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("the operator's supervisor can be waited for")
    }

    /// Fails with the last lines of the log once the process has ended.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.process.try_wait()? else { return Ok(()) };
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        bail!(describe_exit(status.code(), &log))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("not a process id")?, signal).context("can't signal the operator")
    }

    /// Ends the process by SIGKILL.
    pub fn kill(self) {
        drop(self);
    }

    /// Ends the process by SIGTERM and returns its exit status.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        Ok(tokio::task::spawn_blocking(move || self.process.terminate()).await??)
    }

    /// Waits until the process has ended by itself.
    pub async fn wait_for_exit(mut self) -> ExitStatus {
        let status = poll(async || self.exit_status()).await;
        status.unwrap_or_else(|| panic!("doesn't exit\n{}", self.log_tail()))
    }

    /// Waits until a log message contains `text`.
    pub async fn wait_for_log(&self, text: &str) {
        let has_logged = poll_until(async || self.has_logged(text)).await;
        assert!(has_logged, "never logs {text:?}\n{}", self.log_tail());
    }

    /// Waits until this replica is the leader.
    pub async fn wait_until_leader(&self) {
        self.wait_for_log("acquired leadership").await;
    }

    /// Waits until `/readyz` responds with success.
    pub async fn wait_until_ready(&self) {
        let url = format!("http://{}/readyz", self.address("health").await);
        let is_ready =
            async || reqwest::get(&url).await.is_ok_and(|response| response.status().is_success());
        assert!(poll_until(is_ready).await, "never ready\n{}", self.log_tail());
    }

    /// Returns the address of a server, `metrics` or `health`, once the log has it.
    pub async fn address(&self, server: &str) -> String {
        let address = poll(async || listening_address(&self.log(), server)).await;
        let path = self.log_path().display();
        address.unwrap_or_else(|| panic!("no {server} address in {path}"))
    }

    /// Returns the URL of a server, `metrics` or `health`, once the log has it.
    pub async fn url(&self, server: &str) -> String {
        self.address(server).await;
        listening_url(&self.log(), server).expect("the log has the address")
    }

    /// Returns the status and the body of a path of the health server.
    pub async fn health(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address("health").await);
        let response = reqwest::get(url).await.expect("the health server responds");
        let status = response.status().as_u16();
        (status, response.text().await.expect("the response has a body"))
    }

    /// Returns the metrics in Prometheus' text format.
    pub async fn metrics(&self) -> String {
        self.address("metrics").await;
        self.try_metrics().await.expect("the metrics server responds")
    }

    /// Returns the metrics, or `None` if the operator doesn't serve them.
    pub async fn try_metrics(&self) -> Option<String> {
        let url = format!("{}/metrics", listening_url(&self.log(), "metrics")?);
        let mut request = http_client().get(url);
        if let Some(token) = &self.metrics_token {
            request = request.bearer_auth(token);
        }
        request.send().await.ok()?.text().await.ok()
    }

    /// Returns the value of a metric, which is named with its labels as they are written; 0 if it
    /// is missing.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a metric is a number"))
    }

    /// Returns how many resources were reconciled, or recognized as settled, since the operator started.
    /// One that was reconciled several times counts as often.
    pub async fn considered(&self) -> f64 {
        let metric = |result: &str| format!("auth0_rotator_reconcile_total{{result=\"{result}\"}}");
        self.metric(&metric("ok")).await + self.metric(&metric("unchanged")).await
    }

    /// Returns the last lines of the log.
    pub fn log_tail(&self) -> String {
        let lines = self.log();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        tail.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Returns whether SIGKILL ended a process.
pub fn is_killed(status: ExitStatus) -> bool {
    status.code() == Some(128 + Signal::KILL.as_raw())
}

fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}

/// Returns a client for the operator's servers, whose certificate may be self-signed.
pub fn http_client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
    client.build().expect("the client can be built")
}

fn listening_url(log: &[Value], server: &str) -> Option<String> {
    let line = log.iter().find(|line| message(line) == "listening" && line["what"] == server)?;
    Some(format!("{}://{}", line["scheme"].as_str()?, line["address"].as_str()?))
}

fn listening_address(log: &[Value], server: &str) -> Option<String> {
    let line = log.iter().find(|line| message(line) == "listening" && line["what"] == server)?;
    line["address"].as_str().map(str::to_owned)
}

fn describe_exit(code: Option<i32>, log: &str) -> String {
    let how = match code {
        Some(code @ 129..) => format!("signal {}", code - 128),
        Some(code) => format!("exit status {code}"),
        None => "a signal".to_owned(),
    };
    let lines: Vec<_> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(EXIT_TAIL_LINES)..].join("\n  ");
    format!("the operator exited unexpectedly ({how}); its last log lines:\n  {tail}")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Returns a command that runs a shell script instead of the operator.
    fn script(text: &str) -> OperatorCommand {
        let log_dir = log_dir("testkit-").unwrap();
        let command = OperatorCommand::new("/bin/sh".into(), "/nowhere".into(), log_dir);
        OperatorCommand { arguments: vec!["-c".into(), text.into()], ..command }
    }

    fn wait_for_text(operator: &Operator, expected: &str) {
        eventually(|| fs::read_to_string(operator.log_path()).is_ok_and(|log| log == expected));
    }

    fn eventually(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_alive(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn reports_an_unexpected_exit_with_the_last_log_lines() {
        let mut operator = script("echo \"$KUBECONFIG\"; exit 3").spawn().unwrap();
        let error = loop {
            if let Err(error) = operator.check() {
                break error.to_string();
            }
        };
        assert!(error.contains("exit status 3"), "{error}");
        assert!(error.ends_with("\n  /nowhere"), "{error}");
    }

    #[tokio::test]
    async fn terminates_and_keeps_the_log_dir() {
        let command = script("trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done");
        let mut operator = command.spawn().unwrap();
        wait_for_text(&operator, "up\n");
        assert!(operator.exit_status().is_none());
        assert_eq!(operator.terminate().await.unwrap().code(), Some(0));
        assert!(command.log_dir.path().exists());
    }

    #[test]
    fn each_process_has_a_log_of_its_own() {
        let command = script("echo up; exec sleep 600");
        let first = command.spawn().unwrap();
        wait_for_text(&first, "up\n");
        let pid = first.pid();
        first.kill();
        assert!(!is_alive(pid));
        let second = command.spawn().unwrap();
        assert!(is_alive(second.pid()));
        wait_for_text(&second, "up\n");
        assert!(second.log_path().ends_with("operator-2.log"));
    }

    #[test]
    fn sigstop_pauses_and_sigcont_resumes() {
        let operator = script("echo up; while :; do sleep 0.01; done").spawn().unwrap();
        wait_for_text(&operator, "up\n");
        let state = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", operator.pid())).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
        };
        operator.signal(Signal::STOP).unwrap();
        eventually(|| state() == 'T');
        operator.signal(Signal::CONT).unwrap();
        eventually(|| state() != 'T');
    }

    #[test]
    fn operator_and_log_dir_go_away_with_their_owner() {
        let command = script("exec sleep 600");
        let path = command.log_dir.path().to_path_buf();
        let mut operator = command.spawn().unwrap();
        let pid = operator.pid();
        assert!(is_alive(pid));
        // As the kernel does when the owner is killed.
        operator.process.orphan();
        eventually(|| !is_alive(pid));
        drop((operator, command));
        assert!(!path.exists());
    }

    #[test]
    fn exit_description_has_the_last_lines() {
        let text = describe_exit(Some(137), "1\n2\n3\n4\n5\n6\n7");
        assert!(text.contains("signal 9") && text.ends_with("lines:\n  3\n  4\n  5\n  6\n  7"));
    }

    #[test]
    fn log_has_the_addresses_of_the_servers() {
        let line = |server, address| serde_json::json!({"message": "listening", "what": server, "address": address});
        let log = [line("metrics", "127.0.0.1:2"), line("health", "127.0.0.1:3")];
        assert_eq!(listening_address(&log, "metrics").as_deref(), Some("127.0.0.1:2"));
        assert_eq!(listening_address(&[], "metrics"), None);
    }
}
