//! Child processes that end with this one, whatever ends it.
//!
//! A process that is killed by SIGKILL can't clean up, and asking the kernel to do so
//! (`PR_SET_PDEATHSIG`) needs unsafe code and works on Linux only. So each server is the child of a
//! small shell process that waits for the end of a pipe, whose other end is held here.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

const SERVER: &str = include_str!("process.sh");
const FOLDER: &str = include_str!("dir.sh");

/// A program and the guardian that ends it.
#[derive(Debug)]
pub(crate) struct Guarded {
    guardian: Child,
    lifeline: Option<ChildStdin>,
    pid: u32,
    log: PathBuf,
}

impl Guarded {
    /// Starts `program`: its path, arguments, environment and folder count, its streams don't.
    ///
    /// The program's output is appended to `log`. `grace` is the time between SIGTERM and SIGKILL
    /// in [`terminate`](Self::terminate), rounded up to seconds. `errors` takes what the guardian
    /// itself has to say and stays open until the program is gone.
    pub(crate) fn spawn(
        program: &Command,
        log: &Path,
        grace: Duration,
        errors: Stdio,
    ) -> io::Result<Self> {
        let mut command = shell(SERVER, "server-guardian");
        command
            .arg(log)
            .arg(grace.as_secs_f64().ceil().to_string())
            .arg(program.get_program())
            .args(program.get_args())
            .stdout(Stdio::piped())
            .stderr(errors);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = program.get_current_dir() {
            command.current_dir(folder);
        }
        let mut guardian = command.spawn()?;
        let lifeline = guardian.stdin.take();
        let pid = read_pid(&mut guardian)?;
        Ok(Self { guardian, lifeline, pid, log: log.to_path_buf() })
    }

    /// The program's process id, not the guardian's.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// How the program ended, or `None` while it runs. A signal appears as the exit status 128 + n.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.guardian.try_wait()
    }

    /// Ends the program by SIGTERM, or by SIGKILL once its grace is over, and waits for that.
    pub(crate) fn terminate(&mut self) -> io::Result<ExitStatus> {
        self.order("terminate\n")
    }

    /// Ends the program by SIGKILL and waits for that.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        self.order("kill\n")
    }

    fn order(&mut self, line: &str) -> io::Result<ExitStatus> {
        if let Some(mut lifeline) = self.lifeline.take() {
            // It fails when the program has ended already.
            let _ = lifeline.write_all(line.as_bytes());
        }
        self.guardian.wait()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Who drops without a word wants it gone, not flushed.
        let _ = self.kill();
    }
}

/// Starts the process that removes `folder` once all write ends of the returned pipe are closed.
pub(crate) fn spawn_folder_guardian(folder: &Path) -> io::Result<(Child, ChildStdin)> {
    let mut guardian = shell(FOLDER, "folder-guardian")
        .arg(folder)
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pipe = guardian.stdin.take().ok_or_else(|| io::Error::other("no pipe to the guardian"))?;
    Ok((guardian, pipe))
}

fn shell(script: &str, name: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    // A group of its own: SIGINT from the terminal must reach the owner, not its servers.
    command.arg("-c").arg(script).arg(name).process_group(0).stdin(Stdio::piped());
    command
}

fn read_pid(guardian: &mut Child) -> io::Result<u32> {
    let reports = guardian.stdout.take().ok_or_else(|| io::Error::other("no pipe to the guardian"));
    let mut line = String::new();
    BufReader::new(reports?).read_line(&mut line)?;
    line.trim().parse().map_err(|_| {
        io::Error::other(format!("the guardian said {line:?} instead of a process id"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    /// Runs `script`, which says "ready" when it is.
    fn guarded(script: &str, log: &Path) -> Guarded {
        let mut program = Command::new("/bin/sh");
        program.args(["-c", script]);
        let guarded = Guarded::spawn(&program, log, Duration::from_secs(1), Stdio::null()).unwrap();
        eventually(|| fs::read_to_string(log).is_ok_and(|text| text.starts_with("ready\n")));
        guarded
    }

    fn eventually(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(30), "not within 30 s");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether the process runs. One that has ended but that nobody has waited for doesn't.
    fn is_alive(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        let is_zombie = stat.is_ok_and(|stat| stat.contains(") Z "));
        let mut kill = Command::new("/bin/sh");
        kill.args(["-c", "kill -0 \"$1\"", "sh"]).arg(pid.to_string()).stderr(Stdio::null());
        !is_zombie && kill.status().unwrap().success()
    }

    #[test]
    fn passes_on_output_and_status() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut guarded = guarded("echo ready; echo error >&2; exit 7", &log);
        assert_eq!(guarded.guardian.wait().unwrap().code(), Some(7));
        assert_eq!(fs::read_to_string(&log).unwrap(), "ready\nerror\n");
    }

    #[test]
    fn terminates_a_program_that_listens() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done";
        let mut guarded = guarded(script, &folder.path().join("log"));
        assert!(guarded.ended().unwrap().is_none());
        assert_eq!(guarded.terminate().unwrap().code(), Some(3));
    }

    #[test]
    fn kills_a_program_that_doesnt() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
        let mut guarded = guarded(script, &folder.path().join("log"));
        assert_eq!(guarded.terminate().unwrap().code(), Some(128 + 9));
    }

    #[test]
    fn a_program_ends_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
        let mut guarded = guarded(script, &folder.path().join("log"));
        let pid = guarded.pid();
        assert!(is_alive(pid));
        // As the kernel does when the owner is killed.
        drop(guarded.lifeline.take());
        eventually(|| !is_alive(pid));
    }

    #[test]
    fn a_program_goes_on_without_its_guardian_until_its_owner_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut guarded = guarded("echo ready; exec sleep 600", &folder.path().join("log"));
        guarded.guardian.kill().unwrap();
        guarded.guardian.wait().unwrap();
        assert!(is_alive(guarded.pid()));
        drop(guarded.lifeline.take());
        eventually(|| !is_alive(guarded.pid()));
    }

    #[test]
    fn a_program_that_is_not_there_says_so_in_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let program = Command::new("/no/such/program");
        let mut guarded =
            Guarded::spawn(&program, &log, Duration::from_secs(1), Stdio::null()).unwrap();
        assert_eq!(guarded.guardian.wait().unwrap().code(), Some(127));
        assert!(fs::read_to_string(&log).unwrap().contains("/no/such/program"));
    }
}
