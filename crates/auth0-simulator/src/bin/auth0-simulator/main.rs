//! The `auth0-simulator` binary. It logs to stderr and never logs a secret or a token.

mod cli;
mod clients_file;
mod ready_file;

use std::{
    io::{IsTerminal, Read},
    path::Path,
    process::ExitCode,
};

use auth0_simulator::Simulator;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, LogFormat};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = start_logging(&cli) {
        // Without a subscriber, the log would discard the error, so clap prints it.
        clap::Error::raw(clap::error::ErrorKind::InvalidValue, format!("{error}\n")).exit();
    }
    let result = tokio::runtime::Runtime::new().map_err(BoxError::from).and_then(|runtime| {
        let result = runtime.block_on(run(cli));
        // A thread may still be blocked on stdin.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the simulator failed");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(cli: &Cli) -> Result<(), BoxError> {
    let filter = EnvFilter::try_new(&cli.log).map_err(|error| {
        format!(
            "invalid --log {:?} ({error}): expected a level or a tracing filter, for example debug \
             or auth0_simulator=trace",
            cli.log
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match cli.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
}

async fn run(cli: Cli) -> Result<(), BoxError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let exit_on_stdin_eof = cli.exit_on_stdin_eof;
    let ready_file = cli.ready_file.clone();

    let simulator = cli.into_builder()?.start().await?;
    tracing::info!(
        url = simulator.url(),
        admin_url = simulator.admin_url(),
        domain = simulator.domain(),
        audience = simulator.audience(),
        "listening"
    );
    warn_if_exposed(&simulator);
    if let Some(path) = ready_file {
        ready_file::write(&path, &simulator)?;
    }

    let reason = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = stdin_closed(), if exit_on_stdin_eof => "end of stdin",
    };
    tracing::info!(reason, "stopping");
    simulator.shutdown().await;
    Ok(())
}

fn warn_if_exposed(simulator: &Simulator) {
    if !simulator.admin_addr().ip().is_loopback() {
        tracing::warn!(
            admin_addr = %simulator.admin_addr(),
            "the admin interface shows every secret and is not restricted to loopback"
        );
    }
}

/// Resolves at the end of stdin. Uses a separate thread, because a read of stdin can't be
/// canceled.
async fn stdin_closed() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut buffer = [0; 1_024];
        let mut stdin = std::io::stdin();
        while matches!(stdin.read(&mut buffer), Ok(read) if read > 0) {}
        drop(sender);
    });
    // The thread drops the sender without sending a message.
    let _ = receiver.await;
}

/// Reads a file. The error names it.
fn read_file(path: &Path) -> Result<Vec<u8>, BoxError> {
    std::fs::read(path)
        .map_err(|error| format!("failed to read {}: {error}", path.display()).into())
}
