//! `make torture`: rotations while everything around them fails, and logins all the time.

mod cli;

mod clients;
mod fault_schedule;

mod clock;
mod context;
mod operators;
mod setup;

mod consumers;
mod faults;

mod audit_log;
mod checker;
mod history;
mod reconcile_audit;

mod idle;
mod scenario;
mod summary;

use std::process::ExitCode;

use clap::Parser as _;
use scenarios::program;

use crate::cli::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    program::run("torture", async |terminal, interrupts| {
        tokio::select! {
            has_passed = scenario::run(&options, terminal) => Ok(program::exit_code(has_passed?)),
            () = interrupts.wait() => Ok(program::interrupted(terminal)),
        }
    })
}
