//! Stages of a run, which both controllers have: start, import, steady state, restart.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chrono::Utc;
use serde_json::Value;
use testkit::terminal::Terminal;

use crate::{
    cli::{Options, Stage},
    environment::{Environment, Usage},
    figures::{self as f},
    load,
    results::Sample,
    subject::Subject,
    watch::{Status, Watch},
};

/// Time in which all objects have to be Ready.
pub(crate) const DEADLINE: Duration = Duration::from_secs(900);
/// Time between quiet and the measurement of memory, in which an allocator may return some.
const MEMORY_SETTLES: Duration = Duration::from_secs(3);

/// One run.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) terminal: &'a Terminal,
    pub(crate) environment: Environment,
    pub(crate) sample: Sample,
    /// Overrides of the resources' spec.
    pub(crate) spec: Value,
}

impl<'a> Run<'a> {
    pub(crate) async fn start(
        options: &'a Options,
        terminal: &'a Terminal,
        sample: Sample,
        spec: Value,
    ) -> Result<Self> {
        let environment =
            Environment::start(terminal, options, sample.subject, sample.objects).await?;
        Ok(Self { options, terminal, environment, sample, spec })
    }

    fn subject(&self) -> Subject {
        self.sample.subject
    }

    pub(crate) fn progress(&self, stage: &str) {
        let Sample { subject, objects, run, .. } = &self.sample;
        self.terminal
            .status(&format!("  {} · {objects} objects · run {run} · {stage}", subject.title()));
    }

    /// Starts the controller without resources, and measures its memory if there will be none.
    pub(crate) async fn start_empty(&mut self) -> Result<()> {
        self.progress("start");
        self.environment.start_controller()?;
        self.environment.wait_until_quiet().await?;
        if self.sample.objects == 0 {
            self.record_memory().await?;
        }
        Ok(())
    }

    /// Records the memory at rest.
    async fn record_memory(&mut self) -> Result<()> {
        tokio::time::sleep(MEMORY_SETTLES).await;
        let memory = self.environment.process()?.memory()?;
        self.sample.set(&f::RESIDENT, mebibytes(memory.resident));
        self.sample.set(&f::ANONYMOUS, mebibytes(memory.anonymous));
        Ok(())
    }

    pub(crate) async fn watch_ready(&self) -> Result<Watch> {
        let path = self.subject().collection();
        Watch::start(&self.environment.watch, &path, vec![Box::new(Status::is_ready)]).await
    }

    /// Creates all resources.
    pub(crate) async fn create_resources(&self) -> Result<()> {
        let collection = self.subject().collection();
        let create = async |number: usize| {
            let manifest = self.subject().manifest(number, &self.spec);
            load::create(&self.environment.load, &collection, &manifest).await.map(drop)
        };
        load::for_each(self.sample.objects, load::CONCURRENCY, create).await
    }

    /// Creates the resources while the controller runs.
    pub(crate) async fn import(&mut self) -> Result<()> {
        self.progress("import");
        let objects = self.sample.objects;
        let process = self.environment.process()?;
        process.reset_peak();
        let idle = process.memory()?;
        let before = self.environment.usage()?;
        let mut watch = self.watch_ready().await?;
        let started = Instant::now();
        self.create_resources().await?;
        let created = Instant::now();
        let ready = watch.wait(0, objects, DEADLINE).await?;
        self.environment.wait_until_quiet().await?;
        drop(watch);

        let sample = &mut self.sample;
        sample.set(&f::READY, (ready - started).as_secs_f64());
        sample.set(&f::CREATED, (created - started).as_secs_f64());
        let after_last = ready.saturating_duration_since(created);
        sample.set(&f::READY_AFTER_LAST, after_last.as_secs_f64());
        let used = self.used_since("import", &before)?;
        let sample = &mut self.sample;
        sample.set(&f::REQUESTS, sample.per_object(used.requests.total() as f64));
        sample.set(&f::WRITES, sample.per_object(used.requests.writes() as f64));
        sample.set(&f::CPU, sample.per_object(milliseconds(used.cpu)));
        sample.set(&f::AUTH0, used.auth0.total() as f64);
        sample.set(&f::PEAK, mebibytes(process.peak_resident()?));
        self.record_memory().await?;
        let grown = process.memory()?.resident.saturating_sub(idle.resident);
        let per_object = self.sample.per_object(grown as f64 / 1024.0);
        self.sample.set(&f::PER_OBJECT, per_object);
        Ok(())
    }

