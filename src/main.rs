//! The operator's binary.

use std::{io::Write as _, process::ExitCode};

use auth0_rotator::{
    api::crds_yaml,
    cli::{Cli, Command},
    dumps, run, telemetry,
};
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Crds => print_crds(),
        Command::Run(arguments) => {
            telemetry::start(arguments.log_format, arguments.log_level);
            if let Err(error) = dumps::turn_off() {
                tracing::warn!(%error, "core dumps can't be turned off: one would have secrets in it");
            }
            // One TLS provider for all: two that are linked together would have to be chosen from.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            #[cfg(feature = "failpoints")]
            auth0_rotator::failpoint::start();
            run::run(&arguments).await.map_err(Into::into)
        }
    };
    done.unwrap_or_else(|error: Box<dyn std::error::Error>| {
        let _ = writeln!(std::io::stderr(), "auth0-rotator: {error}");
        ExitCode::FAILURE
    })
}

fn print_crds() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for (_, text) in crds_yaml()? {
        writeln!(out, "---\n{text}")?;
    }
    Ok(ExitCode::SUCCESS)
}
