//! The test from its start to its closing line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rig::terminal::{Style, Terminal};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::arena::Arena;
use crate::audit::Tail;
use crate::cli::Options;
use crate::plan::Plan;
use crate::watch::Breach;
use crate::{chaos, consumer, fleet, leaks, mend, settle, stage, summary};

/// How often it is looked what was written and what happened.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// What is still on its way when everything rests.
const AFTERMATH: Duration = Duration::from_secs(2);

/// Plays it all. Returns whether every promise held.
pub(crate) async fn perform(options: &Options, terminal: &Terminal) -> Result<bool> {
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    terminal.line(&format!("seed {seed} (make torture ARGS='--seed {seed}' repeats its orders)"));
    let members = fleet::muster(options.clients);
    let plan = Plan::new(seed, &members);
    let mut folder = tempfile::Builder::new().prefix("auth0-rotator-torture-").tempdir()?;
    let arena = stage::set(options, terminal, &plan, &members, seed, folder.path()).await?;
    let arena = Arc::new(arena);
    let mut running = watch(&arena)?;
    running.spawn(mend::run(arena.clone()));
    // Each client's secret is imported first: what people ask for before that is no cause.
    let mut breaches = tokio::select! {
        settled = settle::at_rest(&arena) => settled?,
        ended = running.join_next() => return Err(unexpected(ended)),
    };
    let begin = Instant::now();
    running.spawn(consume(arena.clone(), plan.lags()));
    if breaches.is_empty() {
        let mut tracks = chaos::start(&arena, &plan);
        let tormented =
            torment(&arena, &mut tracks, &mut running, options.duration, terminal).await;
        tracks.shutdown().await;
        breaches = tormented?;
    }
    let elapsed = begin.elapsed();
    let mut search = None;
    if breaches.is_empty() {
        terminal.line("Nothing disturbs any more: everything has to come to rest.");
        breaches = tokio::select! {
            settled = settle::settle(&arena) => settled?,
            ended = running.join_next() => return Err(unexpected(ended)),
        };
        tokio::time::sleep(AFTERMATH).await;
        breaches.extend(arena.watch.breaches());
        tokio::task::block_in_place(|| arena.operators.end())?;
        let searched = leaks::search(&arena, folder.path()).await?;
        breaches.extend(searched.found_in.iter().map(|place| Breach {
            promise: "no leak",
            member: 0,
            detail: format!("a secret is in {place}"),
        }));
        search = Some(searched);
    }
    // Their guardians would take the logs away with a process that ends without a word.
    tokio::task::block_in_place(|| arena.operators.kill_all());
    running.shutdown().await;
    for breach in &breaches {
        tell(terminal, &arena, breach);
    }
    let closing = summary::closing(&arena, seed, elapsed, search.as_ref(), breaches.len());
    terminal.line(&closing);
    if options.keep || !breaches.is_empty() {
        keep(terminal, &arena, &mut folder);
    }
    drop(arena);
    Ok(breaches.is_empty())
}

/// Starts whoever takes down what happens.
fn watch(arena: &Arc<Arena>) -> Result<JoinSet<Result<()>>> {
    let path = arena.control_plane.audit_log_path().ok_or_else(|| anyhow!("no audit log"))?;
    let (mut tail, arena) = (Tail::new(path), arena.clone());
    let mut running = JoinSet::new();
    running.spawn(async move {
        loop {
            arena.watch.look(&arena, &mut tail)?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    Ok(running)
}

async fn consume(arena: Arc<Arena>, lags: Vec<[f64; 2]>) -> Result<()> {
    consumer::run(arena, lags).await;
    Ok(())
}

/// Lets everything happen until the time is over or a promise is broken. Returns those.
async fn torment(
    arena: &Arc<Arena>,
    tracks: &mut JoinSet<Result<()>>,
    running: &mut JoinSet<Result<()>>,
    duration: Duration,
    terminal: &Terminal,
) -> Result<Vec<Breach>> {
    let begin = Instant::now();
    let mut told = Instant::now();
    while begin.elapsed() < duration {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            ended = tracks.join_next() => return Err(unexpected(ended)),
            ended = running.join_next() => return Err(unexpected(ended)),
        }
        let breaches = arena.watch.breaches();
        if !breaches.is_empty() {
            return Ok(breaches);
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            terminal.line(&summary::progress(arena, begin.elapsed()));
        }
    }
    Ok(Vec::new())
}

fn unexpected(ended: Option<Result<Result<()>, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => error.into(),
        Some(Ok(Ok(()))) | None => anyhow!("a part of the test has ended by itself"),
    }
}

fn tell(terminal: &Terminal, arena: &Arena, breach: &Breach) {
    let Breach { promise, member, detail } = breach;
    let name = &arena.members()[*member].name;
    terminal.line(&terminal.paint(Style::Bad, &format!("BROKEN: {promise}")));
    terminal.line(&format!("  {name}: {detail}"));
    for line in arena.book.page(*member).latest() {
        terminal.line(&format!("    {line}"));
    }
}

fn keep(terminal: &Terminal, arena: &Arena, folder: &mut TempDir) {
    for log in ["kube-apiserver.log", "etcd.log"] {
        // A log that isn't there is no reason to lose the others.
        let _ = std::fs::copy(arena.control_plane.data_dir().join(log), folder.path().join(log));
    }
    folder.disable_cleanup(true);
    terminal.line(&format!("The logs are kept in {}", folder.path().display()));
}
