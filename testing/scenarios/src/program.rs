//! Entry point of the programs: errors, interruption and exit codes.

use std::process::ExitCode;

use anyhow::Result;
use testkit::terminal::Terminal;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of an interrupted program, as in shells: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Signals that request the end: Ctrl-C, SIGTERM, or a terminal that closes.
#[derive(Debug)]
pub struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// Waits for the next signal.
    pub async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Runs a program until it returns its exit code, and prints its error.
pub fn run(
    name: &str,
    program: impl AsyncFnOnce(&Terminal, &mut Interrupts) -> Result<ExitCode>,
) -> ExitCode {
    let terminal = Terminal::stdout();
    // With two providers linked, rustls could not choose one by itself.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let exit = run_on_runtime(&terminal, program);
    exit.unwrap_or_else(|error| {
        terminal.clear_status();
        let mut text = format!("{name}: {error}");
        for cause in error.chain().skip(1) {
            text.push_str(&format!("\n  caused by: {cause}"));
        }
        terminal.error(&text);
        ExitCode::FAILURE
    })
}

fn run_on_runtime(
    terminal: &Terminal,
    program: impl AsyncFnOnce(&Terminal, &mut Interrupts) -> Result<ExitCode>,
) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(async {
        let mut interrupts = Interrupts::new()?;
        program(terminal, &mut interrupts).await
    });
    // Doesn't wait for a build of the control plane, which its supervisor ends.
    runtime.shutdown_background();
    exit
}

/// Returns the exit code of a scenario that completed.
pub fn exit_code(has_passed: bool) -> ExitCode {
    if has_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reports the interruption of a scenario before its report.
pub fn interrupted(terminal: &Terminal) -> ExitCode {
    terminal.clear_status();
    terminal.line("interrupted");
    ExitCode::from(INTERRUPTED)
}
