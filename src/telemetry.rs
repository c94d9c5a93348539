//! Logs: one line for what a person would want to know, on standard error.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// Starts logging. Our own lines come at `level` and above; those of libraries only as warnings,
/// whatever the level is: at finer levels some print what they send and receive.
pub fn start(format: LogFormat, level: LevelFilter) {
    let filter = filter_fn(move |line| is_wanted(line, level));
    let writer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry();
    let started = match format {
        LogFormat::Json => registry
            .with(writer.json().flatten_event(true).with_span_list(false).with_filter(filter))
            .try_init(),
        LogFormat::Text => registry.with(writer.with_target(false).with_filter(filter)).try_init(),
    };
    // Logging can be started once per process: in tests somebody else may have been faster.
    drop(started);
}

fn is_wanted(line: &Metadata<'_>, level: LevelFilter) -> bool {
    let target = line.target();
    if target.starts_with("auth0_rotator") || target.starts_with("rotation") {
        return *line.level() <= level;
    }
    // kube's client logs the whole body of an answer that it can't parse, as a warning.
    let bodies = target.starts_with("kube_client");
    *line.level() <= if bodies { Level::ERROR } else { Level::WARN }
}
