//! Whether what is promised held.

use rig::terminal::{Style, Terminal};
use testbed::account::Account;
use testbed::leaks::Search;
use testbed::promise::{Promise, Verdict};
use testbed::table::table;

use crate::consumers::{Consumer, PODS};
use crate::images::Size;
use crate::script::{ROTATED, STAGED};

const MIB: f64 = 1_048_576.0;
/// What the image may add to its base.
const MOST: u64 = 30 * 1_000_000;

const TITLES: [&str; 7] =
    ["application", "strategy", "rotations", "logins", "second try", "failed", "longest gap"];

/// What the verdict is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) accounts: Vec<Account>,
    pub(crate) consumers: Vec<(String, Consumer)>,
    /// `None` when it could not be made.
    pub(crate) search: Option<Search>,
    pub(crate) image: Size,
    /// The operator's resident memory, in bytes.
    pub(crate) memory: Option<u64>,
    /// How often the operator's container was started again.
    pub(crate) restarts: Option<i32>,
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
    }

    fn promises(&self) -> Vec<Promise> {
        vec![
            self.logins(),
            self.recovery(),
            self.rotations(),
            self.ends(),
            self.operator(),
            self.image(),
            self.no_leak(),
        ]
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
        let lost: Vec<_> = self.consumers.iter().filter(|(_, c)| c.lost.is_some()).collect();
        let mut evidence = format!("{failed} of {logins} failed");
        if !lost.is_empty() {
            evidence.push_str(&format!("; the logs of {} pods were lost", lost.len()));
        }
        let promise = "no login fails while a secret is rotated with Staged";
        let verdict = match failed {
            // Whatever else was not seen.
            1.. => Verdict::Broken,
            0 if idle || self.broken_off.is_some() => Verdict::Untested,
            0 => lost.is_empty().into(),
        };
        Promise { verdict, promise, evidence }
    }

    fn recovery(&self) -> Promise {
        let out = self.consumers.iter().filter(|(_, consumer)| !consumer.is_in).count();
        let rotated = self.accounts.iter().find(|account| account.name == ROTATED);
        let tally = rotated.map(|account| account.tally).unwrap_or_default();
        let evidence = format!(
            "{} of {} pods can't log in in the end; with Rotate {} of {} logins failed, until the \
             kubelet had updated the files",
            out,
            self.consumers.len(),
            tally.all_failed(),
            tally.logins,
        );
        let wanted = usize::try_from(PODS).unwrap_or(usize::MAX) * self.accounts.len();
        let held = out == 0 && wanted > 0 && self.consumers.len() == wanted;
        self.promise(held, "each application finds the new secret by itself", evidence)
    }

    fn rotations(&self) -> Promise {
        let mut wrong = Vec::new();
        for account in &self.accounts {
            let Account { name, changes_at_auth0, view, .. } = account;
            let expected = u64::from([ROTATED, STAGED].contains(&name.as_str()));
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
            "1 with Staged, 1 with Rotate; Auth0 counts the same".to_owned()
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
        let files = self.consumers.iter().filter(|(_, consumer)| consumer.list == 1).count();
        let (secrets, pods) = (self.accounts.len(), self.consumers.len());
        let evidence = format!("{right} of {secrets} Secrets, {files} of {pods} pods' files");
        let held = secrets > 0 && right == secrets && files == pods;
        let promise = "in the end Secrets and files have one value, the one that Auth0 accepts";
        self.promise(held, promise, evidence)
    }

    fn operator(&self) -> Promise {
        let memory = self.memory.map_or("not known".to_owned(), |bytes| {
            format!("at most {:.1} MiB resident", bytes as f64 / MIB)
        });
        let evidence = match self.restarts {
            Some(restarts) => format!("{restarts} restarts, {memory}"),
            None => "it was not seen".to_owned(),
        };
        let promise = "the operator's pod runs without a restart";
        self.promise(self.restarts == Some(0), promise, evidence)
    }

    fn image(&self) -> Promise {
        let Size(bytes) = self.image;
        let evidence = format!("{:.1} MB uncompressed", bytes as f64 / 1e6);
        let held = (1..MOST).contains(&bytes);
        self.promise(held, "the image adds less than 30 MB to its base", evidence)
    }

    fn no_leak(&self) -> Promise {
        let promise = "no secret is in the operator's log, Events, statuses or metrics";
        let Some(search) = &self.search else {
            return self.promise(false, promise, "they could not be read".to_owned());
        };
        let evidence = search.evidence();
        Promise { verdict: search.found_in.is_empty().into(), promise, evidence }
    }
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
