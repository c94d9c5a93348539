//! The demo from its start to its summary.

use std::time::Duration;

use anyhow::Result;
use rig::terminal::Terminal;
use testbed::account::account;
use testbed::leaks::{self, Place};
use testbed::manifests::Quickstart;

use crate::cli::Options;
use crate::evidence;
use crate::script::{Script, Seen};
use crate::somebody::Somebody;
use crate::stage::Stage;
use crate::summary;
use crate::verdict::{Facts, all_held};

/// Sets the stage, plays the script and prints the summary. Returns what runs, and whether
/// everything that is promised held.
pub(crate) async fn perform(options: &Options, terminal: &Terminal) -> Result<(Stage, bool)> {
    let mut stage = Stage::set(options, terminal).await?;
    let mut seen = Seen::default();
    let played = play(&stage, Duration::from_secs(options.seconds), &mut seen).await;
    if options.keep {
        terminal.clear_status();
    } else {
        stage.quiet();
    }
    let (facts, places) = gather(&stage, seen, played.err()).await;
    summary::print(terminal, &facts);
    let held = all_held(&facts);
    if !held {
        stage.preserve(&places)?;
    }
    Ok((stage, held))
}

async fn play(stage: &Stage, seconds: Duration, seen: &mut Seen) -> Result<()> {
    let Stage { client, simulator, operator, world, timeline, quickstart, .. } = stage;
    let Quickstart { namespace, applications, .. } = quickstart;
    let somebody =
        Somebody { client, namespace, simulator, operator, applications, world, timeline };
    let script = Script { applications, somebody: &somebody, world, timeline };
    let played = async {
        script.import().await?;
        script.play(seconds, seen).await
    };
    tokio::select! {
        played = played => played,
        broken = stage.supervise() => Err(broken),
    }
}

/// Collects what there is to judge by. What can't be had any more breaks the demo off, unless
/// something else has already.
async fn gather(stage: &Stage, seen: Seen, broken: Option<anyhow::Error>) -> (Facts, Vec<Place>) {
    let Stage { client, simulator, world, tallies, quickstart, operator, .. } = stage;
    let namespace = &quickstart.namespace;
    let mut facts = Facts { seen, ..Facts::default() };
    let mut problem = broken;
    for application in &quickstart.applications {
        let account = account(client, namespace, application, simulator, world, tallies).await;
        match account {
            Ok(account) => facts.accounts.push(account),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    let log = operator.lock().log();
    let places = match evidence::places(client, namespace, &log).await {
        Ok(places) => {
            match leaks::search(&places, &simulator.value_history()) {
                Ok(search) => facts.search = Some(search),
                Err(error) => problem = problem.or(Some(error)),
            }
            places
        }
        Err(error) => {
            problem = problem.or(Some(error));
            Vec::new()
        }
    };
    facts.broken_off = problem.map(|error| format!("{error:#}"));
    (facts, places)
}
