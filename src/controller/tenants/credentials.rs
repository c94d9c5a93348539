//! The credentials of tenants' management clients, read from Secrets.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use secrecy::SecretString;

use super::destination::Destination;
use crate::api::{AssertionAlgorithm, CredentialsSpec, PrivateKeyJwtCredentials, TenantAccess};
use crate::controller::target::{SecretStore, Snapshot};
use auth0_client::{
    ClientSecret, Credentials, CredentialsSource, KeyCredentials, SigningAlgorithm, SigningKey,
};

/// Where the credentials of a tenant come from, and where they would be sent.
pub(in crate::controller) struct Place {
    pub(in crate::controller) secrets: SecretStore,
    pub(in crate::controller) namespace: String,
    pub(in crate::controller) destination: Destination,
    pub(in crate::controller) seen: Seen,
}

/// Which version of the Secret was last read, if it has been; `None` in it: there was no Secret.
#[derive(Clone, Default)]
pub(in crate::controller) struct Seen(Arc<Mutex<Option<Option<String>>>>);

impl Seen {
    pub(in crate::controller) fn version(&self) -> Option<Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, version: Option<&str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(version.map(str::to_owned));
    }
}

/// Where a tenant's credentials come from.
pub(in crate::controller) fn source(
    access: &TenantAccess,
    place: Place,
) -> Result<Box<dyn CredentialsSource>, auth0_client::Error> {
    match &access.credentials {
        CredentialsSpec { client_secret: Some(secret), private_key_jwt: None } => {
            let name = secret.secret_ref.name.clone();
            Ok(Box::new(SecretCredentials { place, name }))
        }
        CredentialsSpec { client_secret: None, private_key_jwt: Some(key) } => {
            let (spec, domain) = (key.clone(), access.domain.clone());
            Ok(Box::new(PrivateKeyCredentials { place, domain, spec }))
        }
        _ => Err(auth0_client::Error::InvalidConfiguration(
            "spec.credentials must have exactly one of clientSecret and privateKeyJwt".into(),
        )),
    }
}

/// The Secret that has a tenant's credentials.
pub(in crate::controller) fn secret_name(spec: &CredentialsSpec) -> Option<&str> {
    let secret = spec.client_secret.as_ref().map(|secret| secret.secret_ref.name.as_str());
    secret.or_else(|| spec.private_key_jwt.as_ref().map(|key| key.key_ref.name.as_str()))
}

fn unreadable<T>(name: &str, what: &str) -> Result<T, auth0_client::Error> {
    Err(auth0_client::Error::CredentialsUnreadable(format!("the credentials Secret {name} {what}")))
}

impl Place {
    /// Reads the Secret, if it may be sent there: also what a key signs could be used by whoever
    /// receives it.
    async fn read(&self, name: &str, keys: &str) -> Result<Snapshot, auth0_client::Error> {
        let secret = match self.secrets.get(&self.namespace, name).await {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                self.seen.note(None);
                return unreadable(name, &format!("does not exist: create it with the {keys}"));
            }
            Err(trouble) => {
                return unreadable(name, &format!("can't be read: {}", trouble.message));
            }
        };
        self.seen.note(Some(secret.version()));
        match self.destination.refuses(&secret) {
            Some(why) => unreadable(name, &why),
            None => Ok(secret),
        }
    }
}

/// Credentials in a Secret, with the keys that a target Secret has.
struct SecretCredentials {
    place: Place,
    name: String,
}

