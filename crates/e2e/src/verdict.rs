//! Whether what is promised held.

use std::time::Duration;

use rig::terminal::{Style, Terminal};
use testbed::account::Account;
use testbed::leaks::Search;
use testbed::promise::{Promise, Verdict};
use testbed::table::table;
use testbed::tally::Tally;

use crate::images::Size;
use crate::pods::Seen;
use crate::script::{RESTARTED, ROTATED, STAGED};

const MIB: f64 = 1_048_576.0;
/// What the image may add to its base.
const MOST: u64 = 30 * 1_000_000;

const TITLES: [&str; 7] =
    ["application", "strategy", "rotations", "logins", "second try", "failed", "longest gap"];
const OF_CONSUMERS: [&str; 6] =
    ["consumer", "language", "logins", "second try", "failed", "longest gap"];

/// What the verdict is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) accounts: Vec<Account>,
    /// The logins of each consumer, with its name and language.
    pub(crate) consumers: Vec<(Tally, String, &'static str)>,
    /// The applications' pods, and how many there have to be at a time.
    pub(crate) pods: Vec<Seen>,
    pub(crate) wanted: i64,
    /// The operator's pods.
    pub(crate) operator: Vec<Seen>,
    /// `None` when it could not be made.
    pub(crate) search: Option<Search>,
    pub(crate) image: Size,
    /// The operator's resident memory at most, in bytes; 0 when it was not seen.
    pub(crate) memory: u64,
    /// How much is there when the operator is uninstalled; `None` when it stays.
    pub(crate) left: Option<usize>,
    /// How many steps were done, and what all of it took.
    pub(crate) steps: usize,
    pub(crate) took: Duration,
    /// Why it did not come to its end.
    pub(crate) broken_off: Option<String>,
}

impl Facts {
    /// Whether it came to its end and every promise held.
    pub(crate) fn all_held(&self) -> bool {
        let held = |promise: &Promise| promise.verdict == Verdict::Held;
        self.broken_off.is_none() && self.promises().iter().all(held)
    }

    /// Prints the summary.
    pub(crate) fn print(&self, terminal: &Terminal) {
        terminal.heading("Summary");
        let rows: Vec<_> = self.accounts.iter().map(row).collect();
        table(TITLES, &rows).iter().for_each(|line| terminal.line(line));
        terminal.line("");
        let rows: Vec<_> = self.consumers.iter().map(row_of_consumer).collect();
        table(OF_CONSUMERS, &rows).iter().for_each(|line| terminal.line(line));
        terminal.line("");
        for promise in self.promises() {
            terminal.line(&promise.told(terminal));
        }
        terminal.line("");
        if let Some(why) = &self.broken_off {
            let text = terminal.paint(Style::Bad, "It broke off: ");
            terminal.line(&format!("{text}{why}\n"));
        }
        let (style, text) = match (self.all_held(), &self.broken_off) {
            (true, _) => (Style::Good, "Everything that is promised held."),
            (false, None) => (Style::Bad, "Not everything that is promised held."),
            (false, Some(_)) => (Style::Bad, "What is promised was not shown to hold."),
        };
        terminal.line(&terminal.paint(style, text));
        terminal.line(&self.figures());
    }

    /// One line of figures.
    fn figures(&self) -> String {
        let of = |strategy: &str, names: &[&str]| {
            let (mut logins, mut failed) = (0, 0);
            for Account { name, tally, .. } in &self.accounts {
                if names.contains(&name.as_str()) {
                    (logins, failed) = (logins + tally.logins, failed + tally.all_failed());
                }
            }
            format!("{strategy} {logins} logins, {failed} failed")
        };
        let Size(image) = self.image;
        let restarts: i32 = self.operator.iter().map(|pod| pod.restarts).sum();
        format!(
            "figures: {} steps in {} s; {}; {}; operator: {} pods, {restarts} restarts, {:.1} MiB \
             resident at most, {:.1} MB image",
            self.steps,
            self.took.as_secs(),
            of("Staged", &[STAGED, RESTARTED]),
            of("Rotate", &[ROTATED]),
            self.operator.len(),
            self.memory as f64 / MIB,
            image as f64 / 1e6,
        )
    }

    fn promises(&self) -> Vec<Promise> {
        [
            self.logins(),
            self.recovery(),
            self.rotations(),
            self.ends(),
            self.operator(),
            self.image(),
            self.no_leak(),
        ]
        .into_iter()
        .chain(self.left.map(uninstalled))
        .collect()
    }

    /// A promise that wasn't seen to hold is broken, unless it broke off.
    fn promise(&self, held: bool, promise: &'static str, evidence: String) -> Promise {
        let verdict = match held {
            true => Verdict::Held,
            false if self.broken_off.is_some() => Verdict::Untested,
            false => Verdict::Broken,
        };
        Promise { verdict, promise, evidence }
    }

