//! Parsing of Management API responses. Parse errors never include any part of the response body.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use crate::{
    client_info::{ClientInfo, ClientKind, ClientPage, NextPage},
    client_secret::{ClientSecret, InvalidSecret},
    error::{Error, InvalidResponse},
    lenient::{Entry, Flag, SecretField, Text},
    transport::HttpResponse,
};

/// Upper bound for the entries of a client's metadata. Auth0 allows ten.
const MAX_METADATA_ENTRIES: usize = 100;

/// Upper bound for a key or a value of a client's metadata in bytes. Auth0 allows 255 characters.
const MAX_METADATA_LENGTH: usize = 4 * 255;

/// Maximum length of the position in a list in bytes.
const MAX_NEXT_LENGTH: usize = 1024;

/// A client. A field of another type than the documented one counts as absent, so that one odd client
/// does not spoil a page.
#[derive(Deserialize)]
struct ClientBody {
    #[serde(default)]
    client_id: Text,
    #[serde(default)]
    client_secret: SecretField,
    #[serde(default)]
    app_type: Text,
    #[serde(default)]
    global: Flag,
    #[serde(default)]
    external_metadata_type: Text,
    #[serde(default)]
    third_party_security_mode: Text,
    #[serde(default)]
    token_endpoint_auth_method: Text,
    client_authentication_methods: Option<IgnoredAny>,
    #[serde(default)]
    jwt_configuration: Entry<JwtConfiguration>,
    #[serde(default)]
    client_metadata: Entry<BTreeMap<String, Text>>,
}

#[derive(Deserialize)]
struct JwtConfiguration {
    #[serde(default)]
    alg: Text,
}

/// A page of a list by checkpoints. The last one has no `next`.
#[derive(Deserialize)]
struct PageBody {
    clients: Vec<Entry<ClientBody>>,
    next: Option<Text>,
}

/// Parses the client with the given ID.
pub(crate) fn parse_client(response: &HttpResponse, client_id: &str) -> Result<ClientInfo, Error> {
    let body: ClientBody = response.json()?;
    match body.into_client_info() {
        Some(client) if client.client_id == client_id => Ok(client),
        _ => Err(Error::InvalidResponse(InvalidResponse::WrongClient)),
    }
}

/// Parses a page of clients. Leaves out entries that are no clients.
pub(crate) fn parse_page(response: &HttpResponse) -> Result<ClientPage, Error> {
    let body: PageBody = response.json()?;
    let clients = body.clients.into_iter().filter_map(|Entry(client)| client);
    let next = match body.next {
        None => NextPage::End,
        Some(Text(Some(next))) if (1..=MAX_NEXT_LENGTH).contains(&next.len()) => {
            NextPage::From(next)
        }
        Some(_) => NextPage::Unusable,
    };
    Ok(ClientPage { clients: clients.filter_map(ClientBody::into_client_info).collect(), next })
}

impl ClientBody {
    fn kind(&self) -> ClientKind {
        let app_type = self.app_type.0.as_deref();
        let method = self.token_endpoint_auth_method.0.as_deref();
        let is_confidential = matches!(method, Some("client_secret_post" | "client_secret_basic"));
        if self.global.0 == Some(true) {
            ClientKind::Global
        } else if self.external_metadata_type.0.as_deref() == Some("cimd") {
            ClientKind::MetadataDocument
        } else if self.client_authentication_methods.is_some() {
            ClientKind::KeyBased
        } else if app_type == Some("native") && !is_confidential {
            ClientKind::Native
        } else if app_type == Some("spa") || method == Some("none") {
            ClientKind::Public
        } else if self.third_party_security_mode.0.as_deref() == Some("strict") {
            ClientKind::StrictThirdParty
        } else {
            ClientKind::Confidential
        }
    }

