//! The operator as a process.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// A running operator. It is killed when this is dropped.
pub(crate) struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    /// Starts the binary with a log file of its own in `folder`.
    pub(crate) fn start(folder: &Path, kubeconfig: &Path, arguments: &[&str]) -> Operator {
        Operator::start_with(folder, kubeconfig, arguments, &[])
    }

    /// The same with variables in its environment.
    pub(crate) fn start_with(
        folder: &Path,
        kubeconfig: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Operator {
        let count = fs::read_dir(folder).unwrap().count();
        let log = folder.join(format!("operator-{count}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_auth0-rotator"))
            .arg("run")
            .args(["--metrics-addr", "127.0.0.1:0", "--health-addr", "127.0.0.1:0"])
            .args(["--log-format", "json"])
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env("AUTH0_ROTATOR_LOG_LEVEL", "trace")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(folder.join(format!("operator-{count}.out"))).unwrap())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Operator { child, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines of the log so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The address of one of its servers, as its log tells.
    pub(crate) async fn address(&self, what: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = self.log();
            let found = log.iter().find(|line| line["what"] == what);
            if let Some(address) = found.and_then(|line| line["address"].as_str()) {
                return address.to_owned();
            }
            assert!(Instant::now() < deadline, "no {what} address in {}", self.log.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its metrics, as Prometheus would read them.
    pub(crate) async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.address("metrics").await);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// The value of a metric, given with its labels as it is written; 0 when it isn't there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn ready(&self) {
        let url = format!("http://{}/readyz", self.address("health").await);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(Instant::now() < deadline, "not ready: {}", self.log.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// What a path of its health server answers, with the status.
    pub(crate) async fn health(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address("health").await);
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The log has a line with that text.
    pub(crate) fn says(&self, text: &str) -> bool {
        let said = |line: &Value| line["message"].as_str().is_some_and(|it| it.contains(text));
        self.log().iter().any(said)
    }

    /// Sends it a signal, as `kill` names it.
    pub(crate) fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.pid().to_string());
        assert!(Command::new("kill").args([&signal, &pid]).status().unwrap().success());
    }

    /// Ends it without warning.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not stop: {}", self.log.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
