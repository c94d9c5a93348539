//! Whether what is promised held.

use std::time::Duration;

use testbed::account::Account;
use testbed::leaks::Search;
use testbed::promise::{Promise, Verdict};

use crate::script::{ON_REQUEST, ON_SCHEDULE, STAGED, Seen};

/// What the verdict is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) accounts: Vec<Account>,
    pub(crate) seen: Seen,
    /// `None` when it could not be made.
    pub(crate) search: Option<Search>,
    /// Why the demo did not come to its end.
    pub(crate) broken_off: Option<String>,
}

/// All promises.
pub(crate) fn promises(facts: &Facts) -> Vec<Promise> {
    vec![
        logins(facts),
        rotations(facts),
        ends(facts),
        repairs(facts),
        read_back(facts),
        survival(facts),
        no_leak(facts),
    ]
}

/// Whether the demo came to its end and every promise held.
pub(crate) fn all_held(facts: &Facts) -> bool {
    facts.broken_off.is_none()
        && promises(facts).iter().all(|promise| promise.verdict == Verdict::Held)
}

fn logins(facts: &Facts) -> Promise {
    let total: u64 = facts.accounts.iter().map(|account| account.tally.logins).sum();
    let failed: u64 = facts.accounts.iter().map(Account::promised_logins_failed).sum();
    let in_between = facts.accounts.iter().map(|account| account.tally.all_failed()).sum::<u64>();
    let in_between = in_between.saturating_sub(failed);
    let every_one_tried = facts.accounts.iter().all(|account| account.tally.logins > 0);
    let mut evidence = format!("{failed} of {total} failed");
    if in_between > 0 {
        evidence.push_str(&format!(
            "; {in_between} more failed after Auth0's change and before its publication, which \
             only Staged prevents"
        ));
    }
    let verdict = match failed {
        0 if total > 0 && every_one_tried => Verdict::Held,
        0 => Verdict::Untested,
        _ => Verdict::Broken,
    };
    let promise = "no login fails once a new secret is published (Staged: at no time)";
    Promise { verdict, promise, evidence }
}

fn rotations(facts: &Facts) -> Promise {
    let mut wrong = Vec::new();
    for account in &facts.accounts {
        let Account { name, view, changes_at_auth0, .. } = account;
        let (cause, least) = expected(name);
        let completed = view.completed(cause);
        if completed < least {
            wrong.push(format!("{name} completed {completed} of {least}"));
        }
        if view.not_completed > 0 {
            wrong.push(format!("{name} did not complete {}", view.not_completed));
        }
        if let Some(rotation) = &view.status.rotation {
            wrong.push(format!("{name} is still in phase {}", rotation.phase));
        } else if *changes_at_auth0 != account.rotations() {
            let rotations = account.rotations();
            wrong.push(format!(
                "{name} was changed {changes_at_auth0} times at Auth0 in {rotations} rotations"
            ));
        }
        if account.is_overdue {
            wrong.push(format!("{name} has one that is overdue"));
        }
    }
    let evidence = if wrong.is_empty() {
        let of = |cause: &str| -> u64 {
            facts.accounts.iter().map(|account| account.view.completed(cause)).sum()
        };
        let (scheduled, requested) = (of("Schedule"), of("Request"));
        format!("{scheduled} by schedule, {requested} on request; Auth0 counts the same")
    } else {
        wrong.join("; ")
    };
    let promise = "every rotation that is due happens once and is completed";
    Promise { verdict: reached(wrong.is_empty(), facts), promise, evidence }
}

/// The rotations that the script is for: their cause, and how many there must be at least.
fn expected(application: &str) -> (&'static str, u64) {
    match application {
        ON_SCHEDULE => ("Schedule", 2),
        STAGED => ("Request", 2),
        ON_REQUEST => ("Request", 1),
        _ => ("Schedule", 0),
    }
}

fn ends(facts: &Facts) -> Promise {
    let is_right = |account: &&Account| {
        let listed = account.view.target.as_ref().map(|target| target.list.len());
        account.view.is_sound() && listed == Some(1) && account.is_accepted
    };
    let (right, all) = (facts.accounts.iter().filter(is_right).count(), facts.accounts.len());
    let wrong = facts.accounts.iter().filter(|account| !is_right(account));
    let wrong: Vec<_> = wrong.map(|account| account.name.as_str()).collect();
    let evidence = if wrong.is_empty() {
        format!("{right} of {all} Secrets")
    } else {
        format!("{right} of {all} Secrets; not that of {}", wrong.join(", "))
    };
    let promise = "in the end a Secret has one value, the one that Auth0 accepts";
    Promise { verdict: reached(all > 0 && right == all, facts), promise, evidence }
}

fn repairs(facts: &Facts) -> Promise {
    let told = |what: &str, took: Option<Duration>| match took {
        Some(took) => format!("{:.2} s after it was {what}", took.as_secs_f64()),
        None => format!("not seen after it was {what}"),
    };
    let Seen { deleted_for, edited_for, .. } = facts.seen;
    let all = deleted_for.is_some() && edited_for.is_some();
    let evidence = format!("{}, {}", told("deleted", deleted_for), told("edited", edited_for));
    let promise = "a Secret that somebody deletes or edits is put right";
    Promise { verdict: reached(all, facts), promise, evidence }
}

fn read_back(facts: &Facts) -> Promise {
    let promise = "a new secret whose announcement is lost is read back";
    let account = facts.accounts.iter().find(|account| account.name == ON_REQUEST);
    let calls = account.map(|account| account.calls_of_rotate).unwrap_or_default();
    match facts.seen.read_back_after {
        Some(after) => Promise {
            verdict: (calls == 1).into(),
            promise,
            evidence: format!(
                "published after {:.2} s; rotate-secret was called {calls} time{}",
                after.as_secs_f64(),
                if calls == 1 { "" } else { "s" },
            ),
        },
        None => {
            Promise { verdict: reached(false, facts), promise, evidence: "not seen".to_owned() }
        }
    }
}

fn survival(facts: &Facts) -> Promise {
    let promise = "an operator that is killed in the middle of a rotation goes on where it was";
    let Some(killed_for) = facts.seen.killed_for else {
        return Promise {
            verdict: reached(false, facts),
            promise,
            evidence: "not seen".to_owned(),
        };
    };
    let account = facts.accounts.iter().find(|account| account.name == STAGED);
    let completed = account.is_some_and(|account| {
        let (cause, all) = expected(STAGED);
        account.view.completed(cause) >= all && account.view.not_completed == 0
    });
    let gone = format!("gone for {:.1} s", killed_for.as_secs_f64());
    let end = if completed { "that rotation was completed" } else { "that rotation did not end" };
    Promise { verdict: reached(completed, facts), promise, evidence: format!("{gone}; {end}") }
}

fn no_leak(facts: &Facts) -> Promise {
    let promise = "no secret is in the operator's log, Events, statuses or metrics";
    let Some(search) = &facts.search else {
        let evidence = "they could not be read".to_owned();
        return Promise { verdict: Verdict::Untested, promise, evidence };
    };
    let evidence = search.evidence();
    Promise { verdict: search.found_in.is_empty().into(), promise, evidence }
}

/// A promise that wasn't seen to hold is broken, unless the demo broke off.
fn reached(held: bool, facts: &Facts) -> Verdict {
    match held {
        true => Verdict::Held,
        false if facts.broken_off.is_some() => Verdict::Untested,
        false => Verdict::Broken,
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
