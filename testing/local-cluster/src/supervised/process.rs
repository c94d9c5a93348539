//! Programs that end with this process.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::Duration,
};

use super::supervisor;

const SCRIPT: &str = include_str!("process.sh");

/// How the supervisor ends a [`SupervisedProcess`].
#[derive(Debug)]
pub struct SpawnOptions {
    /// Time between SIGTERM and SIGKILL in [`SupervisedProcess::terminate`], rounded up to whole
    /// seconds. 10 s by default.
    pub grace_period: Duration,
    /// Time between SIGTERM and SIGKILL when this process ends without having ended the program,
    /// rounded up to whole seconds. Zero sends SIGKILL at once. 2 s by default: by then nothing
    /// waits for the program's responses, and an API server that has lost its etcd would use up any
    /// time it gets.
    pub orphan_grace_period: Duration,
    /// Standard error of the supervisor, which stays open until the program has ended. `/dev/null`
    /// by default. [`SupervisedDir::attach`](super::SupervisedDir::attach) returns one that makes a
    /// directory outlive the program.
    pub supervisor_stderr: Stdio,
}

impl Default for SpawnOptions {
    fn default() -> Self {
        Self {
            grace_period: Duration::from_secs(10),
            orphan_grace_period: Duration::from_secs(2),
            supervisor_stderr: Stdio::null(),
        }
    }
}

/// Program that ends when this is dropped or when this process ends, even by SIGKILL.
///
/// Dropping it kills the program by SIGKILL.
#[derive(Debug)]
pub struct SupervisedProcess {
    supervisor: Child,
    /// `None` once the end of the program has been requested.
    pipe: Option<ChildStdin>,
    pid: u32,
    log: PathBuf,
}

impl SupervisedProcess {
    /// Starts `program` and appends its standard output and standard error to the file `log`.
    ///
    /// The command's path, arguments, environment variables and working directory are used; its
    /// standard streams and its process group are not, nor is [`Command::env_clear`]. A program
    /// that doesn't exist ends with status 127 and leaves a message in the log.
    ///
    /// # Errors
    ///
    /// When `/bin/sh` can't be started, or ends without having started the program.
    pub fn spawn(program: &Command, log: &Path, options: SpawnOptions) -> io::Result<Self> {
        let mut command = supervisor(SCRIPT, "process-supervisor");
        command
            .arg(log)
            .arg(whole_seconds(options.grace_period))
            .arg(whole_seconds(options.orphan_grace_period))
            .arg(program.get_program())
            .args(program.get_args())
            .stdout(Stdio::piped())
            .stderr(options.supervisor_stderr);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(dir) = program.get_current_dir() {
            command.current_dir(dir);
        }
        let mut supervisor = command.spawn()?;
        let pipe = supervisor.stdin.take();
        let pid = read_pid(&mut supervisor)?;
        Ok(Self { supervisor, pipe, pid, log: log.to_path_buf() })
    }

    /// The process id of the program, not of its supervisor. Signals such as SIGSTOP and SIGKILL
    /// can be sent to it directly.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that has the program's output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Returns the exit status, or `None` while the program runs. A signal appears as the exit
    /// status 128 + n.
    ///
    /// # Errors
    ///
    /// When the supervisor can't be waited for.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.supervisor.try_wait()
    }

    /// Ends the program by SIGTERM, or by SIGKILL after [`SpawnOptions::grace_period`], and waits
    /// for its end.
    ///
    /// # Errors
    ///
    /// When the supervisor can't be waited for.
    pub fn terminate(&mut self) -> io::Result<ExitStatus> {
        self.end("terminate\n")
    }

    /// Ends the program by SIGKILL and waits for its end.
    ///
    /// # Errors
    ///
    /// When the supervisor can't be waited for.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.end("kill\n")
    }

    /// Closes the pipe to the supervisor without a request, as the kernel does when SIGKILL ends
    /// this process, and returns at once. For tests of what happens then.
    pub fn orphan(&mut self) {
        self.pipe = None;
    }

    fn end(&mut self, request: &str) -> io::Result<ExitStatus> {
        if let Some(mut pipe) = self.pipe.take() {
            // Fails if the program has ended already.
            let _ = pipe.write_all(request.as_bytes());
        }
        self.supervisor.wait()
    }
}