impl CredentialsSource for SecretCredentials {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, auth0_client::Error>> {
        Box::pin(async {
            let name = &self.name;
            let unreadable = |what: &str| unreadable(name, what);
            let keys = "keys client_id and client_secret";
            let secret = self.place.read(name, keys).await?;
            let Some(client_id) = secret.text("client_id").filter(|text| !text.trim().is_empty())
            else {
                return unreadable(
                    "has no client_id: add the management client's ID under that key",
                );
            };
            let mut values = Vec::new();
            if let Some(list) = secret.text("client_secrets") {
                let Some(listed) = parse_list(&list, secret.secret("client_secret").as_ref())
                else {
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
            let client_id = client_id.trim().to_owned();
            Ok(Credentials::Secrets { client_id, secrets: values })
        })
    }
}

/// A private key in a Secret.
struct PrivateKeyCredentials {
    place: Place,
    domain: String,
    spec: PrivateKeyJwtCredentials,
}

impl CredentialsSource for PrivateKeyCredentials {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, auth0_client::Error>> {
        Box::pin(async {
            let (name, key) = (&self.spec.key_ref.name, &self.spec.key_ref.key);
            let wanted = format!("private key, in PEM, under the key {key}");
            let secret = self.place.read(name, &wanted).await?;
            if secret.encoded(key).is_none() {
                let what = format!(
                    "has no key {key}: add the private key, in PEM, or correct \
                     spec.credentials.privateKeyJwt.keyRef.key"
                );
                return unreadable(name, &what);
            }
            let text = secret.text(key).unwrap_or_default();
            match SigningKey::from_pem(&text) {
                Ok(key) => Ok(Credentials::Key(self.with(key))),
                Err(wrong) => unreadable(name, &format!("has no usable key under {key}: {wrong}")),
            }
        })
    }
}

impl PrivateKeyCredentials {
    fn with(&self, key: SigningKey) -> KeyCredentials {
        KeyCredentials {
            client_id: self.spec.client_id.clone(),
            domain: self.domain.clone(),
            algorithm: match self.spec.algorithm {
                AssertionAlgorithm::RS256 => SigningAlgorithm::Rs256,
                AssertionAlgorithm::RS384 => SigningAlgorithm::Rs384,
                AssertionAlgorithm::PS256 => SigningAlgorithm::Ps256,
            },
            key_id: self.spec.key_id.clone(),
            key,
        }
    }
}

/// The most secrets that are tried: each costs a call, and leaves a log entry when it is refused.
const MOST_SECRETS: usize = 4;

/// A list as a target Secret has it, in either format: whatever the first value begins with, when
/// the first line is the `current` one they are lines.
pub(in crate::controller) fn parse_list(
    text: &str,
    current: Option<&ClientSecret>,
) -> Option<Vec<ClientSecret>> {
    let value = |line: &str| ClientSecret::new(SecretString::from(line)).ok();
    let is_lines = current.is_some() && text.lines().next().and_then(value).as_ref() == current;
    let values: Vec<SecretString> = if text.trim_start().starts_with('[') && !is_lines {
        serde_json::from_str(text).ok()?
    } else {
        // A line of blanks is a slip, but in a list that we wrote.
        let is_value = |line: &&str| !if is_lines { line } else { line.trim() }.is_empty();
        text.lines().filter(is_value).map(SecretString::from).collect()
    };
    values.into_iter().take(MOST_SECRETS).map(|value| ClientSecret::new(value).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> Option<Vec<String>> {
        parse_list(text, None)
            .map(|all| all.iter().map(|value| value.expose().to_owned()).collect())
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

    #[test]
    fn a_published_list_of_lines_is_one_whatever_its_values_look_like() {
        let current = |text: &str| ClientSecret::new(text.into()).unwrap();
        for (first, second) in [("[1", "b"), ("[\"a\"]", "b"), ("a", "  "), (" ", "b")] {
            let listed = parse_list(&format!("{first}\n{second}\n"), Some(&current(first)));
            assert!(listed == Some(vec![current(first), current(second)]), "{first:?} {second:?}");
        }
        assert_eq!(list("[\"a\"]\nb\n"), None, "nothing tells that these are lines");
    }

    proptest! {
        #[test]
        fn any_text_is_a_short_list_or_none(text in "\\PC{0,200}") {
            prop_assert!(list(&text).is_none_or(|all| all.len() <= MOST_SECRETS));
        }
    }
}
