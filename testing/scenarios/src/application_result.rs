//! Result of an application, in the cluster and at Auth0.

use std::ops::RangeInclusive;

use anyhow::Result;
use auth0_simulator::Operation;
use chrono::Utc;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use rotation::{Cause, Strategy};
use secrecy::ExposeSecret as _;
use testkit::{login_tally::LoginTally, target_secret::TargetSecret};

use crate::{environment::Environment, quickstart::Application, tracker::ApplicationState};

/// Result of one application at the end of a scenario.
#[derive(Clone, Debug, Default)]
pub struct ApplicationResult {
    pub name: String,
    pub strategy: Strategy,
    pub state: ApplicationState,
    pub logins: LoginTally,
    /// Number of changes of its secret at Auth0.
    pub changes_at_auth0: u64,
    /// Number of calls of `rotate-secret`.
    pub rotate_calls: u64,
    /// Auth0 accepts the current value of the Secret, and would return the same value.
    pub is_accepted: bool,
    /// A scheduled rotation is due and has not started.
    pub is_overdue: bool,
}

impl ApplicationResult {
    pub(crate) async fn collect(env: &Environment, application: &Application) -> Result<Self> {
        let secrets: Api<Secret> = Api::namespaced(env.client.clone(), &env.quickstart.namespace);
        let secret = secrets.get_opt(&application.secret).await?;
        let mut state = env.tracker.state(&application.name);
        state.target = secret.as_ref().map(TargetSecret::parse);
        let counts = env.simulator.counters().client(&application.client_id);
        let rotate_calls = counts.requests.get(Operation::RotateSecret.as_str());
        Ok(Self {
            name: application.name.clone(),
            strategy: application.strategy,
            logins: env.logins.of(&application.name),
            changes_at_auth0: counts.effects.rotations + counts.effects.secret_patches,
            rotate_calls: rotate_calls.copied().unwrap_or_default(),
            is_accepted: is_accepted(env, application, &state),
            is_overdue: state.status.next_rotation_time.is_some_and(|due| due < Utc::now()),
            state,
        })
    }

    /// Number of completed rotations.
    pub fn rotations(&self) -> u64 {
        self.state.completed.values().sum()
    }

    /// Logins that failed although the strategy should have prevented it. With Rotate a login may
    /// fail between the change at Auth0 and the publication of the new secret.
    pub fn preventable_failures(&self) -> u64 {
        match self.strategy {
            Strategy::Staged => self.logins.all_failed(),
            Strategy::Rotate => self.logins.failed,
        }
    }

    /// Returns what is wrong with its rotations. `expected` is the number of completed ones with this
    /// cause; its end is also the most of all causes.
    pub fn rotation_problems(&self, cause: Cause, expected: RangeInclusive<u64>) -> Vec<String> {
        let Self { name, state, changes_at_auth0, .. } = self;
        let (completed, rotations) = (state.completed(cause), self.rotations());
        let mut problems = Vec::new();
        if !expected.contains(&completed) || rotations > *expected.end() {
            problems.push(format!("{name} completed {completed} of {}", expected.start()));
        }
        if state.not_completed > 0 {
            problems.push(format!("{name} did not complete {}", state.not_completed));
        }
        match state.phase() {
            Some(phase) => problems.push(format!("{name} is still in phase {phase:?}")),
            None if *changes_at_auth0 != rotations => problems.push(format!(
                "{name} changed {changes_at_auth0} times at Auth0 in {rotations} rotations"
            )),
            None => {}
        }
        if self.is_overdue {
            problems.push(format!("{name} has an overdue rotation"));
        }
        problems
    }

    /// Returns whether the Secret has only one value, which Auth0 accepts.
    pub fn has_one_accepted_value(&self) -> bool {
        let values = self.state.target.as_ref().map(|target| target.values.len());
        self.state.has_consistent_target() && values == Some(1) && self.is_accepted
    }
}

fn is_accepted(env: &Environment, application: &Application, state: &ApplicationState) -> bool {
    let client_id = &application.client_id;
    let Some(current) = state.target.as_ref().and_then(|target| target.current.as_ref()) else {
        return false;
    };
    let Some(at_auth0) = env.simulator.client_secret(client_id) else { return false };
    at_auth0.expose_secret() == current.expose_secret()
        && env.simulator.accepts(client_id, current.expose_secret())
}
