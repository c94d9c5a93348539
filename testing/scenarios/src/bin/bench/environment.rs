//! Environment of one run: a control plane, a simulated Auth0, and the measured controller.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use auth0_simulator::{Fault, Operation, Simulator};
use chrono::{DateTime, TimeDelta, Utc};
use kube::Client;
use local_cluster::ControlPlane;
use scenarios::environment::start_control_plane;
use testkit::{
    auth0,
    cluster::SERVICE_ACCOUNT_GROUPS,
    operator::{self, Operator, OperatorCommand},
    terminal::Terminal,
};

use crate::{
    audit_log::{self, AuditLog, Requests},
    cli::Options,
    process::{Process, ThreadTimes},
    subject::{self, Subject},
};

/// Time in which Auth0 answers.
const AUTH0_LATENCY: Duration = Duration::from_millis(5);
/// User that creates and changes the resources.
const LOAD_USER: &str = "bench-load";

/// A controller is quiet after this time without a request and with hardly any use of the CPU.
const QUIET: Duration = Duration::from_millis(2500);
const QUIET_DEADLINE: Duration = Duration::from_secs(300);
const QUIET_INTERVAL: Duration = Duration::from_millis(100);
/// CPU time within [`QUIET_INTERVAL`] above which a controller is not quiet.
const BUSY: Duration = Duration::from_millis(5);

/// Environment of a run. The fields are dropped from top to bottom.
pub(crate) struct Environment {
    controller: Option<Operator>,
    pub(crate) command: OperatorCommand,
    pub(crate) simulator: Simulator,
    /// Creates and changes objects. Its requests are not in the audit log.
    pub(crate) load: Client,
    /// Watches objects.
    pub(crate) watch: Client,
    audit_log: AuditLog,
    control_plane: ControlPlane,
}

/// What a controller has used so far.
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) threads: ThreadTimes,
    pub(crate) requests: Requests,
    pub(crate) auth0: Requests,
}

impl Environment {
    /// Starts everything but the controller. Auth0 has as many clients as there will be resources.
    pub(crate) async fn start(
        terminal: &Terminal,
        options: &Options,
        subject: Subject,
        clients: usize,
    ) -> Result<Self> {
        let servers = ControlPlane::options()
            .audit_policy(audit_log::policy(subject.user()))
            .apiserver_arg(audit_log::MAX_SIZE);
        let control_plane = start_control_plane(terminal, servers).await?;
        let client = Client::try_from(control_plane.client_config())?;
        let config = control_plane.client_config_for(LOAD_USER, &["system:masters"])?;
        let load = Client::try_from(config)?;
        let simulator = start_simulator(clients).await?;
        let eso_crds = options.eso_crds.as_deref();
        subject.install(&client, &simulator, eso_crds).await.context("can't install")?;

        let kubeconfig = control_plane.kubeconfig_for(subject.user(), &SERVICE_ACCOUNT_GROUPS)?;
        let log_dir = operator::log_dir("auth0-rotator-bench-")?;
        let command = subject.command(&executable(options, subject)?, &kubeconfig, log_dir);
        let path = control_plane.audit_log_path().context("there is no audit log")?;
        Ok(Self {
            controller: None,
            command,
            simulator,
            load,
            watch: client,
            audit_log: AuditLog::new(path.to_owned()),
            control_plane,
        })
    }

    /// Starts the controller, without waiting for anything.
    pub(crate) fn start_controller(&mut self) -> Result<Process> {
        let controller = self.command.spawn()?;
        let process = Process { pid: controller.pid() };
        self.controller = Some(controller);
        Ok(process)
    }

    /// Ends the controller by SIGTERM.
    pub(crate) async fn stop_controller(&mut self) -> Result<()> {
        if let Some(controller) = self.controller.take() {
            controller.terminate().await?;
        }
        Ok(())
    }

    pub(crate) fn controller(&self) -> Result<&Operator> {
        self.controller.as_ref().context("the controller doesn't run")
    }

    pub(crate) fn process(&self) -> Result<Process> {
        Ok(Process { pid: self.controller()?.pid() })
    }

    pub(crate) fn usage(&mut self) -> Result<Usage> {
        let process = self.process()?;
        Ok(Usage {
            cpu: process.cpu_time()?,
            threads: process.thread_times()?,
            requests: self.requests()?,
            auth0: self.auth0_requests(),
        })
    }

    pub(crate) fn requests(&mut self) -> Result<Requests> {
        Ok(self.audit_log.read()?.clone())
    }

    pub(crate) fn auth0_requests(&self) -> Requests {
        let mut requests = Requests::default();
        for operation in Operation::ALL {
            requests.add(operation.as_str(), self.simulator.requests(operation));
        }
        requests
    }

    /// Waits until the controller makes no requests and hardly uses the CPU. Returns when it did so
    /// for the last time.
    pub(crate) async fn wait_until_quiet(&mut self) -> Result<DateTime<Utc>> {
        let process = self.process()?;
        let started = Instant::now();
        let mut last_active = Utc::now();
        let mut known = (self.requests()?.total(), self.auth0_requests().total());
        let mut threads = process.thread_times()?;
        loop {
            tokio::time::sleep(QUIET_INTERVAL).await;
            self.check()?;
            let now = (self.requests()?.total(), self.auth0_requests().total());
            let new_threads = process.thread_times()?;
            if now.0 != known.0 {
                last_active = last_active.max(self.audit_log.last_request().unwrap_or_default());
            }
            // The time of a request to Auth0 is that of the sample, which comes later.
            if now.1 != known.1 || new_threads.since(&threads) > BUSY {
                last_active = Utc::now();
            }
            (known, threads) = (now, new_threads);
            if Utc::now() - last_active > TimeDelta::from_std(QUIET)? {
                return Ok(last_active);
            }
            if started.elapsed() > QUIET_DEADLINE {
                bail!("the controller is not quiet within {QUIET_DEADLINE:?}");
            }
        }
    }

    /// Fails if a process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(controller) = &mut self.controller {
            controller.check()?;
        }
        Ok(self.control_plane.check()?)
    }

    /// Ends everything.
    pub(crate) async fn shut_down(mut self) -> Result<()> {
        self.stop_controller().await?;
        self.simulator.shutdown().await;
        Ok(self.control_plane.stop().await?)
    }
}

/// Returns the executable of a subject.
fn executable(options: &Options, subject: Subject) -> Result<PathBuf> {
    let path = match subject {
        Subject::Rotator => options.operator.clone(),
        Subject::EsoDefaults | Subject::EsoTuned => options.eso_bin.clone(),
    };
    match path {
        Some(path) => Ok(std::path::absolute(path)?),
        None => operator::executable(),
    }
}

/// Starts an Auth0 that accepts a new secret at once, answers each request after the same time, and has
/// no rate limit.
async fn start_simulator(clients: usize) -> Result<Simulator> {
    let mut simulator = auth0::tenant().propagation(Duration::ZERO..=Duration::ZERO);
    for number in 0..clients {
        simulator = simulator.client(auth0::application(subject::name(number)));
    }
    let simulator = simulator.start().await.context("can't start the simulated Auth0")?;
    let latency = Fault::delay(AUTH0_LATENCY).unlimited();
    simulator.faults().inject(latency).map_err(anyhow::Error::msg)?;
    Ok(simulator)
}
