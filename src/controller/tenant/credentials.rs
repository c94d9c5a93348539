//! The credentials of tenants' management clients, read from Secrets.

use std::sync::Arc;

use auth0_client::{
    ClientSecret, Credentials, CredentialsSource, Error, KeyCredentials, SigningAlgorithm,
    SigningKey,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rotation::Reason;
use secrecy::SecretString;

use super::endpoint_policy::TenantEndpoint;
use crate::{
    api::{AssertionAlgorithm, CredentialsSpec, PrivateKeyJwtCredentials, TenantAccess},
    controller::{
        object_key::ObjectKey,
        target_secret::{SecretStore, Snapshot},
    },
};

/// The credentials Secret of a tenant, and the endpoint that its content would be sent to.
pub(super) struct CredentialsSecret {
    pub(super) store: SecretStore,
    pub(super) key: ObjectKey,
    pub(super) endpoint: TenantEndpoint,
    pub(super) last_read: LastRead,
}

/// Which version of the credentials Secret was last read; clones share it.
#[derive(Clone, Default)]
pub(super) struct LastRead(Arc<Mutex<SecretVersion>>);

/// A version of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum SecretVersion {
    /// The Secret has not been read yet.
    #[default]
    Unknown,
    /// There is no Secret.
    Absent,
    /// The operator may not read it, so it may not watch it either.
    Forbidden,
    /// The resourceVersion.
    Present(String),
}

impl LastRead {
    pub(super) fn version(&self) -> SecretVersion {
        self.0.lock().clone()
    }

    fn set(&self, version: SecretVersion) {
        *self.0.lock() = version;
    }
}

/// Returns where a tenant's credentials come from.
///
/// # Errors
/// When the spec has no credentials, or two.
pub(super) fn source(
    access: &TenantAccess,
    secret: CredentialsSecret,
) -> Result<Box<dyn CredentialsSource>, Error> {
    match &access.credentials {
        CredentialsSpec { client_secret: Some(_), private_key_jwt: None } => {
            Ok(Box::new(SecretCredentials { secret }))
        }
        CredentialsSpec { client_secret: None, private_key_jwt: Some(key) } => {
            let (spec, domain) = (key.clone(), access.domain.clone());
            Ok(Box::new(PrivateKeyCredentials { secret, domain, spec }))
        }
        _ => Err(Error::InvalidConfiguration(
            "spec.credentials must have exactly one of clientSecret and privateKeyJwt".into(),
        )),
    }
}

impl CredentialsSecret {
    /// Reads the Secret, if it may be sent to the endpoint. That matters for a private key, too: the
    /// receiver of an assertion can use it. `keys` are those whose content is used.
    async fn read(&self, expected_content: &str, keys: &[&str]) -> Result<Snapshot, Error> {
        let secret = match self.store.get(&self.key).await {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                self.last_read.set(SecretVersion::Absent);
                return Err(self
                    .unusable(&format!("does not exist. Create it with the {expected_content}")));
            }
            Err(error) => {
                if error.reason() == Reason::SecretForbidden {
                    self.last_read.set(SecretVersion::Forbidden);
                }
                return Err(self.unusable(&format!("cannot be read: {error}")));
            }
        };
        self.last_read.set(SecretVersion::Present(secret.resource_version().to_owned()));
        match self.endpoint.rejects(&secret, keys) {
            Some(why) => Err(self.unusable(&why)),
            None => Ok(secret),
        }
    }

    /// Returns the error of a Secret that cannot be used; `why` continues the sentence.
    fn unusable(&self, why: &str) -> Error {
        Error::CredentialsUnreadable(format!("the credentials Secret {} {why}", self.key.name))
    }
}

/// The keys of credentials that are a client secret.
const SECRET_KEYS: [&str; 3] = ["client_id", "client_secret", "client_secrets"];

/// Client secrets in a Secret, under the keys that a target Secret has.
struct SecretCredentials {
    secret: CredentialsSecret,
}

impl CredentialsSource for SecretCredentials {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, Error>> {
        Box::pin(async {
            let snapshot =
                self.secret.read("keys client_id and client_secret", &SECRET_KEYS).await?;
            let client_id = snapshot.text("client_id").unwrap_or_default();
            if client_id.trim().is_empty() {
                return Err(self
                    .secret
                    .unusable("has no client_id. Add the management client's ID under that key"));
            }
            let secrets = self.secrets(&snapshot)?;
            Ok(Credentials::Secrets { client_id: client_id.trim().to_owned(), secrets })
        })
    }
}

