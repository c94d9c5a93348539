//! `make demo`: the operator rotates secrets on a real control plane while applications log in.

mod cli;

mod consumers;
mod login;
mod scenario;
mod setup;
mod user_actions;

mod assertions;
mod recording;
mod picture;
mod instructions;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use scenarios::program::{self, Interrupts};
use testkit::terminal::Terminal;

use crate::cli::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    program::run("demo", async |terminal, interrupts| run(&options, terminal, interrupts).await)
}

async fn run(
    options: &Options,
    terminal: &Terminal,
    interrupts: &mut Interrupts,
) -> Result<ExitCode> {
    let (mut demo, has_passed) = tokio::select! {
        result = scenario::run(options, terminal) => result?,
        () = interrupts.wait() => return Ok(program::interrupted(terminal)),
    };
    if options.keep {
        instructions::print(&demo);
        tokio::select! {
            error = demo.supervise() => {
                terminal.clear_status();
                terminal.line(&format!("{error:#}"));
            }
            () = interrupts.wait() => {}
        }
        demo.env.stop_background();
        terminal.line("Shutting down.");
    }
    demo.shut_down().await?;
    Ok(program::exit_code(has_passed))
}
