//! The faults in the order in which they were given, and which of them strike a request.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::{Action, Fault, Match, When};
use crate::operation::Operation;

/// The most rules at a time.
const MOST_RULES: usize = 1_000;

/// A fault in the queue.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct OrderedFault {
    /// Its number, to take it back by.
    pub id: u64,
    /// How many requests it has struck.
    pub struck: u64,
    /// The fault, with `times` and `skip` as they are left.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What a rule is matched against.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) operation: Operation,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) client_id: Option<&'a str>,
}

/// What the rules decide about one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Strike {
    /// The sum of the matching delays, before and after the effect.
    pub(crate) delay_before: Duration,
    pub(crate) delay_after: Duration,
    /// The first other matching fault.
    pub(crate) action: Option<Action>,
    /// The names of all that struck, joined by `+`.
    pub(crate) name: Option<String>,
}

/// The rules in the order in which they were given. Delays add to one another and to the first
/// other fault that matches.
pub(crate) struct FaultQueue {
    rules: Vec<OrderedFault>,
    next_id: u64,
    random: StdRng,
}

impl FaultQueue {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), next_id: 1, random: StdRng::seed_from_u64(seed) }
    }

    /// Adds a rule and returns its number; an error says what is wrong with it.
    pub(crate) fn order(&mut self, fault: Fault) -> Result<u64, String> {
        fault.check()?;
        if self.rules.len() >= MOST_RULES {
            return Err(format!("there are {MOST_RULES} faults already: clear some first"));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.rules.push(OrderedFault { id, struck: 0, fault });
        Ok(id)
    }

    pub(crate) fn list(&self) -> &[OrderedFault] {
        &self.rules
    }

    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.rules.len();
        self.rules.retain(|rule| rule.id != id);
        self.rules.len() < before
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// What happens to this request; used-up rules go.
    pub(crate) fn strike(&mut self, subject: &Subject<'_>) -> Strike {
        let mut strike = Strike::default();
        let mut names = Vec::new();
        for rule in &mut self.rules {
            let is_delay = matches!(rule.fault.action, Action::Delay { .. });
            if !is_delay && strike.action.is_some() || !matches(&rule.fault.on, subject) {
                continue;
            }
            if rule.fault.skip > 0 {
                rule.fault.skip -= 1;
                continue;
            }
            if rule.fault.probability < 1.0 && !self.random.random_bool(rule.fault.probability) {
                continue;
            }
            rule.struck += 1;
            rule.fault.times = rule.fault.times.map(|times| times.saturating_sub(1));
            names.push(rule.fault.action.name());
            match rule.fault.action {
                Action::Delay { ms, when: When::Before } => {
                    strike.delay_before += Duration::from_millis(ms);
                }
                Action::Delay { ms, when: When::After } => {
                    strike.delay_after += Duration::from_millis(ms);
                }
                ref other => strike.action = Some(other.clone()),
            }
        }
        self.rules.retain(|rule| rule.fault.times != Some(0));
        strike.name = (!names.is_empty()).then(|| names.join("+"));
        strike
    }
}

fn matches(on: &Match, subject: &Subject<'_>) -> bool {
    on.operation.is_none_or(|operation| operation == subject.operation)
        && on.method.as_deref().is_none_or(|method| method.eq_ignore_ascii_case(subject.method))
        && on.path.as_deref().is_none_or(|pattern| glob(pattern, subject.path))
        && on.client_id.as_deref().is_none_or(|id| subject.client_id == Some(id))
}

/// `*` stands for any characters, none included.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    let starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    starts.into_iter().any(|at| glob(tail, &rest[at..]))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
