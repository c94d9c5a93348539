//! The binary `auth0-rotator`.

use std::{error::Error, io::Write as _, process::ExitCode};

use auth0_rotator::{
    api::crds_yaml,
    cli::{Cli, Command, RunArgs, WaitReadyArgs},
    config::RunConfig,
    core_dumps, run, telemetry, wait_ready,
};
use clap::{CommandFactory as _, Parser as _, error::ErrorKind};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run(*args).await,
        Command::Crds => print_crds(),
        Command::WaitReady(args) => wait_ready(&args).await,
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "auth0-rotator: {error}");
        ExitCode::FAILURE
    })
}

async fn run(args: RunArgs) -> Result<ExitCode> {
    let config = RunConfig::try_from(args)
        .unwrap_or_else(|error| Cli::command().error(ErrorKind::ValueValidation, error).exit());
    install_tls_provider();
    let traces =
        telemetry::init(config.log_format, config.log_level, config.otlp_endpoint.as_ref())?;
    if let Err(error) = core_dumps::disable() {
        tracing::warn!(%error, "can't disable core dumps, which would contain secrets");
    }
    #[cfg(feature = "failpoints")]
    auth0_rotator::failpoint::init();
    let result = run::run(config).await;
    traces.flush().await;
    Ok(result?)
}

async fn wait_ready(args: &WaitReadyArgs) -> Result<ExitCode> {
    install_tls_provider();
    wait_ready::wait_ready(args).await?;
    Ok(ExitCode::SUCCESS)
}

fn print_crds() -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for (_, yaml) in crds_yaml()? {
        writeln!(out, "---\n{yaml}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Selects the TLS provider explicitly: rustls panics if several are linked and none is selected.
fn install_tls_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
