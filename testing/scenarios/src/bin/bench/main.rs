//! `make bench`: time, memory, CPU and requests of the operator for several numbers of resources, with
//! its real executable on a real API server. docs/performance/README.md explains the figures.

mod cli;

mod subject;

mod environment;
mod load;
mod process;
mod watch;

mod audit_log;
mod machine;

mod bare_writes;
mod rotations;
mod stages;

mod scenario;

mod figures;
mod plot;
mod report;
mod results;

use std::process::ExitCode;

use clap::Parser as _;
use scenarios::program;

use crate::cli::Options;

fn main() -> ExitCode {
    let options = Options::parse().resolve();
    program::run("bench", async |terminal, interrupts| {
        tokio::select! {
            done = scenario::run(&options, terminal) => done.map(|()| ExitCode::SUCCESS),
            () = interrupts.wait() => Ok(program::interrupted(terminal)),
        }
    })
}
