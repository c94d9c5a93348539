//! `make torture`: rotations while everything around them goes wrong, and logins all the time.

mod arena;
mod audit;
mod book;
mod chaos;
mod cli;
mod clock;
mod consumer;
mod fleet;
mod leaks;
mod mend;
mod operators;
mod plan;
mod settle;
mod stage;
mod summary;
mod tally;
mod torture;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use rig::interrupts::{INTERRUPTED, Interrupts};
use rig::terminal::Terminal;

use crate::cli::Options;

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
    tokio::select! {
        held = torture::perform(options, terminal) => {
            Ok(if held? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        () = interrupts.wait() => {
            terminal.clear_status();
            terminal.line("interrupted");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// Tells why it can't be run.
fn complain(terminal: &Terminal, error: &anyhow::Error) -> ExitCode {
    terminal.clear_status();
    let mut text = format!("torture: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    terminal.complain(&text);
    ExitCode::FAILURE
}
