//! The assertions of the scenario and its summary.

use std::{sync::atomic::Ordering, time::Duration};

use rotation::Cause;
use scenarios::report::{Results, login_cells, print_table};
use testkit::{
    assertion::Assertion, login_tally::LoginTally, measure::mebibytes, terminal::Terminal,
};

use crate::{
    consumers,
    images::added_megabytes,
    pods::PodState,
    scenario::{RESTARTED, ROTATED, STAGED},
    setup::E2e,
};

/// Maximum that the operator's image may add to its base, in bytes.
const MAX_IMAGE_BYTES: u64 = 30 * 1_000_000;

const CONSUMER_TITLES: [&str; 6] =
    ["consumer", "language", "logins", "second try", "failed", "longest gap"];

/// Logins of one consumer.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerResult {
    name: String,
    language: &'static str,
    logins: LoginTally,
}

/// Results that the assertions check.
#[derive(Clone, Debug, Default)]
pub(crate) struct E2eResults {
    pub(crate) common: Results,
    consumers: Vec<ConsumerResult>,
    /// The applications' Pods that ever existed.
    pods: Vec<PodState>,
    /// Number of Pods that should exist.
    expected_pods: i64,
    /// The operator's Pods that ever existed.
    operator: Vec<PodState>,
    image_bytes: u64,
    /// Peak resident memory of the operator in bytes; 0 if it was not measured.
    peak_memory: u64,
    /// Number of objects that are left after `helm uninstall`. `None` if the operator is kept.
    pub(crate) objects_left: Option<usize>,
    /// Requests that the simulated Auth0 rejected with 429.
    throttled: usize,
    steps: usize,
    elapsed: Duration,
}

impl E2eResults {
    /// Collects everything except the common results and the objects that are left.
    pub(crate) fn collect(&mut self, e2e: &E2e) {
        for consumers::Consumer { name, language, .. } in
            consumers::all(&e2e.env.quickstart.applications)
        {
            let logins = e2e.logins.by_consumer.of(&name);
            self.consumers.push(ConsumerResult { name, language, logins });
        }
        self.pods = e2e.applications.all();
        self.expected_pods = e2e.pods;
        self.operator = e2e.operator.all();
        self.image_bytes = e2e.image_bytes;
        self.peak_memory = e2e.peak_memory.load(Ordering::Relaxed);
        let log = e2e.env.simulator.audit_log(0);
        self.throttled = log.iter().filter(|entry| entry.status == Some(429)).count();
        (self.steps, self.elapsed) = (e2e.steps.completed(), e2e.steps.elapsed());
    }

    pub(crate) fn have_passed(&self) -> bool {
        self.common.have_passed(&self.assertions())
    }

    /// Prints the summary.
    pub(crate) fn print(&self, terminal: &Terminal) {
        self.common.print_applications(terminal);
        let row = |consumer: &ConsumerResult| {
            let [logins, second_tries, failed, gap] = login_cells(&consumer.logins);
            let language = consumer.language.to_owned();
            [consumer.name.clone(), language, logins, second_tries, failed, gap]
        };
        let rows: Vec<_> = self.consumers.iter().map(row).collect();
        print_table(terminal, CONSUMER_TITLES, &rows);
        self.common.print_assertions(terminal, &self.assertions());
        terminal.line(&self.figures());
    }

    /// Returns the figures in one line.
    fn figures(&self) -> String {
        let logins = |strategy: &str, names: &[&str]| {
            let applications = names.iter().filter_map(|name| self.common.application(name));
            let tally: LoginTally = applications.map(|application| application.logins).sum();
            format!("{strategy} {} logins, {} failed", tally.logins, tally.all_failed())
        };
        format!(
            "figures: {} steps in {} s; {}; {}; operator: {} Pods, {} restarts, {} peak resident \
             memory, {} image",
            self.steps,
            self.elapsed.as_secs(),
            logins("Staged", &[STAGED, RESTARTED]),
            logins("Rotate", &[ROTATED]),
            self.operator.len(),
            self.operator_restarts(),
            mebibytes(self.peak_memory),
            added_megabytes(self.image_bytes),
        )
    }

    fn operator_restarts(&self) -> i32 {
        self.operator.iter().map(|pod| pod.restarts).sum()
    }

    fn assertions(&self) -> Vec<Assertion> {
        let mut assertions = vec![
            self.no_login_fails_with_staged(),
            self.applications_recover(),
            self.rotations_happen_once(),
            self.one_value_is_left(),
            self.operator_does_not_restart(),
            self.rate_limits_are_kept(),
            self.image_is_small(),
            self.common.no_leak("no secret is in logs (also of applications), metrics or objects"),
        ];
        if let Some(left) = self.objects_left {
            let detail = format!("{left} Secrets, resources and CRDs after helm uninstall");
            // The step fails unless all of them are left.
            let statement = "Secrets, resources and CRDs outlive the operator";
            assertions.push(Assertion { result: true.into(), statement, detail });
        }
        assertions
    }

