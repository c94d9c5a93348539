//! Provenance of the values of a target Secret. A value is sent, or published again, only if we wrote
//! it for this client and it came from the Auth0 that is called now.
//!
//! The evidence is `managedFields`: a field that another client writes is no longer ours. The names of
//! field managers are not authenticated, so a user who may write Secrets can forge it. Users who may
//! only write our custom resources cannot.

use super::snapshot::Snapshot;
use crate::api::{
    CLIENT_ID_ANNOTATION, CURRENT_ANNOTATION, KEYS_ANNOTATION, Keys, ORIGIN_ANNOTATION,
    OWNER_ANNOTATION,
};

/// The Auth0 that values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValueOrigin {
    /// The tenant's domain, as applications see it.
    pub(crate) domain: String,
    /// The origin of the endpoint that is really called, such as `https://acme.eu.auth0.com`.
    pub(crate) origin: String,
}

/// The client that a Secret's values must be of, and the Auth0 that they must come from.
pub(crate) struct ExpectedOrigin<'a> {
    pub(crate) client_id: &'a str,
    /// `None` if the tenant cannot be used: nothing can be sent then.
    pub(crate) tenant: Option<&'a ValueOrigin>,
    pub(crate) keys: &'a Keys,
    /// Whether the resource's status records a secret.
    pub(crate) is_recorded: bool,
}

/// Where the values of a Secret come from, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// We wrote them for this client, and they came from this Auth0.
    Proven,
    /// We wrote them for this client, and they came from another Auth0.
    OtherOrigin,
    /// Nothing shows that we wrote them for this client.
    #[default]
    Unproven,
}

impl Snapshot {
    /// Returns the origin that we recorded.
    pub(crate) fn recorded_origin(&self) -> Option<&str> {
        self.own_annotation(ORIGIN_ANNOTATION)
    }

    /// Returns where the Secret's values come from.
    pub(crate) fn provenance(&self, expected: &ExpectedOrigin<'_>) -> Provenance {
        if self.is_of_older_version() {
            return self.provenance_by_keys(expected);
        }
        let client_id = self.own_annotation(CLIENT_ID_ANNOTATION);
        let (Some(client_id), Some(origin)) = (client_id, self.recorded_origin()) else {
            return Provenance::Unproven;
        };
        if client_id != expected.client_id {
            return Provenance::Unproven;
        }
        match expected.tenant {
            Some(tenant) if tenant.origin != origin => Provenance::OtherOrigin,
            Some(_) | None => Provenance::Proven,
        }
    }

    /// Returns whether a version of the operator that recorded no origin wrote the Secret.
    pub(crate) fn is_of_older_version(&self) -> bool {
        let is_recorded =
            [CLIENT_ID_ANNOTATION, ORIGIN_ANNOTATION].map(|name| self.annotation(name).is_some());
        let is_written = [OWNER_ANNOTATION, KEYS_ANNOTATION, CURRENT_ANNOTATION]
            .map(|name| self.own_annotation(name).is_some());
        is_recorded == [false; 2] && is_written == [true; 3]
    }

