//! The simulator as a program. It writes logs to stderr and never a secret or a token.

mod cli;
mod files;

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use auth0_simulator::Simulator;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, LogFormat};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = start_logging(&cli) {
        // Without a subscriber nothing would be seen, so clap prints it.
        clap::Error::raw(clap::error::ErrorKind::InvalidValue, format!("{error}\n")).exit();
    }
    let ran = tokio::runtime::Runtime::new().map_err(Failure::from).and_then(|runtime| {
        let ran = runtime.block_on(run(cli));
        // A thread may be waiting for stdin for ever.
        runtime.shutdown_background();
        ran
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the simulator can't go on");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(cli: &Cli) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&cli.log).map_err(|error| {
        format!("--log {:?} is not a filter ({error}): write a level or target=level", cli.log)
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

async fn run(cli: Cli) -> Result<(), Failure> {
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
    warn_about_exposure(&simulator);
    if let Some(path) = ready_file {
        files::write_ready(&path, &simulator)?;
    }

    let cause = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = stdin_closed(), if exit_on_stdin_eof => "end of stdin",
    };
    tracing::info!(cause, "stopping");
    simulator.shutdown().await;
    Ok(())
}

fn warn_about_exposure(simulator: &Simulator) {
    if !simulator.admin_addr().ip().is_loopback() {
        tracing::warn!(
            admin_addr = %simulator.admin_addr(),
            "the admin interface, which shows every secret, can be reached from outside"
        );
    }
}

/// Resolves when nobody can write to stdin any more. A plain thread waits, because a read of
/// stdin can't be cancelled.
async fn stdin_closed() {
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut buffer = [0; 1_024];
        let mut stdin = std::io::stdin();
        while matches!(stdin.read(&mut buffer), Ok(read) if read > 0) {}
        drop(sender);
    });
    // The sender goes without a message.
    let _ = receiver.await;
}
