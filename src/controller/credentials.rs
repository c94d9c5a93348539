//! The credentials of tenants' management clients, read from Secrets.

use futures::future::BoxFuture;
use secrecy::SecretString;

use super::target::SecretStore;
use crate::auth0::{Auth0Error, ClientSecret, Credentials, CredentialsSource};

/// Credentials in a Secret, with the keys that a target Secret has.
pub(super) struct SecretCredentials {
    pub(super) secrets: SecretStore,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl CredentialsSource for SecretCredentials {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, Auth0Error>> {
        Box::pin(async {
            let name = &self.name;
            let unreadable = |what: &str| {
                Err(Auth0Error::Credentials(format!("the credentials Secret {name} {what}")))
            };
            let secret = match self.secrets.get(&self.namespace, name).await {
                Ok(Some(secret)) => secret,
                Ok(None) => {
                    return unreadable(
                        "does not exist: create it with the keys client_id and client_secret",
                    );
                }
                Err(trouble) => return unreadable(&format!("can't be read: {}", trouble.message)),
            };
            let Some(client_id) = secret.text("client_id").filter(|text| !text.trim().is_empty())
            else {
                return unreadable(
                    "has no client_id: add the management client's ID under that key",
                );
            };
            let mut values = Vec::new();
            if let Some(list) = secret.text("client_secrets") {
                let Some(listed) = parse_list(&list) else {
                    return unreadable(
                        "has a key client_secrets that is neither a JSON array of strings nor lines \
                         of text",
                    );
                };
                values = listed;
            }
            if values.is_empty() {
                // A line feed at the end is a slip of the shell that people make.
                let text = secret.text("client_secret").unwrap_or_default();
                values.extend(ClientSecret::new(text.trim_end_matches(['\r', '\n']).into()).ok());
            }
            if values.is_empty() {
                return unreadable(
                    "has no secret: add the management client's secret under the key client_secret",
                );
            }
            Ok(Credentials { client_id: client_id.trim().to_owned(), secrets: values })
        })
    }
}

/// The most secrets that are tried: each costs a call, and leaves a log entry when it is refused.
const MOST_SECRETS: usize = 4;

/// A list as a target Secret has it, in either format.
fn parse_list(text: &str) -> Option<Vec<ClientSecret>> {
    let values: Vec<SecretString> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).ok()?
    } else {
        text.lines().filter(|line| !line.trim().is_empty()).map(SecretString::from).collect()
    };
    values.into_iter().take(MOST_SECRETS).map(|value| ClientSecret::new(value).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> Option<Vec<String>> {
        parse_list(text).map(|all| all.iter().map(|value| value.expose().to_owned()).collect())
    }

    #[test]
    fn a_list_is_json_or_lines() {
        assert_eq!(list(r#"["a","b"]"#), Some(vec!["a".into(), "b".into()]));
        assert_eq!(list("a\nb\n"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(list(""), Some(vec![]));
        assert_eq!(list("[]"), Some(vec![]));
        for junk in ["[1]", "[\"a\"", "[\"\"]", "[null]", "a\0b"] {
            assert_eq!(list(junk), None, "{junk:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_short_list_or_none(text in "\\PC{0,200}") {
            prop_assert!(list(&text).is_none_or(|all| all.len() <= MOST_SECRETS));
        }
    }
}
