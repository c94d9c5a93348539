//! CPU time and memory of a process, from the kernel.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use testkit::measure::ProcessMemory;
use tokio::task::JoinSet;

/// Linux reports CPU time in hundredths of a second, on all architectures.
const TICKS_PER_SECOND: f64 = 100.0;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// Part of `resident` that the process allocated.
    pub(crate) anonymous: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
}

impl Process {
    fn file(self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.pid).into()
    }

    /// Returns the user and system time so far, with a resolution of 10 ms.
    pub(crate) fn cpu_time(self) -> Result<Duration> {
        let stat = fs::read_to_string(self.file("stat"))?;
        // The name of the process, in parentheses, may contain spaces.
        let (_, fields) = stat.rsplit_once(") ").context("no process name")?;
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.sum::<Result<u64, _>>().context("no CPU time")?;
        Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
    }

    /// Returns the CPU time of each living thread so far in nanoseconds.
    pub(crate) fn thread_times(self) -> Result<ThreadTimes> {
        let mut times = HashMap::new();
        for entry in fs::read_dir(self.file("task"))? {
            let path = entry?.path();
            // A thread may have ended meanwhile.
            let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
            let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
            times.insert(path, nanoseconds.unwrap_or_default());
        }
        Ok(ThreadTimes(times))
    }

    /// Returns the memory exactly. Where that isn't permitted, it is approximate.
    pub(crate) fn memory(self) -> Result<Memory> {
        if let Ok(rollup) = fs::read_to_string(self.file("smaps_rollup"))
            && let Some(memory) = parse_rollup(&rollup)
        {
            return Ok(memory);
        }
        let ProcessMemory { resident, anonymous, .. } = ProcessMemory::of(self.pid)?;
        Ok(Memory { resident, anonymous })
    }

    /// Returns the highest resident memory since the start or the last reset.
    pub(crate) fn peak_resident(self) -> Result<u64> {
        Ok(ProcessMemory::of(self.pid)?.peak_resident)
    }

    /// Makes the present memory the peak.
    pub(crate) fn reset_peak(self) {
        // Without the permission, the peak is that since the start.
        let _ = fs::write(self.file("clear_refs"), "5");
    }
}

fn parse_rollup(text: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    Some(Memory { resident: bytes("Rss:")?, anonymous: bytes("Anonymous:")? })
}

/// CPU time by thread, which has a resolution of nanoseconds. It lacks threads that have ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadTimes(HashMap<PathBuf, u64>);

impl ThreadTimes {
    /// Returns the CPU time since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, time)| {
            time.saturating_sub(earlier.0.get(thread).copied().unwrap_or_default())
        });
        Duration::from_nanos(used.sum())
    }
}

/// Samples the anonymous memory of a process, of which the kernel records no peak.
pub(crate) struct PeakSampler {
    peak: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl PeakSampler {
    pub(crate) fn start(process: Process) -> Self {
        let peak = Arc::new(AtomicU64::new(0));
        let highest = Arc::clone(&peak);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Ok(memory) = ProcessMemory::of(process.pid) {
                highest.fetch_max(memory.anonymous, Ordering::Relaxed);
                tokio::time::sleep(SAMPLE_INTERVAL).await;
            }
        });
        Self { peak, _task: task }
    }

    /// Returns the highest anonymous memory so far.
    pub(crate) fn peak_anonymous(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_rollup_of_mappings() {
        let text = "5610-7ffe ---p 00000000 00:00 0    [rollup]\nRss:        9120 kB\n\
                    Pss:        9000 kB\nAnonymous:  4096 kB\n";
        let memory = parse_rollup(text).unwrap();
        assert_eq!((memory.resident, memory.anonymous), (9120 * 1024, 4096 * 1024));
    }

    #[test]
    fn reads_this_process() {
        let process = Process { pid: std::process::id() };
        assert!(process.memory().unwrap().resident > 0);
        assert!(process.peak_resident().unwrap() > 0);
        process.cpu_time().unwrap();
        let earlier = process.thread_times().unwrap();
        assert!(process.thread_times().unwrap().since(&earlier) < Duration::from_secs(10));
    }
}