    /// Returns what the controller has used, and records its requests.
    pub(crate) fn used_since(&mut self, stage: &str, before: &Usage) -> Result<Usage> {
        let now = self.environment.usage()?;
        let used = Usage {
            cpu: now.cpu.saturating_sub(before.cpu),
            requests: now.requests.since(&before.requests),
            auth0: now.auth0.since(&before.auth0),
            threads: now.threads,
        };
        self.record_requests(stage, &used);
        Ok(used)
    }

    fn record_requests(&mut self, stage: &str, used: &Usage) {
        self.sample.requests.insert(stage.to_owned(), used.requests.clone());
        self.sample.requests.insert(format!("{stage}, Auth0"), used.auth0.clone());
    }

    /// Measures the controller while nothing happens.
    pub(crate) async fn steady(&mut self) -> Result<()> {
        if !self.options.includes(Stage::Steady) {
            return Ok(());
        }
        self.progress("steady state");
        let duration = self.options.steady_duration();
        let before = self.environment.usage()?;
        let started = Instant::now();
        tokio::time::sleep(duration).await;
        let used = self.used_since("steady state", &before)?;
        let elapsed = started.elapsed().as_secs_f64();
        let cpu = used.threads.since(&before.threads).as_secs_f64();
        self.sample.set(&f::STEADY_CPU, 100.0 * cpu / elapsed);
        self.sample.set(&f::STEADY_REQUESTS, used.requests.total() as f64 * 60.0 / elapsed);
        Ok(())
    }

    /// Restarts the controller while nothing is due.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        if !self.options.includes(Stage::Restart) {
            return Ok(());
        }
        self.progress("restart");
        self.environment.stop_controller().await?;
        let (requests, auth0) = (self.environment.requests()?, self.environment.auth0_requests());
        let started = Utc::now();
        let process = self.environment.start_controller()?;
        let quiet = self.environment.wait_until_quiet().await?;
        let now = self.environment.usage()?;
        let used = Usage {
            requests: now.requests.since(&requests),
            auth0: now.auth0.since(&auth0),
            ..now
        };
        self.record_requests("restart", &used);
        let sample = &mut self.sample;
        sample.set(&f::RESTART, (quiet - started).as_seconds_f64().max(0.0));
        sample.set(&f::RESTART_REQUESTS, used.requests.total() as f64);
        sample.set(&f::RESTART_WRITES, used.requests.writes() as f64);
        sample.set(&f::RESTART_AUTH0, used.auth0.total() as f64);
        sample.set(&f::RESTART_CPU, milliseconds(used.cpu));
        sample.set(&f::RESTART_PEAK, mebibytes(process.peak_resident()?));
        tokio::time::sleep(MEMORY_SETTLES).await;
        let memory = process.memory().context("can't read the memory")?;
        self.sample.set(&f::RESTART_RESIDENT, mebibytes(memory.resident));
        Ok(())
    }

    /// Starts the controller after the resources exist, which have none of its status.
    pub(crate) async fn start_with_existing(&mut self) -> Result<()> {
        self.progress("create the resources");
        self.create_resources().await?;
        self.progress("start with existing resources");
        let mut watch = self.watch_ready().await?;
        let started = Instant::now();
        self.environment.start_controller()?;
        let ready = watch.wait(0, self.sample.objects, DEADLINE).await?;
        self.sample.set(&f::EXISTING_READY, (ready - started).as_secs_f64());
        self.environment.wait_until_quiet().await?;
        Ok(())
    }

    /// Ends everything and returns the figures.
    pub(crate) async fn finish(self) -> Result<Sample> {
        self.environment.shut_down().await?;
        Ok(self.sample)
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
