//! Helpers for the status of a ClientSecretRotation.

use rotation::{Condition, Phase, Status, condition_types, find_condition, is_condition_true};

/// Returns the phase of the rotation in progress.
pub fn phase(status: &Status) -> Option<Phase> {
    status.rotation.as_ref().map(|rotation| rotation.phase)
}

/// Returns the condition of this type if it is true.
pub fn true_condition<'a>(status: &'a Status, type_: &str) -> Option<&'a Condition> {
    let is_true = is_condition_true(&status.conditions, type_);
    find_condition(&status.conditions, type_).filter(|_| is_true)
}

/// Returns the condition of this type if it is not true.
fn untrue_condition<'a>(status: &'a Status, type_: &str) -> Option<&'a Condition> {
    let is_true = is_condition_true(&status.conditions, type_);
    find_condition(&status.conditions, type_).filter(|_| !is_true)
}

/// Returns the first condition that reports a problem, in the operator's words.
pub fn problem(status: &Status) -> Option<String> {
    let condition = true_condition(status, condition_types::STALLED)
        .or_else(|| untrue_condition(status, condition_types::TENANT_READY))
        .or_else(|| untrue_condition(status, condition_types::READY))?;
    let Condition { type_, status, reason, message, .. } = condition;
    Some(format!("{type_} is {status:?}: {reason}: {message}"))
}

#[cfg(test)]
mod tests {
    use rotation::Reason;

    use super::*;

    #[test]
    fn problem_is_the_first_condition_that_is_wrong() {
        let condition = |type_: &str, status: bool| {
            let now = Default::default();
            Condition::new(type_, status, Reason::Unreachable, "check the endpoint", None, now)
        };
        let mut status = Status::default();
        assert_eq!(problem(&status), None);
        status.conditions = vec![condition("Ready", true)];
        assert_eq!(problem(&status), None);
        status.conditions = vec![condition("Ready", false), condition("TenantReady", false)];
        let text = problem(&status).unwrap();
        assert_eq!(text, "TenantReady is False: Unreachable: check the endpoint");
    }
}
