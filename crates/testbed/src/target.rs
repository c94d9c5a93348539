//! A target Secret as its consumers read it.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret as _, SecretString};

const CURRENT_ANNOTATION: &str = "auth0-rotator.dev/current";
const FALLBACK_ANNOTATION: &str = "auth0-rotator.dev/fallback";

/// What a target Secret holds.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The numbers of the secrets, in the order to try them.
    pub numbers: Vec<u64>,
    /// The secrets, in the order to try them.
    pub list: Vec<SecretString>,
    /// The one to try first, as it stands under a key of its own.
    pub first: Option<SecretString>,
    /// The second one, likewise.
    pub second: Option<SecretString>,
}

impl Target {
    pub fn read(secret: &Secret) -> Self {
        let annotations = secret.metadata.annotations.clone().unwrap_or_default();
        let number = |name: &str| annotations.get(name)?.parse().ok();
        let data = secret.data.clone().unwrap_or_default();
        Self {
            numbers: [number(CURRENT_ANNOTATION), number(FALLBACK_ANNOTATION)]
                .into_iter()
                .flatten()
                .collect(),
            list: list(&data),
            first: text(&data, "client_secret").map(SecretString::from),
            second: text(&data, "client_secret_fallback").map(SecretString::from),
        }
    }

    /// Whether its keys say the same, as the operator writes them.
    pub fn is_sound(&self) -> bool {
        let same = |key: &Option<SecretString>, listed: Option<&SecretString>| {
            key.as_ref().map(|value| value.expose_secret())
                == listed.map(|value| value.expose_secret())
        };
        !self.list.is_empty()
            && self.numbers.len() == self.list.len()
            && same(&self.first, self.list.first())
            && same(&self.second, self.list.get(1))
    }
}

/// The list of a Secret's data, in the format that the manifests ask for by default: JSON.
pub fn list(data: &BTreeMap<String, ByteString>) -> Vec<SecretString> {
    let list = text(data, "client_secrets").unwrap_or_default();
    let values: Vec<String> = serde_json::from_str(&list).unwrap_or_default();
    values.into_iter().map(SecretString::from).collect()
}

fn text(data: &BTreeMap<String, ByteString>, key: &str) -> Option<String> {
    data.get(key).and_then(|value| String::from_utf8(value.0.clone()).ok())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A Secret with these numbers, whose values are made of them.
    pub(crate) fn target(numbers: &[u64]) -> Target {
        let list: Vec<_> =
            numbers.iter().map(|n| SecretString::from(format!("value-{n}"))).collect();
        let (first, second) = (list.first().cloned(), list.get(1).cloned());
        Target { numbers: numbers.to_vec(), list, first, second }
    }

    #[test]
    fn a_secret_is_read() {
        let secret: Secret = serde_json::from_value(serde_json::json!({
            "metadata": {"annotations": {
                "auth0-rotator.dev/current": "2", "auth0-rotator.dev/fallback": "1",
            }},
            // ["b","a"], b, a
            "data": {
                "client_secrets": "WyJiIiwiYSJd", "client_secret": "Yg==",
                "client_secret_fallback": "YQ==",
            },
        }))
        .unwrap();
        let target = Target::read(&secret);
        assert_eq!(target.numbers, [2, 1]);
        assert_eq!(target.list[1].expose_secret(), "a");
        assert!(target.is_sound());
    }

    #[test]
    fn an_edited_secret_is_not_sound() {
        assert!(target(&[1]).is_sound() && target(&[2, 1]).is_sound());
        assert!(!Target::default().is_sound());
        let other = Some(SecretString::from("other"));
        assert!(!Target { first: other.clone(), ..target(&[1]) }.is_sound());
        assert!(!Target { second: other, ..target(&[1]) }.is_sound());
        assert!(!Target { numbers: vec![], ..target(&[1]) }.is_sound());
    }
}
