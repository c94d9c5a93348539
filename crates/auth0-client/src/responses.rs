//! Parsing of Management API responses. Parse errors never include any part of the response body.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use crate::{
    client_info::{ClientInfo, ClientKind, ClientPage},
    client_secret::{ClientSecret, InvalidSecret},
    error::{Error, InvalidResponse},
    transport::HttpResponse,
};

/// Upper bound for the entries of a client's metadata. Auth0 allows ten.
const MAX_METADATA_ENTRIES: usize = 100;

/// Upper bound for a key or a value of a client's metadata in bytes. Auth0 allows 255 characters.
const MAX_METADATA_LENGTH: usize = 4 * 255;

#[derive(Deserialize)]
struct ClientBody {
    client_id: String,
    client_secret: Option<SecretString>,
    app_type: Option<String>,
    global: Option<bool>,
    external_metadata_type: Option<String>,
    third_party_security_mode: Option<String>,
    token_endpoint_auth_method: Option<String>,
    client_authentication_methods: Option<IgnoredAny>,
    jwt_configuration: Option<JwtConfiguration>,
    client_metadata: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct JwtConfiguration {
    alg: Option<String>,
}

#[derive(Deserialize)]
struct PageBody {
    total: usize,
    clients: Vec<ClientBody>,
}

/// Parses the client with the given ID.
pub(crate) fn parse_client(response: &HttpResponse, client_id: &str) -> Result<ClientInfo, Error> {
    let body: ClientBody = response.json()?;
    if body.client_id != client_id {
        return Err(Error::InvalidResponse(InvalidResponse::WrongClient));
    }
    body.into_client_info()
}

/// Parses a page of clients.
pub(crate) fn parse_page(response: &HttpResponse) -> Result<ClientPage, Error> {
    let body: PageBody = response.json()?;
    let clients = body.clients.into_iter().map(ClientBody::into_client_info);
    Ok(ClientPage { clients: clients.collect::<Result<_, _>>()?, total: body.total })
}

impl ClientBody {
    fn kind(&self) -> ClientKind {
        let app_type = self.app_type.as_deref();
        let method = self.token_endpoint_auth_method.as_deref();
        let is_confidential = matches!(method, Some("client_secret_post" | "client_secret_basic"));
        if self.global == Some(true) {
            ClientKind::Global
        } else if self.external_metadata_type.as_deref() == Some("cimd") {
            ClientKind::MetadataDocument
        } else if self.client_authentication_methods.is_some() {
            ClientKind::KeyBased
        } else if app_type == Some("native") && !is_confidential {
            ClientKind::Native
        } else if app_type == Some("spa") || method == Some("none") {
            ClientKind::Public
        } else if self.third_party_security_mode.as_deref() == Some("strict") {
            ClientKind::StrictThirdParty
        } else {
            ClientKind::Confidential
        }
    }

    fn into_client_info(self) -> Result<ClientInfo, Error> {
        let kind = self.kind();
        let secret = match self.client_secret.map(ClientSecret::new) {
            None | Some(Err(InvalidSecret::Empty)) => None,
            Some(Ok(secret)) => Some(secret),
            Some(Err(InvalidSecret::Malformed)) => {
                return Err(Error::InvalidResponse(InvalidResponse::MalformedSecret));
            }
        };
        let algorithm = self.jwt_configuration.and_then(|configuration| configuration.alg);
        let mut metadata = BTreeMap::new();
        for (key, value) in self.client_metadata.into_iter().flatten().take(MAX_METADATA_ENTRIES) {
            if let Value::String(text) = value
                && key.len().max(text.len()) <= MAX_METADATA_LENGTH
            {
                metadata.insert(key, text);
            }
        }
        Ok(ClientInfo {
            client_id: self.client_id,
            kind,
            signs_with_secret: algorithm.as_deref() == Some("HS256"),
            metadata,
            secret,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
