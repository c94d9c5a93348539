//! Measurements: memory of a process, and percentiles.

use std::{fmt, fs, time::Duration};

use anyhow::{Context as _, Result};

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
    fn quantiles_are_taken_from_the_sorted_durations() {
        let durations: Durations = [3, 1, 2].map(Duration::from_secs).into_iter().collect();
        assert_eq!(durations.quantile(0.5), Duration::from_secs(2));
        assert_eq!(durations.quantile(1.0), Duration::from_secs(3));
        assert_eq!(Durations::default().quantile(0.5), Duration::ZERO);
    }
}