    /// Returns `None` if the client has no ID.
    fn into_client_info(self) -> Option<ClientInfo> {
        let kind = self.kind();
        let (secret, is_secret_malformed) = match self.client_secret {
            SecretField::Absent => (None, false),
            SecretField::NoText => (None, true),
            SecretField::Text(text) => match ClientSecret::new(text) {
                Ok(secret) => (Some(secret), false),
                Err(InvalidSecret::Empty) => (None, false),
                Err(InvalidSecret::Malformed) => (None, true),
            },
        };
        let algorithm = self.jwt_configuration.0.and_then(|configuration| configuration.alg.0);
        let mut metadata = BTreeMap::new();
        for (key, value) in self.client_metadata.0.into_iter().flatten().take(MAX_METADATA_ENTRIES)
        {
            if let Text(Some(text)) = value
                && key.len().max(text.len()) <= MAX_METADATA_LENGTH
            {
                metadata.insert(key, text);
            }
        }
        Some(ClientInfo {
            client_id: self.client_id.0?,
            kind,
            signs_with_secret: algorithm.as_deref() == Some("HS256"),
            metadata,
            secret,
            is_secret_malformed,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kind(fields: Value) -> ClientKind {
        let mut body = json!({ "client_id": "shop" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value::<ClientBody>(body).unwrap().kind()
    }

    #[test]
    fn recognizes_clients_that_must_not_be_rotated() {
        let keys = json!({ "private_key_jwt": {} });
        for (fields, expected) in [
            (json!({}), ClientKind::Confidential),
            (json!({ "app_type": "regular_web", "global": false }), ClientKind::Confidential),
            (
                json!({ "external_metadata_type": null, "third_party_security_mode": "permissive" }),
                ClientKind::Confidential,
            ),
            (json!({ "token_endpoint_auth_method": "none" }), ClientKind::Public),
            (json!({ "app_type": "spa" }), ClientKind::Public),
            (
                json!({ "app_type": "spa", "token_endpoint_auth_method": "client_secret_post" }),
                ClientKind::Public,
            ),
            (json!({ "client_authentication_methods": keys }), ClientKind::KeyBased),
            (
                json!({ "app_type": "native", "client_authentication_methods": keys }),
                ClientKind::KeyBased,
            ),
            (json!({ "client_authentication_methods": null }), ClientKind::Confidential),
            (json!({ "global": true, "client_secret": "x" }), ClientKind::Global),
            (json!({ "external_metadata_type": "cimd" }), ClientKind::MetadataDocument),
            (json!({ "app_type": "native" }), ClientKind::Native),
            (
                json!({ "app_type": "native", "token_endpoint_auth_method": "none" }),
                ClientKind::Native,
            ),
            (
                json!({ "app_type": "native", "token_endpoint_auth_method": "client_secret_basic" }),
                ClientKind::Confidential,
            ),
            (json!({ "third_party_security_mode": "strict" }), ClientKind::StrictThirdParty),
        ] {
            assert_eq!(kind(fields.clone()), expected, "{fields}");
        }
    }
}

#[cfg(test)]
mod page_tests {
    use reqwest::StatusCode;
    use serde_json::{Value, json};
    use zeroize::Zeroizing;

    use super::*;

    fn page(body: &Value) -> Result<ClientPage, Error> {
        let body = Zeroizing::new(body.to_string().into_bytes());
        parse_page(&HttpResponse { status: StatusCode::OK, is_html: false, body })
    }

    #[test]
    fn odd_clients_do_not_spoil_a_page() {
        let odd = [
            json!({ "client_id": "control", "client_secret": "a\u{1}b" }),
            json!({ "client_id": "long", "client_secret": "x".repeat(5000) }),
            json!({ "client_id": "number", "client_secret": 42 }),
            json!({ "client_id": "object", "client_secret": { "value": [1, null] } }),
            json!({ "client_id": "array", "client_secret": ["a", { "b": 1.5 }] }),
            json!({ "client_id": "missing" }),
            json!({ "client_id": "null", "client_secret": null }),
            json!({ "client_id": "empty", "client_secret": "" }),
            json!({ "client_id": 7, "client_secret": "s" }),
            json!({ "client_secret": "s" }),
            json!({
                "client_id": "types", "client_secret": "s", "app_type": [], "global": "no",
                "jwt_configuration": "HS256", "client_metadata": [1], "external_metadata_type": {},
                "token_endpoint_auth_method": 1, "third_party_security_mode": false,
            }),
            json!("text"),
            json!(1),
            json!(-1),
            json!(0.5),
            json!(true),
            json!(null),
            json!([1, []]),
        ];
        let mut clients = odd.to_vec();
        clients.push(json!({ "client_id": "shop", "client_secret": "good" }));
        let page = page(&json!({ "clients": clients })).unwrap();
        let summary: Vec<_> = page
            .clients
            .iter()
            .map(|client| {
                (client.client_id.as_str(), client.secret.is_some(), client.is_secret_malformed)
            })
            .collect();
        assert_eq!(
            summary,
            [
                ("control", false, true),
                ("long", false, true),
                ("number", false, true),
                ("object", false, true),
                ("array", false, true),
                ("missing", false, false),
                ("null", false, false),
                ("empty", false, false),
                ("types", true, false),
                ("shop", true, false),
            ]
        );
    }

    #[test]
    fn last_page_has_no_next() {
        for (next, expected) in [
            (json!("abc"), NextPage::From("abc".into())),
            (json!(null), NextPage::End),
            (json!(""), NextPage::Unusable),
            (json!(5), NextPage::Unusable),
            (json!("x".repeat(2000)), NextPage::Unusable),
        ] {
            assert_eq!(page(&json!({ "clients": [], "next": next })).unwrap().next, expected);
        }
        assert_eq!(page(&json!({ "clients": [] })).unwrap().next, NextPage::End);
        assert!(page(&json!({ "total": 1 })).is_err());
    }
}
