//! `make e2e`: the chart on a real node, while applications in pods log in.

mod auth0;
mod chart;
mod cli;
mod consumers;
mod images;
mod languages;
mod operator;
mod pods;
mod script;
mod stage;
mod steps;
mod verdict;

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::Result;
use clap::Parser as _;
use local_cluster::node::Isolation;
use rig::terminal::Terminal;
use testbed::account::account;
use testbed::leaks::{self, Place};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Options;
use crate::pods::Seen;
use crate::script::Script;
use crate::stage::Stage;
use crate::verdict::Facts;

/// As shells have it: 128 and SIGINT.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let terminal = Terminal::stdout();
    // One TLS provider for all: two that are linked together would have to be chosen from.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ended = match Isolation::current() {
        Some(enclosure) => run(&options, &enclosure, &terminal).await,
        None => local_cluster::node::run_isolated().await,
    };
    ended.unwrap_or_else(|error| {
        terminal.clear_status();
        terminal.complain(&format!("e2e: {error:#}"));
        ExitCode::FAILURE
    })
}

async fn run(options: &Options, enclosure: &Isolation, terminal: &Terminal) -> Result<ExitCode> {
    // Whatever asks for the end outside is SIGTERM in here.
    let mut terminate = signal(SignalKind::terminate())?;
    let (mut stage, held) = tokio::select! {
        performed = perform(options, enclosure, terminal) => performed?,
        _ = terminate.recv() => {
            terminal.clear_status();
            terminal.line("interrupted");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    if options.keep {
        keep(&stage, enclosure, terminal);
        tokio::select! {
            broken = stage.supervise() => terminal.line(&format!("{broken:#}")),
            _ = terminate.recv() => {}
        }
        stage.quiet();
    }
    stage.end().await?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sets the stage, plays the script and prints the summary. Returns what runs, and whether
/// everything that is promised held.
async fn perform(
    options: &Options,
    enclosure: &Isolation,
    terminal: &Terminal,
) -> Result<(Stage, bool)> {
    let mut stage = Stage::set(options, enclosure, terminal).await?;
    let script = Script {
        client: &stage.client,
        namespace: &stage.quickstart.namespace,
        world: &stage.world,
        applications: &stage.applications,
        release: &stage.release,
        timeline: &stage.timeline,
        steps: &stage.steps,
    };
    let mut facts = Facts::default();
    let mut metrics = String::new();
    let played = async {
        script.play().await?;
        // With the operator its metrics go.
        metrics = operator::metrics(&stage.client).await?;
        if !options.keep {
            let secrets = stage.quickstart.applications.iter();
            let secrets: Vec<_> = secrets.map(|application| application.secret.clone()).collect();
            facts.left = Some(script.leave(&secrets).await?);
        }
        anyhow::Ok(())
    };
    let played = tokio::select! {
        played = played => played,
        broken = stage.supervise() => Err(broken),
    };
    let gathered = gather(&stage, &mut facts, metrics).await;
    if options.keep {
        terminal.clear_status();
    } else {
        stage.quiet();
    }
    let problem =
        played.err().or(gathered.as_ref().err().map(|error| anyhow::anyhow!("{error:#}")));
    facts.broken_off = problem.map(|error| format!("{error:#}"));
    facts.print(terminal);
    let held = facts.all_held();
    if !held {
        stage.preserve(&gathered.unwrap_or_default())?;
    }
    Ok((stage, held))
}

/// Collects what there is to judge by.
async fn gather(stage: &Stage, facts: &mut Facts, metrics: String) -> Result<Vec<Place>> {
    let Stage { client, auth0, world, tallies, quickstart, .. } = stage;
    let (namespace, simulator) = (&quickstart.namespace, &auth0.simulator);
    let [by_application, by_consumer] = tallies;
    (facts.pods, facts.wanted) = (stage.applications.ever(), stage.wanted);
    (facts.operator, facts.image) = (stage.operator.ever(), stage.image);
    facts.memory = stage.memory.load(Ordering::Relaxed);
    (facts.steps, facts.took) = stage.steps.so_far();
    let consumers = consumers::names(&quickstart.applications).into_iter();
    facts.consumers =
        consumers.map(|(name, language)| (by_consumer.of(&name), name, language)).collect();
    for application in &quickstart.applications {
        let account =
            account(client, namespace, application, simulator, world, by_application).await?;
        facts.accounts.push(account);
    }
    let mut places = leaks::in_resources(client, namespace).await?;
    places.push(Place::new("operator.log", logs(&facts.operator)));
    places.push(Place::new("applications.log", logs(&facts.pods)));
    places.push(Place::new("metrics.txt", metrics));
    facts.search = Some(leaks::search(&places, &simulator.values_ever())?);
    Ok(places)
}

fn logs(pods: &[Seen]) -> String {
    pods.iter().map(|pod| pod.log.as_str()).collect()
}

fn keep(stage: &Stage, enclosure: &Isolation, terminal: &Terminal) {
    terminal.heading("Everything goes on until Ctrl-C. In another terminal, a shell inside:\n");
    terminal.line(&format!("  nsenter --all --target $(pgrep -f {})", enclosure.dir().display()));
    let kubeconfig = stage.control_plane.kubeconfig_path().display();
    terminal.line(&format!("  export KUBECONFIG={kubeconfig}"));
    terminal
        .line(&format!("  alias kubectl={}/kubectl", stage.control_plane.assets_dir().display()));
}
