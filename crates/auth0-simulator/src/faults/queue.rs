//! Queue of injected faults in injection order. Selects the faults that apply to a request.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;

use super::{Action, Fault, Match, When};
use crate::operation::Operation;

/// Maximum number of faults in the queue.
const MAX_FAULTS: usize = 1_000;

/// A fault in the queue.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InjectedFault {
    /// Number of the fault, used to remove it.
    pub id: u64,
    /// How many requests it has applied to so far.
    pub applied: u64,
    /// The fault, with the remaining `times` and `skip`.
    #[serde(flatten)]
    pub fault: Fault,
}

/// The properties of a request that faults match.
#[derive(Debug)]
pub(crate) struct RequestInfo<'a> {
    pub(crate) operation: Operation,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) client_id: Option<&'a str>,
}

/// The faults that apply to one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AppliedFaults {
    /// Sum of the delays before the effect.
    pub(crate) delay_before: Duration,
    /// Sum of the delays after the effect.
    pub(crate) delay_after: Duration,
    /// Action of the first matching fault that isn't a delay.
    pub(crate) action: Option<Action>,
    /// Names of all faults that apply, joined by `+`.
    pub(crate) names: Option<String>,
}

/// Injected faults in injection order. All matching delays apply to a request, plus the first
/// other fault that matches.
pub(crate) struct FaultQueue {
    faults: Vec<InjectedFault>,
    next_id: u64,
    random: StdRng,
}

impl FaultQueue {
    pub(crate) fn new(seed: u64) -> Self {
        Self { faults: Vec::new(), next_id: 1, random: StdRng::seed_from_u64(seed) }
    }

    /// Appends a fault and returns its number.
    ///
    /// # Errors
    ///
    /// A message that says which value of the fault is invalid, or that the queue is full.
    pub(crate) fn inject(&mut self, fault: Fault) -> Result<u64, String> {
        fault.validate()?;
        if self.faults.len() >= MAX_FAULTS {
            return Err(format!(
                "the queue already holds the maximum of {MAX_FAULTS} faults: remove some first"
            ));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.faults.push(InjectedFault { id, applied: 0, fault });
        Ok(id)
    }

    pub(crate) fn list(&self) -> &[InjectedFault] {
        &self.faults
    }

    /// Removes a fault and returns whether it was in the queue.
    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.faults.len();
        self.faults.retain(|fault| fault.id != id);
        self.faults.len() < before
    }

    pub(crate) fn clear(&mut self) {
        self.faults.clear();
    }

    /// Returns the faults that apply to this request and removes those that are used up.
    pub(crate) fn take_for(&mut self, request: &RequestInfo<'_>) -> AppliedFaults {
        let mut applied = AppliedFaults::default();
        let mut names = Vec::new();
        for InjectedFault { applied: count, fault, .. } in &mut self.faults {
            let is_delay = matches!(fault.action, Action::Delay { .. });
            if !is_delay && applied.action.is_some() || !matches(&fault.on, request) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.probability < 1.0 && !self.random.random_bool(fault.probability) {
                continue;
            }
            *count += 1;
            fault.times = fault.times.map(|times| times.saturating_sub(1));
            names.push(fault.action.name());
            match fault.action {
                Action::Delay { ms, when: When::Before } => {
                    applied.delay_before += Duration::from_millis(ms);
                }
                Action::Delay { ms, when: When::After } => {
                    applied.delay_after += Duration::from_millis(ms);
                }
                ref other => applied.action = Some(other.clone()),
            }
        }
        self.faults.retain(|fault| fault.fault.times != Some(0));
        if !names.is_empty() {
            applied.names = Some(names.join("+"));
        }
        applied
    }
}

fn matches(on: &Match, request: &RequestInfo<'_>) -> bool {
    on.operation.is_none_or(|operation| operation == request.operation)
        && on.method.as_deref().is_none_or(|method| method.eq_ignore_ascii_case(request.method))
        && on.path.as_deref().is_none_or(|pattern| matches_glob(pattern, request.path))
        && on.client_id.as_deref().is_none_or(|id| request.client_id == Some(id))
}

/// Returns whether the text matches the pattern, in which `*` matches zero or more characters.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    let mut starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    starts.any(|at| matches_glob(tail, &rest[at..]))
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