    /// Returns the provenance of a Secret without a recorded origin: its keys for the client ID and
    /// the domain are the evidence. Without a status, they prove only Auth0's own endpoint.
    fn provenance_by_keys(&self, expected: &ExpectedOrigin<'_>) -> Provenance {
        let ExpectedOrigin { client_id, tenant, keys, is_recorded } = expected;
        let own_text = |key: &str| {
            if self.owned().data.contains(key) { self.text(key) } else { None }
        };
        let Some(domain) = own_text(&keys.domain) else { return Provenance::Unproven };
        if own_text(&keys.client_id).is_none_or(|text| text.as_str() != *client_id) {
            return Provenance::Unproven;
        }
        let Some(tenant) = tenant else { return Provenance::Proven };
        if *domain != tenant.domain {
            return Provenance::OtherOrigin;
        }
        let is_domain_itself = tenant.origin == format!("https://{}", tenant.domain);
        if is_domain_itself || *is_recorded { Provenance::Proven } else { Provenance::Unproven }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::{Value, json};

    use super::*;

    const ACME: &str = "https://acme.eu.auth0.com";

    /// Returns a Secret as we wrote it for the client `shop` of `acme.eu.auth0.com`.
    fn published() -> Value {
        let data: Value = ["client_id", "domain", "client_secret", "client_secret_fallback"]
            .into_iter()
            .zip(["shop", "acme.eu.auth0.com", "current", "previous"])
            .map(|(key, text)| (key.to_owned(), json!(STANDARD.encode(text))))
            .collect();
        let annotations = json!({
            OWNER_ANNOTATION: "shop",
            KEYS_ANNOTATION: "client_secret,client_secret_fallback",
            CURRENT_ANNOTATION: "2",
            "auth0-rotator.dev/fallback": "1",
            CLIENT_ID_ANNOTATION: "shop",
            ORIGIN_ANNOTATION: ACME,
        });
        let names = |map: &Value| -> Value {
            let names = map.as_object().unwrap().keys();
            names.map(|name| (format!("f:{name}"), json!({}))).collect()
        };
        let fields = json!({
            "f:data": names(&data), "f:metadata": { "f:annotations": names(&annotations) },
        });
        json!({
            "metadata": {
                "annotations": annotations,
                "managedFields": [
                    { "manager": "auth0-rotator", "operation": "Apply", "fieldsV1": fields },
                ],
            },
            "data": data,
        })
    }

    fn without_record(mut secret: Value) -> Value {
        for name in [CLIENT_ID_ANNOTATION, ORIGIN_ANNOTATION] {
            secret["metadata"]["annotations"].as_object_mut().unwrap().remove(name);
            disown(&mut secret, "f:metadata/f:annotations", name);
        }
        secret
    }

    /// Makes another manager the owner of a field.
    fn disown(secret: &mut Value, parent: &str, name: &str) {
        let mut fields = &mut secret["metadata"]["managedFields"][0]["fieldsV1"];
        for step in parent.split('/') {
            fields = &mut fields[step];
        }
        fields.as_object_mut().unwrap().remove(&format!("f:{name}"));
    }

    fn provenance(secret: &Value, client_id: &str, domain: &str, origin: &str) -> Provenance {
        let tenant = ValueOrigin { domain: domain.to_owned(), origin: origin.to_owned() };
        let keys = Keys::default();
        let expected =
            ExpectedOrigin { client_id, tenant: Some(&tenant), keys: &keys, is_recorded: false };
        Snapshot::parse(&secret.to_string()).unwrap().provenance(&expected)
    }

    fn provenance_at(secret: &Value, origin: &str) -> Provenance {
        provenance(secret, "shop", "acme.eu.auth0.com", origin)
    }

    #[test]
    fn record_proves_one_client_at_one_origin() {
        let secret = published();
        assert_eq!(provenance_at(&secret, ACME), Provenance::Proven);
        for origin in ["https://evil.example", "http://acme.eu.auth0.com", &format!("{ACME}:8443")]
        {
            assert_eq!(provenance_at(&secret, origin), Provenance::OtherOrigin, "{origin}");
        }
        let other_client = provenance(&secret, "cart", "acme.eu.auth0.com", ACME);
        assert_eq!(other_client, Provenance::Unproven);
    }

    #[test]
    fn record_that_another_manager_wrote_proves_nothing() {
        for name in [CLIENT_ID_ANNOTATION, ORIGIN_ANNOTATION] {
            let mut secret = published();
            disown(&mut secret, "f:metadata/f:annotations", name);
            assert_eq!(provenance_at(&secret, ACME), Provenance::Unproven, "{name}");
        }
        for mut secret in [published(), without_record(published())] {
            secret["metadata"]["managedFields"] = json!([]);
            assert_eq!(provenance_at(&secret, ACME), Provenance::Unproven);
        }
    }

    #[test]
    fn secret_of_an_older_version_is_proven_by_its_keys_at_auth0_only() {
        let secret = without_record(published());
        assert_eq!(provenance_at(&secret, ACME), Provenance::Proven);
        assert_eq!(provenance_at(&secret, "https://evil.example"), Provenance::Unproven);
        let elsewhere = provenance(&secret, "shop", "evil.example", "https://evil.example");
        assert_eq!(elsewhere, Provenance::OtherOrigin);
        let other_client = provenance(&secret, "cart", "acme.eu.auth0.com", ACME);
        assert_eq!(other_client, Provenance::Unproven);
        for key in ["client_id", "domain"] {
            let mut secret = secret.clone();
            disown(&mut secret, "f:data", key);
            assert_eq!(provenance_at(&secret, ACME), Provenance::Unproven, "{key}");
        }
    }

    #[test]
    fn value_is_ours_only_if_we_wrote_it() {
        let values = |secret: &Value| {
            let values = Snapshot::parse(&secret.to_string()).unwrap().own_values();
            let text = |value: Option<auth0_client::ClientSecret>| {
                value.map(|value| value.expose().to_owned())
            };
            (text(values.current), text(values.fallback))
        };
        let (current, previous) = (Some("current".to_owned()), Some("previous".to_owned()));
        assert_eq!(values(&published()), (current.clone(), previous.clone()));
        for (parent, name, expected) in [
            ("f:data", "client_secret", (None, previous.clone())),
            ("f:metadata/f:annotations", CURRENT_ANNOTATION, (current.clone(), previous)),
            ("f:data", "client_secret_fallback", (current, None)),
            ("f:metadata/f:annotations", KEYS_ANNOTATION, (None, None)),
        ] {
            let mut secret = published();
            disown(&mut secret, parent, name);
            assert_eq!(values(&secret), expected, "{name}");
        }
    }
}
