//! All runs, one after another.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use testkit::{manifests::checkout_path, terminal::Terminal};

use crate::{
    cli::{Options, Stage},
    figures::{self as f},
    machine, plot, report,
    results::{Results, Sample},
    rotations::GRACE_PERIOD,
    stages::Run,
    subject::Subject,
};

/// Number of rotations with which the time until a response is published is measured.
const PUBLISHED: usize = 200;

/// Measures everything, prints a table, and writes the files.
pub(crate) async fn run(options: &Options, terminal: &Terminal) -> Result<()> {
    let machine = machine::describe();
    let mut results = Results::default();
    for &objects in &options.sizes {
        for run in 1..=options.runs_of(objects) {
            results.samples.push(measure_rotator(options, terminal, objects, run).await?);
            if options.eso_bin.is_some() {
                measure_eso(options, terminal, objects, run, &mut results).await?;
            }
            write(options, terminal, &results, &machine)?;
        }
    }
    if options.includes(Stage::Due) && options.due > 0 {
        results.samples.push(measure_due(options, terminal).await?);
    }
    if options.includes(Stage::Publish) {
        results.samples.push(measure_publish(options, terminal).await?);
    }
    terminal.clear_status();
    report::print(terminal, &results);
    let directory = write(options, terminal, &results, &machine)?;
    terminal.line(&format!("\nWritten to {}", directory.display()));
    Ok(())
}

/// Returns overrides of the resources' spec, with a grace period whose end a run can wait for.
fn short_grace_period() -> Value {
    json!({"gracePeriod": format!("{}s", GRACE_PERIOD.as_secs())})
}

async fn measure_rotator(
    options: &Options,
    terminal: &Terminal,
    objects: usize,
    number: u16,
) -> Result<Sample> {
    let sample = Sample::new(Subject::Rotator, objects, number);
    let mut run = Run::start(options, terminal, sample, short_grace_period()).await?;
    run.start_empty().await?;
    if objects > 0 && includes_import(options) {
        run.import().await?;
    }
    if is_steady_state_measured(objects, number) {
        run.steady().await?;
    }
    run.restart().await?;
    // The largest number of rotations at once is measured with those that are due.
    if (1..5_000).contains(&objects) && options.includes(Stage::Rotate) {
        run.rotate_all().await?;
    }
    let mut sample = run.finish().await?;
    if objects > 0 && (options.includes(Stage::Existing) || options.includes(Stage::Bare)) {
        sample = measure_existing(options, terminal, sample).await?;
    }
    Ok(sample)
}

/// The steady state takes a minute. Where it hardly depends on the number of resources, one run is
/// enough.
fn is_steady_state_measured(objects: usize, run: u16) -> bool {
    run == 1 || (1_000..5_000).contains(&objects)
}

/// The stages of a run after it need the resources.
fn includes_import(options: &Options) -> bool {
    let stages = [Stage::Import, Stage::Steady, Stage::Restart, Stage::Rotate];
    stages.iter().any(|stage| options.includes(*stage))
}

/// Continues a run on another control plane, on which the resources exist before the operator starts.
async fn measure_existing(
    options: &Options,
    terminal: &Terminal,
    sample: Sample,
) -> Result<Sample> {
    let mut run = Run::start(options, terminal, sample, short_grace_period()).await?;
    run.start_with_existing().await?;
    run.environment.stop_controller().await?;
    if options.includes(Stage::Bare) {
        run.bare_writes().await?;
    }
    let mut sample = run.finish().await?;
    if let Some(bare) = sample.get(&f::BARE) {
        for (ratio, time) in
            [(&f::BARE_RATIO, &f::READY), (&f::EXISTING_BARE_RATIO, &f::EXISTING_READY)]
        {
            if let Some(time) = sample.get(time) {
                sample.set(ratio, time / bare);
            }
        }
    }
    Ok(sample)
}

async fn measure_due(options: &Options, terminal: &Terminal) -> Result<Sample> {
    let sample = Sample::new(Subject::Rotator, options.due, 1);
    let spec = json!({"initial": "Rotate", "gracePeriod": "1h"});
    let mut run = Run::start(options, terminal, sample, spec).await?;
    run.start_due().await?;
    run.finish().await
}

async fn measure_publish(options: &Options, terminal: &Terminal) -> Result<Sample> {
    let rotations = if options.quick { PUBLISHED / 10 } else { PUBLISHED };
    let sample = Sample::new(Subject::Rotator, rotations, 1);
    let spec = json!({"gracePeriod": "1h"});
    let mut run = Run::start(options, terminal, sample, spec).await?;
    run.publish().await?;
    run.finish().await
}

/// Measures External Secrets Operator with the sizes that take minutes and not hours. With its
/// defaults it is slow and hardly varies, so it runs once.
async fn measure_eso(
    options: &Options,
    terminal: &Terminal,
    objects: usize,
    number: u16,
    results: &mut Results,
) -> Result<()> {
    if objects >= 5_000 {
        return Ok(());
    }
    for subject in [Subject::EsoDefaults, Subject::EsoTuned] {
        if subject == Subject::EsoDefaults && number > 1 {
            continue;
        }
        let sample = Sample::new(subject, objects, number);
        let mut run = Run::start(options, terminal, sample, json!({})).await?;
        run.start_empty().await?;
        if objects > 0 {
            run.import().await?;
        }
        if is_steady_state_measured(objects, number) {
            run.steady().await?;
        }
        run.restart().await?;
        results.samples.push(run.finish().await?);
    }
    Ok(())
}

/// Writes the results so far, so that an interrupted run loses only what it was measuring.
fn write(
    options: &Options,
    terminal: &Terminal,
    results: &Results,
    machine: &Value,
) -> Result<PathBuf> {
    terminal.clear_status();
    let directory = options.output.clone().unwrap_or_else(|| checkout_path("target/bench"));
    fs::create_dir_all(&directory)
        .with_context(|| format!("can't create {}", directory.display()))?;
    let mut json = serde_json::to_string_pretty(&results.to_json(machine))?;
    json.push('\n');
    fs::write(directory.join("results.json"), json)?;
    fs::write(directory.join("results.md"), report::markdown(results, machine))?;
    for (name, svg) in plot::all(results) {
        fs::write(directory.join(name), svg)?;
    }
    Ok(directory)
}
