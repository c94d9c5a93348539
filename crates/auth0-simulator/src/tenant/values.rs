//! Every value that ever existed, for tests that search outputs for leaks.

use std::collections::VecDeque;

use secrecy::SecretString;

/// The most values kept of each kind; the oldest make room.
const CAPACITY: usize = 1_000_000;

#[derive(Default)]
pub(crate) struct Values {
    /// Each with the client that it was a secret of.
    secrets: VecDeque<(String, SecretString)>,
    tokens: VecDeque<SecretString>,
    forgotten: u64,
}

impl Values {
    pub(crate) fn add_secret(&mut self, client_id: &str, value: &SecretString) {
        self.forgotten += push(&mut self.secrets, (client_id.to_owned(), value.clone()));
    }

    pub(crate) fn add_token(&mut self, value: &SecretString) {
        self.forgotten += push(&mut self.tokens, value.clone());
    }

    pub(crate) fn all(&self) -> ValuesEver {
        ValuesEver {
            secrets: self.secrets.iter().map(|(_, value)| value.clone()).collect(),
            tokens: self.tokens.iter().cloned().collect(),
            forgotten: self.forgotten,
        }
    }

    /// Those that were secrets of one client, oldest first.
    pub(crate) fn of_client(&self, client_id: &str) -> Vec<SecretString> {
        let of = self.secrets.iter().filter(|(client, _)| client == client_id);
        of.map(|(_, value)| value.clone()).collect()
    }
}

fn push<T>(values: &mut VecDeque<T>, value: T) -> u64 {
    let mut forgotten = 0;
    while values.len() >= CAPACITY {
        values.pop_front();
        forgotten += 1;
    }
    values.push_back(value);
    forgotten
}

/// Every client secret and access token that ever existed, oldest first. Its `Debug` is redacted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ValuesEver {
    /// Client secrets: seeded, generated, patched in, set at the dashboard.
    pub secrets: Vec<SecretString>,
    /// Access tokens of every audience.
    pub tokens: Vec<SecretString>,
    /// How many old ones were dropped to stay within a million of each kind.
    pub forgotten: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_in_order_and_not_printed() {
        let mut values = Values::default();
        values.add_secret("a", &SecretString::from("hush-hush"));
        values.add_token(&SecretString::from("bearer-bearer"));
        values.add_secret("b", &SecretString::from("other"));
        assert_eq!(values.of_client("a").len(), 1);
        let all = values.all();
        assert_eq!((all.secrets.len(), all.tokens.len(), all.forgotten), (2, 1, 0));
        let printed = format!("{all:?}");
        assert!(!printed.contains("hush") && !printed.contains("bearer-"));
    }
}
