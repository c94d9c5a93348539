//! Prometheus and promtool, as Debian packages them.

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

/// Where tests/monitoring/install.sh puts programs; those in PATH otherwise.
fn program(name: &str) -> PathBuf {
    let given = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = given("XDG_CACHE_HOME").or_else(|| given("HOME").map(|home| home.join(".cache")));
    let cache = given("AUTH0_ROTATOR_CACHE").or(cache.map(|cache| cache.join("auth0-rotator")));
    let unpacked = cache.map(|cache| cache.join("tools/prometheus/usr/bin").join(name));
    unpacked.filter(|path| path.exists()).unwrap_or_else(|| name.into())
}

const NEEDED: &str = "The tests of metrics, alerts and the dashboard need prometheus and promtool. \
                      On Debian and Ubuntu they are in the package prometheus: run sh \
                      tests/monitoring/install.sh, which unpacks it without starting a service, or \
                      have both in PATH";

/// Runs promtool to its end, with text on its standard input. What it says, when it found nothing
/// wrong.
pub(super) fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program("promtool"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("promtool can't be run: {error}. {NEEDED}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    writer.join().unwrap().unwrap();
    said.into_owned()
}

/// A running Prometheus. It is killed when this is dropped.
pub(super) struct Prometheus {
    child: Child,
    folder: TempDir,
    log: PathBuf,
}

/// A series of an instant query's result.
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
    /// Scrapes that address each second, as the chart's ServiceMonitor has it scraped, and evaluates
    /// those rules.
    pub(super) fn start(target: &str, rules: &Path) -> Prometheus {
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
            .unwrap_or_else(|error| panic!("prometheus can't be run: {error}. {NEEDED}"));
        Prometheus { child, folder, log }
    }

    /// The address that it was given, as its log tells.
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

    async fn ask(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("http://{}/api/v1/{path}", self.address().await);
        let client = reqwest::Client::new();
        let request = if form.is_empty() { client.get(url) } else { client.post(url).form(form) };
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{form:?}: {answer}");
        answer["data"].clone()
    }

    /// The series that an expression gives now.
    pub(super) async fn query(&self, expression: &str) -> Vec<Sample> {
        let data = self.ask("query", &[("query", expression)]).await;
        assert_eq!(data["resultType"], "vector", "{expression}");
        serde_json::from_value(data["result"].clone()).unwrap()
    }

    /// The rules as Prometheus has evaluated them.
    pub(super) async fn rules(&self) -> Vec<Value> {
        let data = self.ask("rules", &[]).await;
        let groups = data["groups"].as_array().unwrap().clone();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    /// Waits until an expression gives something.
    pub(super) async fn until(&self, expression: &str) -> Vec<Sample> {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let found = self.query(expression).await;
            if !found.is_empty() {
                return found;
            }
            assert!(Instant::now() < deadline, "never anything: {expression}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