    fn rate_limits_are_kept(&self) -> Assertion {
        Assertion {
            result: (self.throttled == 0).into(),
            statement: "no request exceeds Auth0's rate limits, with the quickstart's own",
            detail: format!("{} responses with 429", self.throttled),
        }
    }

    fn no_login_fails_with_staged(&self) -> Assertion {
        // An application that isn't rotated has no reason to fail either.
        let applications = self.common.applications.iter();
        let applications: Vec<_> = applications.filter(|app| app.name != ROTATED).collect();
        let all: LoginTally = applications.iter().map(|app| app.logins).sum();
        let lost = self.pods.iter().filter(|pod| pod.log_error.is_some()).count();
        let is_silent = |consumer: &&ConsumerResult| consumer.logins.logins == 0;
        let silent = self.consumers.iter().filter(is_silent).count();
        let mut detail = format!("{} of {} failed", all.all_failed(), all.logins);
        if lost + silent > 0 {
            detail.push_str(&format!("; {lost} logs were lost, {silent} consumers were silent"));
        }
        let statement = "no login fails while a secret is rotated with Staged";
        let is_untested =
            applications.is_empty() || applications.iter().any(|app| app.logins.logins == 0);
        if all.all_failed() > 0 || is_untested || self.common.aborted.is_some() {
            return self.common.no_failures(all.all_failed(), false, statement, detail);
        }
        Assertion { result: (lost + silent == 0).into(), statement, detail }
    }

    fn applications_recover(&self) -> Assertion {
        let existing: Vec<_> = self.pods.iter().filter(|pod| !pod.is_deleted).collect();
        let failing = existing.iter().filter(|pod| !pod.is_logged_in).count();
        let rotated = self.common.application(ROTATED);
        let logins = rotated.map(|application| application.logins).unwrap_or_default();
        let detail = format!(
            "{failing} of {} Pods can't log in at the end; with Rotate, {} of {} logins failed \
             until the kubelet had updated the files",
            existing.len(),
            logins.all_failed(),
            logins.logins,
        );
        let is_complete = i64::try_from(existing.len()) == Ok(self.expected_pods);
        let is_met = failing == 0 && self.expected_pods > 0 && is_complete;
        self.common.assertion(is_met, "each application finds its new secret by itself", detail)
    }

    fn rotations_happen_once(&self) -> Assertion {
        let applications = &self.common.applications;
        let problems = applications.iter().flat_map(|application| {
            let is_rotated = [ROTATED, STAGED, RESTARTED].contains(&application.name.as_str());
            let expected = u64::from(is_rotated);
            application.rotation_problems(Cause::Request, expected..=expected)
        });
        let problems: Vec<_> = problems.collect();
        let mut detail = problems.join("; ");
        if problems.is_empty() {
            detail = "2 with Staged, 1 with Rotate; Auth0 has counted the same".to_owned();
        }
        let is_met = problems.is_empty() && !applications.is_empty();
        self.common.assertion(is_met, "each requested rotation happens once", detail)
    }

    fn one_value_is_left(&self) -> Assertion {
        let applications = &self.common.applications;
        let right = applications.iter().filter(|app| app.has_one_accepted_value()).count();
        let files = self.pods.iter().filter(|pod| !pod.is_deleted && pod.reads_file());
        let files: Vec<_> = files.collect();
        let updated = files.iter().filter(|pod| pod.values == 1).count();
        let (secrets, pods) = (applications.len(), files.len());
        let detail = format!("{right} of {secrets} Secrets, {updated} of {pods} Pods' files");
        let is_met = secrets > 0 && right == secrets && pods > 0 && updated == pods;
        let statement = "at the end, Secrets and files have one value, which Auth0 accepts";
        self.common.assertion(is_met, statement, detail)
    }

    fn operator_does_not_restart(&self) -> Assertion {
        let (restarts, pods) = (self.operator_restarts(), self.operator.len());
        let memory = mebibytes(self.peak_memory);
        let detail = format!("{restarts} restarts of {pods} Pods, {memory} peak resident memory");
        let is_met = restarts == 0 && pods > 0 && self.peak_memory > 0;
        self.common.assertion(is_met, "the operator's Pods run without a restart", detail)
    }

    fn image_is_small(&self) -> Assertion {
        let detail = format!("{} uncompressed", added_megabytes(self.image_bytes));
        let is_met = (1..MAX_IMAGE_BYTES).contains(&self.image_bytes);
        self.common.assertion(is_met, "the image adds less than 30 MB to its base", detail)
    }
}
