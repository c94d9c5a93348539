//! Builds executables from the pinned Go modules into the cache.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::assets::progress::{BuildEvent, Progress};
use crate::assets::toolchain::Toolchain;
use crate::assets::{Binary, is_executable};
use crate::error::{AssetsError, FileContext as _};
use crate::log_tail;
use crate::supervised::Guarded;

const POLL: Duration = Duration::from_millis(100);
const REPORT_EVERY: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_secs(5);
const WORKSPACE_PREFIX: &str = ".building-";

/// Builds `binary` into `folder`, unless another process did so meanwhile.
///
/// It appears there in one step, complete. A build that was killed leaves a workspace, which the
/// next one removes.
pub(crate) fn build(folder: &Path, binary: Binary, progress: &Progress) -> Result<(), AssetsError> {
    fs::create_dir_all(folder).context("create", folder)?;
    let _lock = lock(folder, progress)?;
    let target = folder.join(binary.name());
    if is_executable(&target) {
        return Ok(());
    }
    let toolchain = Toolchain::find(binary)?;
    remove_abandoned(folder);
    let workspace = tempfile::Builder::new()
        .prefix(WORKSPACE_PREFIX)
        .tempdir_in(folder)
        .context("create a folder in", folder)?;
    let build = Build { binary, toolchain, workspace: workspace.path(), start: Instant::now() };
    build.write_modules()?;
    let packages = build.download(progress)?;
    let built = build.compile(packages, progress)?;
    fs::rename(&built, &target).context("move the new executable to", &target)?;
    progress.report(&BuildEvent::Built { binary: binary.name(), elapsed: build.start.elapsed() });
    Ok(())
}

/// Waits until nobody else builds into `folder`. The lock ends with the returned file, or with the
/// process.
fn lock(folder: &Path, progress: &Progress) -> Result<File, AssetsError> {
    let path = folder.join(".lock");
    let file = File::create(&path).context("create", &path)?;
    let mut ticker = Ticker::new();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Ok(Err(source).context("lock", &path)?),
        }
        ticker.tick(|elapsed| progress.report(&BuildEvent::Waiting { elapsed }));
        thread::sleep(POLL);
    }
}

/// Removes what killed builds left. Only the holder of the lock may do so.
fn remove_abandoned(folder: &Path) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(WORKSPACE_PREFIX) {
            // What can't be removed is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

struct Build<'a> {
    binary: Binary,
    toolchain: Toolchain,
    workspace: &'a Path,
    start: Instant,
}

impl Build<'_> {
    /// Writes the modules' files to the workspace, so that nothing depends on a checkout being
    /// there, or writable.
    fn write_modules(&self) -> Result<(), AssetsError> {
        let modules = self.binary.modules();
        for (name, content) in [("go.mod", modules.go_mod), ("go.sum", modules.go_sum)] {
            let path = self.workspace.join(name);
            fs::write(&path, content).context("write", &path)?;
        }
        Ok(())
    }

    /// Fetches the modules, apart from the build so that it is clear what failed. Returns the
    /// number of packages to compile.
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
            let (proxy, tail) = (self.toolchain.proxy(), log_tail::tail(&log));
            return Err(AssetsError::Download { binary, proxy, tail });
        }
        let output = fs::read_to_string(&log).context("read", &log)?;
        Ok(output.lines().filter(|line| !line.starts_with("go: ")).count())
    }

    /// Compiles and links. Returns the path of the executable.
    fn compile(&self, of: usize, progress: &Progress) -> Result<PathBuf, AssetsError> {
        let log = self.workspace.join("compile.log");
        let output = self.workspace.join(self.binary.name());
        let mut go = self.toolchain.command(self.workspace);
        go.args(["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags"])
            .arg(self.binary.modules().linker_flags())
            .arg("-o")
            .arg(&output)
            .arg(self.binary.package());
        let binary = self.binary.name();
        let status = self.run(&go, &log, |lines, elapsed| {
            let packages = lines.count();
            progress.report(&BuildEvent::Compiling { binary, packages, of, elapsed });
        })?;
        if !status.success() {
            return Err(AssetsError::Compile { binary, status, tail: log_tail::tail(&log) });
        }
        Ok(output)
    }

    /// Runs `go` to its end and calls `report` every few seconds with the lines it has written.
    fn run(
        &self,
        go: &Command,
        log: &Path,
        report: impl Fn(std::str::Lines<'_>, Duration),
    ) -> Result<ExitStatus, AssetsError> {
        // Under a guardian, so that a build doesn't go on for minutes when its owner is killed.
        let context = "run Go in";
        let mut go = Guarded::spawn(go, log, GRACE, Stdio::null()).context(context, log)?;
        let mut ticker = Ticker::new();
        loop {
            if let Some(status) = go.ended().context(context, log)? {
                return Ok(status);
            }
            ticker.tick(|_| {
                let output = fs::read_to_string(log).unwrap_or_default();
                report(output.lines(), self.start.elapsed());
            });
            thread::sleep(POLL);
        }
    }
}

/// Calls back every [`REPORT_EVERY`], first after one interval.
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
        if self.last.elapsed() >= REPORT_EVERY {
            self.last = Instant::now();
            report(self.start.elapsed());
        }
    }
}
