//! Queries and assertions on the simulation.

use rotation::{
    Condition, Phase, Reason, Rotation, condition_types, find_condition, is_condition_true,
};

use crate::simulation::Simulation;

impl Simulation {
    /// Returns the rotation in progress, which must exist.
    pub(crate) fn rotation(&self) -> &Rotation {
        self.status.rotation.as_ref().expect("a rotation is in progress")
    }

    pub(crate) fn phase(&self) -> Option<Phase> {
        self.status.rotation.as_ref().map(|rotation| rotation.phase)
    }

    /// Returns the numbers of the published values.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.published().values().map(|value| value.number).collect()
    }

    pub(crate) fn condition(&self, type_: &str) -> &Condition {
        find_condition(&self.status.conditions, type_).expect("the condition is set")
    }

    pub(crate) fn reason(&self, type_: &str) -> Reason {
        Reason::parse(&self.condition(type_).reason).expect("the reason is known")
    }

    pub(crate) fn is_ready(&self) -> bool {
        is_condition_true(&self.status.conditions, condition_types::READY)
    }

    /// Returns why the last request was rejected, which must be the case.
    pub(crate) fn request_rejection(&self) -> &str {
        self.status.request_rejection.as_deref().expect("the request was rejected")
    }

    /// Asserts that no rotation is in progress and Auth0's secret is the only published value.
    pub(crate) fn assert_complete(&self) {
        let target = self.published();
        assert_eq!(target.current.symbol, self.auth0_secret, "{:?}", self.status);
        assert_eq!(target.fallback, None, "the previous value is removed");
        assert!(self.status.rotation.is_none(), "{:?}", self.status);
    }
}
