//! Prometheus and promtool, as packaged by Debian.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

const HOW_TO_INSTALL: &str = "\
    The tests of metrics, alerts and the dashboard need prometheus and promtool, which the package \
    prometheus of Debian and Ubuntu contains. Run sh tests/monitoring/install.sh, which unpacks it \
    without starting a service, or add both to PATH";

/// Returns the path of a program that tests/monitoring/install.sh has unpacked, or its name if it
/// must be in PATH.
fn program(name: &str) -> PathBuf {
    if let Some(cache) = cache_dir() {
        let unpacked = cache.join("tools/prometheus/usr/bin").join(name);
        if unpacked.exists() {
            return unpacked;
        }
    }
    name.into()
}

fn cache_dir() -> Option<PathBuf> {
    if let Some(cache) = absolute_path("AUTH0_ROTATOR_CACHE") {
        return Some(cache);
    }
    let cache = match absolute_path("XDG_CACHE_HOME") {
        Some(cache) => cache,
        None => absolute_path("HOME")?.join(".cache"),
    };
    Some(cache.join("auth0-rotator"))
}

fn absolute_path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Runs promtool with a text on its standard input, and returns its output. Panics if promtool
/// reports a problem.
pub(super) fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program("promtool"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("can't run promtool: {error}. {HOW_TO_INSTALL}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}");
    writer.join().unwrap().unwrap();
    text.into_owned()
}

/// A running Prometheus, which is killed on drop.
pub(super) struct Prometheus {
    child: Child,
    folder: TempDir,
    log: PathBuf,
}

/// A series in the result of an instant query.
#[derive(Debug, Deserialize)]
pub(super) struct Sample {
    pub(super) metric: HashMap<String, String>,
    value: (f64, String),
}

impl Sample {
    pub(super) fn value(&self) -> f64 {
        self.value.1.parse().unwrap()
    }
}

impl Prometheus {
    /// Starts a Prometheus that scrapes `target` every second, with the settings of the
    /// ServiceMonitor of the chart, and evaluates `rules`.
    pub(super) fn start(target: &str, rules: &Path) -> Self {
        let folder = TempDir::with_prefix("auth0-rotator-prometheus-").unwrap();
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [{
                "job_name": "auth0-rotator",
                "honor_labels": true,
                "static_configs": [
                    { "targets": [target], "labels": { "namespace": "auth0-rotator" } },
                ],
            }],
        });
        let file = folder.path().join("prometheus.yaml");
        fs::write(&file, config.to_string()).unwrap();
        let log = folder.path().join("log");
        let child = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("can't run prometheus: {error}. {HOW_TO_INSTALL}"));
        Self { child, folder, log }
    }

    /// Returns the address on which Prometheus listens, from its log.
    async fn address(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = fs::read_to_string(&self.log).unwrap();
            let listens = log.lines().find(|line| line.contains("\"Listening on\""));
            if let Some((_, address)) = listens.and_then(|line| line.split_once("address=")) {
                return address.split_whitespace().next().unwrap().to_owned();
            }
            let folder = self.folder.path().display();
            assert!(Instant::now() < deadline, "Prometheus does not listen ({folder}):\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn get(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("http://{}/api/v1/{path}", self.address().await);
        let client = reqwest::Client::new();
        let request = if form.is_empty() { client.get(url) } else { client.post(url).form(form) };
        let response: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(response["status"], "success", "{form:?}: {response}");
        response["data"].clone()
    }

    /// Evaluates an expression, and returns the series of the result.
    pub(super) async fn query(&self, expression: &str) -> Vec<Sample> {
        let data = self.get("query", &[("query", expression)]).await;
        assert_eq!(data["resultType"], "vector", "{expression}");
        serde_json::from_value(data["result"].clone()).unwrap()
    }

    /// Returns the rules with the state of their last evaluation.
    pub(super) async fn rules(&self) -> Vec<Value> {
        let data = self.get("rules", &[]).await;
        let groups = data["groups"].as_array().unwrap().clone();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    /// Waits until the result of an expression is not empty.
    pub(super) async fn until(&self, expression: &str) -> Vec<Sample> {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let found = self.query(expression).await;
            if !found.is_empty() {
                return found;
            }
            assert!(Instant::now() < deadline, "always empty: {expression}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Fails if the process has exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