    fn logins(&self) -> Promise {
        // An application that isn't rotated has no reason to fail, either.
        let careful = self.accounts.iter().filter(|account| account.name != ROTATED);
        let (mut logins, mut failed, mut idle) = (0, 0, self.accounts.is_empty());
        for account in careful {
            logins += account.tally.logins;
            failed += account.tally.all_failed();
            idle |= account.tally.logins == 0;
        }
        let lost = self.pods.iter().filter(|pod| pod.lost.is_some()).count();
        let silent = self.consumers.iter().filter(|(tally, ..)| tally.logins == 0).count();
        let mut evidence = format!("{failed} of {logins} failed");
        if lost + silent > 0 {
            evidence.push_str(&format!("; {lost} logs were lost, {silent} consumers were silent"));
        }
        let promise = "no login fails while a secret is rotated with Staged";
        let verdict = match failed {
            // Whatever else was not seen.
            1.. => Verdict::Broken,
            0 if idle || self.broken_off.is_some() => Verdict::Untested,
            0 => (lost + silent == 0).into(),
        };
        Promise { verdict, promise, evidence }
    }

    fn recovery(&self) -> Promise {
        let present: Vec<_> = self.pods.iter().filter(|pod| !pod.is_gone).collect();
        let out = present.iter().filter(|pod| !pod.is_in).count();
        let rotated = self.accounts.iter().find(|account| account.name == ROTATED);
        let tally = rotated.map(|account| account.tally).unwrap_or_default();
        let evidence = format!(
            "{} of {} pods can't log in in the end; with Rotate {} of {} logins failed, until the \
             kubelet had updated the files",
            out,
            present.len(),
            tally.all_failed(),
            tally.logins,
        );
        let all = i64::try_from(present.len()).is_ok_and(|present| present == self.wanted);
        let held = out == 0 && self.wanted > 0 && all;
        self.promise(held, "each application finds the new secret by itself", evidence)
    }

    fn rotations(&self) -> Promise {
        let mut wrong = Vec::new();
        for account in &self.accounts {
            let Account { name, changes_at_auth0, view, .. } = account;
            let expected = u64::from([ROTATED, STAGED, RESTARTED].contains(&name.as_str()));
            let completed = view.completed("Request");
            if completed != expected || account.rotations() != expected || view.not_completed > 0 {
                wrong.push(format!("{name} completed {completed} of {expected}"));
            }
            if *changes_at_auth0 != expected {
                wrong.push(format!("{name} was changed {changes_at_auth0} times at Auth0"));
            }
        }
        let is_right = wrong.is_empty() && !self.accounts.is_empty();
        let evidence = if wrong.is_empty() {
            "2 with Staged, 1 with Rotate; Auth0 counts the same".to_owned()
        } else {
            wrong.join("; ")
        };
        self.promise(is_right, "each rotation that is asked for happens once", evidence)
    }

    fn ends(&self) -> Promise {
        let is_right = |account: &&Account| {
            let listed = account.view.target.as_ref().map(|target| target.list.len());
            account.view.is_sound() && listed == Some(1) && account.is_accepted
        };
        let right = self.accounts.iter().filter(is_right).count();
        let all = self.pods.iter().filter(|pod| !pod.is_gone && pod.has_file());
        let files = all.clone().filter(|pod| pod.list == 1).count();
        let (secrets, pods) = (self.accounts.len(), all.count());
        let evidence = format!("{right} of {secrets} Secrets, {files} of {pods} pods' files");
        let held = secrets > 0 && right == secrets && pods > 0 && files == pods;
        let promise = "in the end Secrets and files have one value, the one that Auth0 accepts";
        self.promise(held, promise, evidence)
    }

    fn operator(&self) -> Promise {
        let restarts: i32 = self.operator.iter().map(|pod| pod.restarts).sum();
        let (pods, memory) = (self.operator.len(), self.memory as f64 / MIB);
        let evidence =
            format!("{restarts} restarts of {pods} pods, at most {memory:.1} MiB resident");
        let held = restarts == 0 && pods > 0 && self.memory > 0;
        self.promise(held, "the operator's pods run without a restart", evidence)
    }

    fn image(&self) -> Promise {
        let Size(bytes) = self.image;
        let evidence = format!("{:.1} MB uncompressed", bytes as f64 / 1e6);
        let held = (1..MOST).contains(&bytes);
        self.promise(held, "the image adds less than 30 MB to its base", evidence)
    }

    fn no_leak(&self) -> Promise {
        let promise = "no secret is in logs, the applications' too, Events, statuses or metrics";
        let Some(search) = &self.search else {
            return self.promise(false, promise, "they could not be read".to_owned());
        };
        let evidence = search.evidence();
        Promise { verdict: search.found_in.is_empty().into(), promise, evidence }
    }
}

/// That everything is there has been seen by who counted it.
fn uninstalled(left: usize) -> Promise {
    Promise {
        verdict: Verdict::Held,
        promise: "what the operator made outlives it",
        evidence: format!("{left} Secrets, resources and definitions after helm uninstall"),
    }
}

fn row_of_consumer((tally, name, language): &(Tally, String, &str)) -> [String; 6] {
    [
        name.clone(),
        (*language).to_owned(),
        tally.logins.to_string(),
        tally.second_tries().to_string(),
        tally.all_failed().to_string(),
        format!("{:.2} s", tally.longest_gap.as_secs_f64()),
    ]
}

fn row(account: &Account) -> [String; 7] {
    let Account { name, strategy, tally, .. } = account;
    [
        name.clone(),
        strategy.clone(),
        account.rotations().to_string(),
        tally.logins.to_string(),
        tally.second_tries().to_string(),
        tally.all_failed().to_string(),
        format!("{:.2} s", tally.longest_gap.as_secs_f64()),
    ]
}
