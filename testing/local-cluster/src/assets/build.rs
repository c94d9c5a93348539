//! Builds executables from the pinned Go modules, in the cache.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use super::{Binary, BuildEvent, Progress, go_toolchain::GoToolchain, is_executable};
use crate::{
    error::{AssetsError, FileContext as _},
    log_tail::log_tail,
    supervised::{SpawnOptions, SupervisedProcess},
};

const POLL_INTERVAL: Duration = Duration::from_millis(100);
const REPORT_INTERVAL: Duration = Duration::from_secs(3);
const GRACE_PERIOD: Duration = Duration::from_secs(5);
const WORKSPACE_PREFIX: &str = ".building-";

/// Builds `binary` in `dir`, unless another process has built it in the meantime.
///
/// The executable appears there atomically. A killed build leaves a workspace behind, which the next
/// build removes.
pub(crate) fn build(dir: &Path, binary: Binary, progress: &Progress) -> Result<(), AssetsError> {
    fs::create_dir_all(dir).context("create", dir)?;
    let _lock = lock(dir, progress)?;
    let target = dir.join(binary.name());
    if is_executable(&target) {
        return Ok(());
    }
    let toolchain = GoToolchain::find(binary)?;
    remove_abandoned(dir);
    let workspace = tempfile::Builder::new()
        .prefix(WORKSPACE_PREFIX)
        .tempdir_in(dir)
        .context("create a directory in", dir)?;
    let build = Build { binary, toolchain, workspace: workspace.path(), start: Instant::now() };
    build.write_modules()?;
    let packages = build.download(progress)?;
    let built = build.compile(packages, progress)?;
    fs::rename(&built, &target).context("move the new executable to", &target)?;
    progress.report(&BuildEvent::Built { binary: binary.name(), elapsed: build.start.elapsed() });
    Ok(())
}

/// Waits until no other process builds in `dir`. Dropping the returned file, or the end of this
/// process, releases the lock.
fn lock(dir: &Path, progress: &Progress) -> Result<File, AssetsError> {
    let path = dir.join(".lock");
    let file = File::create(&path).context("create", &path)?;
    let mut ticker = Ticker::new();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Ok(Err(source).context("lock", &path)?),
        }
        ticker.tick(|elapsed| progress.report(&BuildEvent::Waiting { elapsed }));
        thread::sleep(POLL_INTERVAL);
    }
}

/// Removes the workspaces of killed builds. The caller must hold the lock.
fn remove_abandoned(dir: &Path) {
    for entry in dir.read_dir().into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(WORKSPACE_PREFIX) {
            // A leftover workspace does no harm.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

struct Build<'a> {
    binary: Binary,
    toolchain: GoToolchain,
    workspace: &'a Path,
    start: Instant,
}

impl Build<'_> {
    /// Writes `go.mod` and `go.sum` to the workspace, so that the build needs no checkout.
    fn write_modules(&self) -> Result<(), AssetsError> {
        let modules = self.binary.module_set();
        for (name, content) in [("go.mod", modules.go_mod), ("go.sum", modules.go_sum)] {
            let path = self.workspace.join(name);
            fs::write(&path, content).context("write", &path)?;
        }
        Ok(())
    }

    /// Downloads the modules and returns the number of packages to compile. This is a separate step so
    /// that a network problem doesn't look like a failed compilation.
    fn download(&self, progress: &Progress) -> Result<usize, AssetsError> {
        let log = self.workspace.join("download.log");
        let mut go = self.toolchain.command(self.workspace);
        go.args(["list", "-deps", self.binary.package()]);
        let binary = self.binary.name();
        let status = self.run(&go, &log, |lines, elapsed| {
            let modules = lines.filter(|line| line.starts_with("go: downloading")).count();
            progress.report(&BuildEvent::Downloading { binary, modules, elapsed });
        })?;
        if !status.success() {
            let (proxy, tail) = (self.toolchain.proxy(), log_tail(&log));
            return Err(AssetsError::Download { binary, proxy, tail });
        }
        let output = fs::read_to_string(&log).context("read", &log)?;
        Ok(output.lines().filter(|line| !line.starts_with("go: ")).count())
    }

    /// Compiles and links, and returns the path of the executable.
    fn compile(&self, of: usize, progress: &Progress) -> Result<PathBuf, AssetsError> {
        let log = self.workspace.join("compile.log");
        let output = self.workspace.join(self.binary.name());
        let mut go = self.toolchain.command(self.workspace);
        go.args(["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags"])
            .arg(self.binary.module_set().linker_flags())
            .arg("-o")
            .arg(&output)
            .arg(self.binary.package());
        let binary = self.binary.name();
        let status = self.run(&go, &log, |lines, elapsed| {
            let packages = lines.count();
            progress.report(&BuildEvent::Compiling { binary, packages, of, elapsed });
        })?;
        if !status.success() {
            return Err(AssetsError::Compile { binary, status, tail: log_tail(&log) });
        }
        Ok(output)
    }

    /// Runs `go` to its end, and meanwhile calls `report` every few seconds with the lines that it
    /// has written.
    fn run(
        &self,
        go: &Command,
        log: &Path,
        report: impl Fn(std::str::Lines<'_>, Duration),
    ) -> Result<ExitStatus, AssetsError> {
        // Supervised, so that a build doesn't continue for minutes after this process was killed.
        let options = SpawnOptions { grace_period: GRACE_PERIOD, ..SpawnOptions::default() };
        let action = "run Go with the log";
        let mut go = SupervisedProcess::spawn(go, log, options).context(action, log)?;
        let mut ticker = Ticker::new();
        loop {
            if let Some(status) = go.try_wait().context(action, log)? {
                return Ok(status);
            }
            ticker.tick(|_| {
                let output = fs::read_to_string(log).unwrap_or_default();
                report(output.lines(), self.start.elapsed());
            });
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Timer that fires every [`REPORT_INTERVAL`], for the first time after one interval.
struct Ticker {
    start: Instant,
    last: Instant,
}

impl Ticker {
    fn new() -> Self {
        let start = Instant::now();
        Self { start, last: start }
    }

    fn tick(&mut self, report: impl FnOnce(Duration)) {
        if self.last.elapsed() >= REPORT_INTERVAL {
            self.last = Instant::now();
            report(self.start.elapsed());
        }
    }
}