impl Drop for SupervisedProcess {
    fn drop(&mut self) {
        // A caller that wants a clean shutdown calls `terminate` first.
        let _ = self.kill();
    }
}

fn whole_seconds(duration: Duration) -> String {
    duration.as_secs_f64().ceil().to_string()
}

fn read_pid(supervisor: &mut Child) -> io::Result<u32> {
    let Some(stdout) = supervisor.stdout.take() else {
        return Err(io::Error::other("the supervisor has no standard output"));
    };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    line.trim().parse().map_err(|_| {
        io::Error::other(format!("the supervisor wrote {line:?} instead of a process id"))
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    use super::*;

    /// Ignores SIGTERM.
    const STUBBORN: &str = "trap '' TERM; echo ready; while :; do sleep 0.01; done";

    fn options() -> SpawnOptions {
        SpawnOptions { grace_period: Duration::from_secs(1), ..SpawnOptions::default() }
    }

    /// Runs `script`, which writes "ready" first, and waits for that.
    fn spawn(script: &str, log: &Path, options: SpawnOptions) -> SupervisedProcess {
        let mut program = Command::new("/bin/sh");
        program.args(["-c", script]);
        let process = SupervisedProcess::spawn(&program, log, options).unwrap();
        eventually(|| fs::read_to_string(log).is_ok_and(|text| text.starts_with("ready\n")));
        process
    }

    fn eventually(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(30), "not within 30 s");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns whether the process runs. A zombie doesn't.
    fn is_alive(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        let is_zombie = stat.is_ok_and(|stat| stat.contains(") Z "));
        let mut kill = Command::new("/bin/sh");
        kill.args(["-c", "kill -0 \"$1\"", "sh"]).arg(pid.to_string()).stderr(Stdio::null());
        !is_zombie && kill.status().unwrap().success()
    }

    #[test]
    fn captures_output_and_exit_status() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = spawn("echo ready; echo error >&2; exit 7", &log, options());
        assert_eq!(process.supervisor.wait().unwrap().code(), Some(7));
        assert_eq!(fs::read_to_string(&log).unwrap(), "ready\nerror\n");
    }

    #[test]
    fn terminates_program_by_sigterm() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done";
        let mut process = spawn(script, &dir.path().join("log"), options());
        assert!(process.try_wait().unwrap().is_none());
        assert_eq!(process.terminate().unwrap().code(), Some(3));
    }

    #[test]
    fn kills_program_that_ignores_sigterm() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = spawn(STUBBORN, &dir.path().join("log"), options());
        assert_eq!(process.terminate().unwrap().code(), Some(128 + 9));
    }

    #[test]
    fn program_ends_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = spawn(STUBBORN, &dir.path().join("log"), options());
        let pid = process.pid();
        assert!(is_alive(pid));
        process.orphan();
        eventually(|| !is_alive(pid));
    }

    #[test]
    fn program_without_orphan_grace_period_is_killed_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let options = SpawnOptions { orphan_grace_period: Duration::ZERO, ..options() };
        let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done";
        let mut process = spawn(script, &dir.path().join("log"), options);
        process.orphan();
        assert_eq!(process.supervisor.wait().unwrap().code(), Some(128 + 9));
    }

    #[test]
    fn program_outlives_its_supervisor_until_its_owner_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = spawn("echo ready; exec sleep 600", &dir.path().join("log"), options());
        process.supervisor.kill().unwrap();
        process.supervisor.wait().unwrap();
        assert!(is_alive(process.pid()));
        process.orphan();
        eventually(|| !is_alive(process.pid()));
    }

    #[test]
    fn log_names_a_program_that_does_not_exist() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let program = Command::new("/no/such/program");
        let mut process = SupervisedProcess::spawn(&program, &log, options()).unwrap();
        assert_eq!(process.supervisor.wait().unwrap().code(), Some(127));
        assert!(fs::read_to_string(&log).unwrap().contains("/no/such/program"));
    }
}
