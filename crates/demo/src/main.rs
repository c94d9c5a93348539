//! `make demo`: the operator rotates secrets on a real control plane while applications log in.

mod auth0;
mod cli;
mod consumer;
mod demo;
mod evidence;
mod keep;
mod script;
mod somebody;
mod stage;
mod summary;
mod verdict;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use rig::interrupts::{INTERRUPTED, Interrupts};
use rig::terminal::Terminal;

use crate::cli::Options;
use crate::stage::Stage;

fn main() -> ExitCode {
    let options = Options::parse();
    let terminal = Terminal::stdout();
    // One TLS provider for all: two that are linked together would have to be chosen from.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&terminal, &error.into()),
    };
    let ended = runtime.block_on(run(&options, &terminal));
    // A build may be under way, which need not be waited for: its guardian ends it.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| complain(&terminal, &error))
}

async fn run(options: &Options, terminal: &Terminal) -> Result<ExitCode> {
    let mut interrupts = Interrupts::new()?;
    let (mut stage, held) = tokio::select! {
        performed = demo::perform(options, terminal) => performed?,
        () = interrupts.wait() => {
            terminal.clear_status();
            terminal.line("interrupted");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    if options.keep {
        keep(&mut stage, terminal, &mut interrupts).await;
    }
    stage.end().await?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Leaves everything running until somebody interrupts, or until it can't go on.
async fn keep(stage: &mut Stage, terminal: &Terminal, interrupts: &mut Interrupts) {
    keep::tell(stage, terminal);
    tokio::select! {
        broken = stage.supervise() => {
            terminal.clear_status();
            terminal.line(&format!("{broken:#}"));
        }
        () = interrupts.wait() => {}
    }
    stage.quiet();
    terminal.line("Ending everything.");
}

/// Tells why the demo can't be run.
fn complain(terminal: &Terminal, error: &anyhow::Error) -> ExitCode {
    terminal.clear_status();
    let mut text = format!("demo: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    terminal.complain(&text);
    ExitCode::FAILURE
}
