//! Login of a consumer that supports rotation.

use secrecy::{ExposeSecret as _, SecretString};
use testkit::login_tally::LoginOutcome;

/// Knowledge of a consumer: the values that it read last, and the value that Auth0 accepted last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    pub(crate) values: Vec<SecretString>,
    accepted: Option<SecretString>,
}

impl Knowledge {
    /// Returns the knowledge of a consumer that has read its Secret for the first time.
    pub(crate) fn new(values: Vec<SecretString>) -> Self {
        Self { values, accepted: None }
    }

    /// Returns the value that Auth0 accepted in the last login.
    pub(crate) fn accepted(&self) -> Option<&SecretString> {
        self.accepted.as_ref()
    }

    /// Returns the values to try: the one that was accepted last, then the others in their order.
    fn candidates(&self) -> Vec<SecretString> {
        let Some(accepted) = &self.accepted else { return self.values.clone() };
        let others = self.values.iter().filter(|value| !is_same(accepted, value));
        std::iter::once(accepted).chain(others).cloned().collect()
    }

    fn contains(&self, value: &SecretString) -> bool {
        self.values.iter().any(|known| is_same(known, value))
    }

    /// Tries the candidates, and returns the index of the first one that Auth0 accepts.
    async fn try_candidates(&mut self, env: &impl LoginEnvironment) -> Option<usize> {
        for (index, candidate) in self.candidates().into_iter().enumerate() {
            if env.is_accepted(&candidate).await {
                self.accepted = Some(candidate);
                return Some(index);
            }
        }
        self.accepted = None;
        None
    }
}

fn is_same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret() == b.expose_secret()
}

/// Auth0 and the Secret as a consumer reaches them.
pub(crate) trait LoginEnvironment {
    /// Returns whether Auth0 accepts a value.
    async fn is_accepted(&self, value: &SecretString) -> bool;

    /// Returns the values in the Secret, or `None` if it can't be read.
    async fn read_values(&self) -> Option<Vec<SecretString>>;

    /// Returns the value that Auth0 has. A consumer can't know it; it only decides how a failed
    /// login is counted.
    fn secret_at_auth0(&self) -> Option<SecretString>;
}

/// Logs in: tries the known values in order, and then those of the Secret as it is now.
pub(crate) async fn log_in(knowledge: &mut Knowledge, env: &impl LoginEnvironment) -> LoginOutcome {
    match knowledge.try_candidates(env).await {
        Some(0) => return LoginOutcome::FirstTry,
        Some(_) => return LoginOutcome::LaterTry,
        None => {}
    }
    if let Some(values) = env.read_values().await {
        knowledge.values = values;
    }
    if knowledge.try_candidates(env).await.is_some() {
        return LoginOutcome::AfterReread;
    }
    match env.secret_at_auth0() {
        Some(secret) if !knowledge.contains(&secret) => LoginOutcome::FailedBeforePublication,
        _ => LoginOutcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Auth0 that accepts some values and has the last of them, and the Secret with other values.
    struct Fake {
        accepted: &'static [&'static str],
        published: Option<&'static [&'static str]>,
    }

    fn values(texts: &[&str]) -> Vec<SecretString> {
        texts.iter().map(|text| SecretString::from(*text)).collect()
    }

    impl LoginEnvironment for Fake {
        async fn is_accepted(&self, secret: &SecretString) -> bool {
            self.accepted.contains(&secret.expose_secret())
        }

        async fn read_values(&self) -> Option<Vec<SecretString>> {
            self.published.map(values)
        }

        fn secret_at_auth0(&self) -> Option<SecretString> {
            self.accepted.last().map(|text| SecretString::from(*text))
        }
    }

    async fn outcome(knowledge: &mut Knowledge, env: &Fake) -> LoginOutcome {
        log_in(knowledge, env).await
    }

    fn knowing(list: &[&str]) -> Knowledge {
        Knowledge::new(values(list))
    }

    #[tokio::test]
    async fn follows_a_rotation() {
        let mut knowledge = knowing(&["old"]);
        let mut env = Fake { accepted: &["old"], published: Some(&["old"]) };
        assert_eq!(outcome(&mut knowledge, &env).await, LoginOutcome::FirstTry);

        // Rotated and published. Auth0 still accepts the old value, which stays in use.
        env = Fake { accepted: &["old", "new"], published: Some(&["new", "old"]) };
        assert_eq!(outcome(&mut knowledge, &env).await, LoginOutcome::FirstTry);

        // Auth0 accepts only the new value, which this consumer has not read yet.
        env = Fake { accepted: &["new"], published: Some(&["new", "old"]) };
        assert_eq!(outcome(&mut knowledge, &env).await, LoginOutcome::AfterReread);
        assert_eq!(outcome(&mut knowledge, &env).await, LoginOutcome::FirstTry);
    }

    #[tokio::test]
    async fn tries_values_in_order() {
        let env = Fake { accepted: &["b"], published: None };
        assert_eq!(outcome(&mut knowing(&["a", "b"]), &env).await, LoginOutcome::LaterTry);
        assert_eq!(outcome(&mut knowing(&["b", "a"]), &env).await, LoginOutcome::FirstTry);
    }

    #[tokio::test]
    async fn accepted_value_outlives_a_broken_list() {
        let mut knowledge = knowing(&["a"]);
        let env = Fake { accepted: &["a"], published: Some(&["broken"]) };
        assert_eq!(outcome(&mut knowledge, &env).await, LoginOutcome::FirstTry);
        knowledge.values = values(&["broken"]);
        assert_eq!(outcome(&mut knowledge, &env).await, LoginOutcome::FirstTry);
    }

    #[tokio::test]
    async fn distinguishes_failures_before_publication() {
        let unpublished = Fake { accepted: &["new"], published: Some(&["old"]) };
        assert_eq!(
            outcome(&mut knowing(&["old"]), &unpublished).await,
            LoginOutcome::FailedBeforePublication
        );
        let unreadable = Fake { accepted: &["new"], published: None };
        assert_eq!(
            outcome(&mut knowing(&["old"]), &unreadable).await,
            LoginOutcome::FailedBeforePublication
        );
        let nothing_accepted = Fake { accepted: &[], published: Some(&["old"]) };
        assert_eq!(outcome(&mut knowing(&["old"]), &nothing_accepted).await, LoginOutcome::Failed);
    }
}
