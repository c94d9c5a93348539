//! Record of every secret and token that ever existed, for tests that search output for leaks.

use std::collections::VecDeque;

use secrecy::SecretString;

/// Maximum number of values kept per kind. The oldest are evicted first.
const CAPACITY: usize = 1_000_000;

/// A recorded client secret.
struct RecordedSecret {
    client_id: String,
    value: SecretString,
}

#[derive(Default)]
pub(crate) struct ValueRecorder {
    secrets: VecDeque<RecordedSecret>,
    tokens: VecDeque<SecretString>,
    evicted: u64,
}

impl ValueRecorder {
    pub(crate) fn add_secret(&mut self, client_id: &str, value: &SecretString) {
        let secret = RecordedSecret { client_id: client_id.to_owned(), value: value.clone() };
        self.evicted += push_bounded(&mut self.secrets, secret);
    }

    pub(crate) fn add_token(&mut self, value: &SecretString) {
        self.evicted += push_bounded(&mut self.tokens, value.clone());
    }

    pub(crate) fn snapshot(&self) -> ValueHistory {
        ValueHistory {
            secrets: self.secrets.iter().map(|secret| secret.value.clone()).collect(),
            tokens: self.tokens.iter().cloned().collect(),
            evicted: self.evicted,
        }
    }

    /// Returns every secret of one client, oldest first.
    pub(crate) fn secrets_of(&self, client_id: &str) -> Vec<SecretString> {
        let secrets = self.secrets.iter().filter(|secret| secret.client_id == client_id);
        secrets.map(|secret| secret.value.clone()).collect()
    }
}

/// Appends a value and returns how many old values were evicted.
fn push_bounded<T>(values: &mut VecDeque<T>, value: T) -> u64 {
    let mut evicted = 0;
    while values.len() >= CAPACITY {
        values.pop_front();
        evicted += 1;
    }
    values.push_back(value);
    evicted
}

/// Every client secret and access token that ever existed, oldest first. `Debug` output is
/// redacted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ValueHistory {
    /// Client secrets: seeded, generated, set by PATCH, set at the dashboard.
    pub secrets: Vec<SecretString>,
    /// Access tokens of every audience, and client assertions.
    pub tokens: Vec<SecretString>,
    /// Number of old values that were evicted to keep at most a million of each kind.
    pub evicted: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_values_in_order_and_redacts_debug_output() {
        let mut recorder = ValueRecorder::default();
        recorder.add_secret("a", &SecretString::from("hush-hush"));
        recorder.add_token(&SecretString::from("bearer-bearer"));
        recorder.add_secret("b", &SecretString::from("other"));
        assert_eq!(recorder.secrets_of("a").len(), 1);
        let history = recorder.snapshot();
        assert_eq!((history.secrets.len(), history.tokens.len(), history.evicted), (2, 1, 0));
        let printed = format!("{history:?}");
        assert!(!printed.contains("hush") && !printed.contains("bearer-"));
    }
}