impl SecretCredentials {
    /// Returns the secrets in the order in which to try them.
    fn secrets(&self, snapshot: &Snapshot) -> Result<Vec<ClientSecret>, Error> {
        if let Some(list) = snapshot.text("client_secrets") {
            let current = snapshot.secret("client_secret");
            let secrets = parse_list(&list, current.as_ref()).ok_or_else(|| {
                self.secret.unusable(
                    "has a key client_secrets that is neither a JSON array of strings nor lines of \
                     text",
                )
            })?;
            if !secrets.is_empty() {
                return Ok(secrets);
            }
        }
        // Shells often add a line feed at the end.
        let text = snapshot.text("client_secret").unwrap_or_default();
        match ClientSecret::new(text.trim_end_matches(['\r', '\n']).into()) {
            Ok(secret) => Ok(vec![secret]),
            Err(_) => Err(self.secret.unusable(
                "has no secret. Add the management client's secret under the key client_secret",
            )),
        }
    }
}

/// A private key in a Secret.
struct PrivateKeyCredentials {
    secret: CredentialsSecret,
    domain: String,
    spec: PrivateKeyJwtCredentials,
}

impl CredentialsSource for PrivateKeyCredentials {
    fn load(&self) -> BoxFuture<'_, Result<Credentials, Error>> {
        Box::pin(async {
            let key = &self.spec.key_ref.key;
            let expected_content = format!("private key, in PEM, under the key {key}");
            let snapshot = self.secret.read(&expected_content, &[key]).await?;
            if snapshot.encoded(key).is_none() {
                return Err(self.secret.unusable(&format!(
                    "has no key {key}. Add the private key, in PEM, or correct \
                     spec.credentials.privateKeyJwt.keyRef.key"
                )));
            }
            let text = snapshot.text(key).unwrap_or_default();
            match SigningKey::from_pem(&text) {
                Ok(signing_key) => Ok(Credentials::Key(self.with(signing_key))),
                Err(error) => Err(self
                    .secret
                    .unusable(&format!("has no usable private key under {key}: {error}"))),
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

/// How many secrets are tried: each costs a call, and a rejected one leaves a log entry at Auth0.
const MAX_SECRETS: usize = 4;

/// Parses a list as a target Secret holds it, in either format. When its first line is the `current`
/// value it is a list of lines, even if that value starts with a bracket.
pub(crate) fn parse_list(text: &str, current: Option<&ClientSecret>) -> Option<Vec<ClientSecret>> {
    let first_line = text.lines().next().and_then(|line| ClientSecret::new(line.into()).ok());
    let is_lines = current.is_some() && first_line.as_ref() == current;
    let values: Vec<SecretString> = if text.trim_start().starts_with('[') && !is_lines {
        serde_json::from_str(text).ok()?
    } else {
        // A blank line is ignored in a list that a user wrote; in ours it is a value.
        let is_value = |line: &&str| !if is_lines { line } else { line.trim() }.is_empty();
        text.lines().filter(is_value).map(SecretString::from).collect()
    };
    values.into_iter().take(MAX_SECRETS).map(|value| ClientSecret::new(value).ok()).collect()
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
    fn list_is_json_or_lines() {
        assert_eq!(list(r#"["a","b"]"#), Some(vec!["a".into(), "b".into()]));
        assert_eq!(list("a\nb\n"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(list(""), Some(vec![]));
        assert_eq!(list("[]"), Some(vec![]));
        for junk in ["[1]", "[\"a\"", "[\"\"]", "[null]", "a\0b"] {
            assert_eq!(list(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn published_list_of_lines_is_parsed_as_lines_whatever_its_values_are() {
        let current = |text: &str| ClientSecret::new(text.into()).unwrap();
        for (first, second) in [("[1", "b"), ("[\"a\"]", "b"), ("a", "  "), (" ", "b")] {
            let listed = parse_list(&format!("{first}\n{second}\n"), Some(&current(first)));
            assert!(listed == Some(vec![current(first), current(second)]), "{first:?} {second:?}");
        }
        assert_eq!(list("[\"a\"]\nb\n"), None, "nothing shows that these are lines");
    }

    proptest! {
        #[test]
        fn any_text_is_a_short_list_or_none(text in "\\PC{0,200}") {
            prop_assert!(list(&text).is_none_or(|all| all.len() <= MAX_SECRETS));
        }
    }
}
