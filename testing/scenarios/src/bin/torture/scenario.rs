//! The test from its start to its closing line.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use scenarios::environment::{control_plane_logs, files_in, keep_logs};
use secrecy::ExposeSecret as _;
use testkit::{
    leak_scan::{LeakReport, LeakScan, SecretPatterns, object_documents},
    terminal::{Style, Terminal},
};
use tokio::task::{JoinError, JoinSet};

use crate::{
    audit_log::AuditLog,
    checker::Violation,
    cli::Options,
    clients::{NAMESPACE, create_clients},
    consumers,
    context::Context,
    fault_schedule::FaultSchedule,
    faults, idle, reconcile_audit, setup, summary,
};

/// Interval at which the audit logs are read.
const UPDATE_INTERVAL: Duration = Duration::from_millis(25);
const SUPERVISION_INTERVAL: Duration = Duration::from_millis(200);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// Time in which the last observations arrive.
const FINAL_OBSERVATIONS: Duration = Duration::from_secs(2);

/// Tasks that don't end by themselves.
type Tasks = JoinSet<Result<()>>;

/// Runs the test. Returns whether all invariants held.
pub(crate) async fn run(options: &Options, terminal: &Terminal) -> Result<bool> {
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    terminal.line(&format!("seed {seed} (make torture ARGS='--seed {seed}' repeats the faults)"));
    let clients = create_clients(options.clients);
    let schedule = FaultSchedule::new(seed, &clients);
    let context = Arc::new(setup::start(options, terminal, &schedule, &clients).await?);
    let mut tasks = Tasks::new();
    tasks.spawn(update_checker(context.clone()));
    tasks.spawn(reconcile_audit::run(context.clone()));
    // The import of each secret comes first, because a request before it is no cause of a rotation.
    let mut violations = supervised(&mut tasks, idle::wait_until_idle(&context)).await?;
    let started = Instant::now();
    tasks.spawn(consumers::run(context.clone(), schedule.lags()));
    if violations.is_empty() {
        let mut faults = faults::start(&context, &schedule);
        let injected =
            inject_faults(&context, &mut faults, &mut tasks, options.duration, terminal).await;
        faults.shutdown().await;
        violations = injected?;
    }
    let elapsed = started.elapsed();
    let mut leaks = None;
    if violations.is_empty() {
        terminal.line("All faults have ended. Every client has to become idle.");
        violations = supervised(&mut tasks, idle::end_faults_and_wait(&context)).await?;
        tokio::time::sleep(FINAL_OBSERVATIONS).await;
        violations.extend(context.checker.take_violations());
        context.operators.terminate().await?;
        let report = scan_for_leaks(&context).await?;
        violations.extend(report.found_in.iter().map(|document| Violation {
            invariant: "no leak",
            client: 0,
            detail: format!("a secret is in {document}"),
        }));
        leaks = Some(report);
    }
    tokio::task::block_in_place(|| context.operators.kill_all());
    tasks.shutdown().await;
    for violation in &violations {
        print_violation(terminal, &context, violation);
    }
    let run = summary::Run { seed, elapsed, leaks, violations: violations.len() };
    terminal.line(&summary::closing_line(&context, &run));
    if options.keep || !violations.is_empty() {
        let mut logs = control_plane_logs(&context.control_plane);
        logs.extend(files_in(context.operators.log_dir())?);
        keep_logs(terminal, "torture", &std::env::temp_dir(), &[], &logs)?;
    }
    Ok(violations.is_empty())
}

/// Feeds the checker until the future is dropped.
async fn update_checker(context: Arc<Context>) -> Result<()> {
    let path = context.control_plane.audit_log_path().context("there is no audit log")?;
    let mut audit_log = AuditLog::new(path);
    loop {
        context.checker.update(&context, &mut audit_log)?;
        tokio::time::sleep(UPDATE_INTERVAL).await;
    }
}

/// Runs `work` while the tasks run.
async fn supervised<T>(tasks: &mut Tasks, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        result = work => result,
        ended = tasks.join_next() => Err(unexpected_end(ended)),
    }
}

/// Injects faults for a duration, or until there is a violation. Returns the violations.
async fn inject_faults(
    context: &Context,
    faults: &mut Tasks,
    tasks: &mut Tasks,
    duration: Duration,
    terminal: &Terminal,
) -> Result<Vec<Violation>> {
    let started = Instant::now();
    let mut reported = Instant::now();
    while started.elapsed() < duration {
        tokio::select! {
            () = tokio::time::sleep(SUPERVISION_INTERVAL) => {}
            ended = faults.join_next() => return Err(unexpected_end(ended)),
            ended = tasks.join_next() => return Err(unexpected_end(ended)),
        }
        let violations = context.checker.take_violations();
        if !violations.is_empty() {
            return Ok(violations);
        }
        if reported.elapsed() >= PROGRESS_INTERVAL {
            reported = Instant::now();
            terminal.line(&summary::progress_line(context, started.elapsed()));
        }
    }
    Ok(Vec::new())
}

fn unexpected_end(ended: Option<Result<Result<()>, JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => error.into(),
        Some(Ok(Ok(()))) | None => anyhow!("a task of the test has ended by itself"),
    }
}

/// Scans the operators' logs and the objects for every secret and token that ever existed.
async fn scan_for_leaks(context: &Context) -> Result<LeakReport> {
    let ever = context.simulator.value_history();
    let clients = 0..context.clients().len();
    let lists: Vec<_> = clients.filter_map(|client| context.history.of(client).list()).collect();
    let secrets = ever.secrets.iter().chain(lists.iter().flat_map(|list| list.iter()));
    // Most tokens are from logins, which the operator never sees.
    let tokens: Vec<&str> = ever.tokens.iter().map(|token| token.expose_secret()).collect();
    let secrets = secrets.map(|secret| secret.expose_secret());
    let mut scan = LeakScan::new(SecretPatterns::with_many(secrets, &tokens)?);
    scan.directory(context.operators.log_dir())?;
    scan.documents(&object_documents(&context.client, Some(NAMESPACE)).await?);
    Ok(scan.finish())
}

fn print_violation(terminal: &Terminal, context: &Context, violation: &Violation) {
    let Violation { invariant, client, detail } = violation;
    let name = &context.clients()[*client].name;
    terminal.line(&terminal.paint(Style::Bad, &format!("VIOLATED: {invariant}")));
    terminal.line(&format!("  {name}: {detail}"));
    for event in context.history.of(*client).events() {
        terminal.line(&format!("    {event}"));
    }
}
