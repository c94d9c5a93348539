//! Measurements: memory and CPU time of a process, requests to the API server, and percentiles.

use std::{collections::BTreeMap, fmt, fs, ops::Range, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use serde_json::Value;

/// Memory of a process in bytes, as Linux reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMemory {
    pub resident: u64,
    /// Part of `resident` that the process allocated.
    pub anonymous: u64,
    pub peak_resident: u64,
}

impl ProcessMemory {
    /// Reads the memory of a process.
    pub fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Self::parse(&status).context("the process has no memory")
    }

    /// Parses `/proc/PID/status`.
    pub fn parse(status: &str) -> Option<Self> {
        let kibibytes = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        let (resident, peak) = (kibibytes("VmRSS:")?, kibibytes("VmHWM:")?);
        let anonymous = kibibytes("RssAnon:").unwrap_or_default();
        Some(Self {
            resident: resident * 1024,
            anonymous: anonymous * 1024,
            peak_resident: peak * 1024,
        })
    }
}

impl fmt::Display for ProcessMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, peak {}", mebibytes(self.resident), mebibytes(self.peak_resident))
    }
}

/// Returns the user and system time of a process so far. Linux reports hundredths of a second.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_cpu_time(&stat).context("the process has no CPU time")
}

/// Parses `/proc/PID/stat`.
fn parse_cpu_time(stat: &str) -> Option<Duration> {
    // The name of the program may contain spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11);
    let user: u64 = ticks.next()?.parse().ok()?;
    let system: u64 = ticks.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

/// Requests of one user to the API server, by verb and resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiRequests(pub BTreeMap<String, u64>);

impl ApiRequests {
    /// Counts the completed requests of a user in an audit log that were received in a period. The API
    /// server writes the log with a delay.
    pub fn of(audit_log: &Path, user: &str, period: Range<DateTime<Utc>>) -> Result<Self> {
        let mut requests = Self::default();
        for line in fs::read_to_string(audit_log)?.lines() {
            // The last line may be incomplete.
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
            let received = text("/requestReceivedTimestamp");
            let received = received.and_then(|time| time.parse::<DateTime<Utc>>().ok());
            let is_counted = text("/user/username") == Some(user)
                && text("/stage") == Some("ResponseComplete")
                && received.is_some_and(|received| period.contains(&received));
            if is_counted {
                *requests.0.entry(kind_of_request(&event)).or_default() += 1;
            }
        }
        Ok(requests)
    }

    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for ApiRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (kind, count) in &self.0 {
            write!(f, "{separator}{kind} {count}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Returns verb and resource of an audit event.
fn kind_of_request(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let kind = format!("{} {}", text(&event["verb"]), text(&object["resource"]));
    match object["subresource"].as_str() {
        Some(subresource) => format!("{kind}/{subresource}"),
        None => kind,
    }
}

/// Formats bytes in MiB.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Durations of several runs.
#[derive(Clone, Debug, Default)]
pub struct Durations(Vec<Duration>);

impl Durations {
    pub fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the duration that this share of the runs, from 0 to 1, did not exceed. Zero if there
    /// was no run.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
        sorted.get(index).copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Durations {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        Self(durations.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parses_memory_of_a_process() {
        let status =
            "Name:\tauth0-rotator\nVmHWM:\t   12000 kB\nVmRSS:\t  11000 kB\nRssAnon:\t 7000 kB\n";
        let memory = ProcessMemory::parse(status).unwrap();
        assert_eq!((memory.resident, memory.peak_resident), (11_264_000, 12_288_000));
        assert_eq!(memory.anonymous, 7_168_000);
        assert_eq!(memory.to_string(), "10.7 MiB, peak 11.7 MiB");
        assert_eq!(ProcessMemory::parse("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn parses_cpu_time_of_a_process() {
        let stat = "42 (auth0 (rotator)) S 1 1 1 0 -1 4194560 900 0 0 0 125 75 0 0 20 0 3 0 9";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse_cpu_time("42 (auth0-rotator) S 1"), None);
    }

    #[test]
    fn counts_the_requests_of_one_user_in_a_period() {
        let event = |user: &str, second: u32, subresource: Value| {
            json!({
                "stage": "ResponseComplete", "verb": "update", "user": { "username": user },
                "requestReceivedTimestamp": format!("2026-11-25T09:00:{second:02}.000000Z"),
                "objectRef": { "resource": "clientsecretrotations", "subresource": subresource },
            })
        };
        let events = [
            event("operator", 1, json!("status")),
            event("operator", 2, json!("status")),
            event("operator", 2, json!(null)),
            event("operator", 9, json!("status")),
            event("other", 2, json!("status")),
        ];
        let log = tempfile::NamedTempFile::new().unwrap();
        let lines = events.map(|event| format!("{event}\n")).concat();
        fs::write(log.path(), format!("{lines}{{\"incomplete")).unwrap();
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let period = time("2026-11-25T09:00:00Z")..time("2026-11-25T09:00:05Z");
        let requests = ApiRequests::of(log.path(), "operator", period).unwrap();
        assert_eq!(requests.total(), 3);
        let expected = "update clientsecretrotations 1, update clientsecretrotations/status 2";
        assert_eq!(requests.to_string(), expected);
    }

    #[test]
    fn quantiles_are_taken_from_the_sorted_durations() {
        let durations: Durations = [3, 1, 2].map(Duration::from_secs).into_iter().collect();
        assert_eq!(durations.quantile(0.5), Duration::from_secs(2));
        assert_eq!(durations.quantile(1.0), Duration::from_secs(3));
        assert_eq!(Durations::default().quantile(0.5), Duration::ZERO);
    }
}
