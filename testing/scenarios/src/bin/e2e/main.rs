//! `make e2e`: the chart on a real node, while applications in Pods log in.

mod cli;

mod scenario;
mod setup;
mod steps;

mod chart;
mod images;
mod languages;

mod consumers;
mod operator_pods;
mod pods;

mod assertions;
mod cleanup_check;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use local_cluster::node::{self, Isolation};
use scenarios::program::{self, Interrupts};
use testkit::terminal::Terminal;

use crate::{
    cli::{Command, Options},
    setup::E2e,
};

fn main() -> ExitCode {
    let options = Options::parse();
    program::run("e2e", async |terminal, interrupts| {
        match (&options.command, Isolation::current()) {
            (Some(Command::CleanupCheck), _) => cleanup_check::run(terminal).await,
            (_, None) => node::run_isolated().await,
            (Some(Command::CleanupCheckNode), Some(isolation)) => {
                cleanup_check::run_node(&isolation, interrupts).await
            }
            (None, Some(isolation)) => run(&options, &isolation, terminal, interrupts).await,
        }
    })
}

async fn run(
    options: &Options,
    isolation: &Isolation,
    terminal: &Terminal,
    interrupts: &mut Interrupts,
) -> Result<ExitCode> {
    let (mut e2e, has_passed) = tokio::select! {
        result = scenario::run(options, isolation, terminal) => result?,
        () = interrupts.wait() => return Ok(program::interrupted(terminal)),
    };
    if options.keep {
        print_instructions(&e2e, isolation);
        tokio::select! {
            error = e2e.supervise() => terminal.line(&format!("{error:#}")),
            () = interrupts.wait() => {}
        }
        e2e.env.stop_background();
    }
    e2e.shut_down().await?;
    Ok(program::exit_code(has_passed))
}

fn print_instructions(e2e: &E2e, isolation: &Isolation) {
    let (terminal, control_plane) = (&e2e.env.terminal, &e2e.env.control_plane);
    let heading =
        "Everything keeps running until Ctrl-C. In another terminal, for a shell inside:\n";
    terminal.heading(heading);
    let dir = isolation.dir().display();
    terminal.line(&format!("  nsenter --all --target $(pgrep -f {dir})"));
    let kubeconfig = control_plane.kubeconfig_path().display();
    terminal.line(&format!("  export KUBECONFIG={kubeconfig}"));
    terminal.line(&format!("  alias kubectl={}/kubectl", control_plane.assets_dir().display()));
}
