//! The operator's binary.

use std::{io::Write as _, process::ExitCode};

use auth0_rotator::{
    api::crds_yaml,
    check,
    cli::{Cli, Command},
    dumps, run, telemetry,
};
use clap::{CommandFactory as _, Parser as _, error::ErrorKind};

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Crds => print_crds(),
        Command::Check(arguments) => {
            provide_tls();
            let ready = check::check(&arguments).await;
            ready.map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::Run(arguments) => {
            let terms = arguments.leader.terms().unwrap_or_else(|wrong| {
                Cli::command().error(ErrorKind::ValueValidation, wrong).exit()
            });
            provide_tls();
            let collector = arguments.otlp_endpoint.as_ref();
            let traces =
                match telemetry::start(arguments.log_format, arguments.log_level, collector) {
                    Ok(traces) => traces,
                    Err(error) => return fail(&error),
                };
            if let Err(error) = dumps::turn_off() {
                tracing::warn!(%error, "core dumps can't be turned off: one would have secrets in it");
            }
            #[cfg(feature = "failpoints")]
            auth0_rotator::failpoint::start();
            let ended = run::run(&arguments, terms).await.map_err(Into::into);
            traces.finish().await;
            ended
        }
    };
    done.unwrap_or_else(|error: Box<dyn std::error::Error>| fail(&*error))
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "auth0-rotator: {error}");
    ExitCode::FAILURE
}

/// One TLS provider for all: two that are linked together would have to be chosen from.
fn provide_tls() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn print_crds() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for (_, text) in crds_yaml()? {
        writeln!(out, "---\n{text}")?;
    }
    Ok(ExitCode::SUCCESS)
}
