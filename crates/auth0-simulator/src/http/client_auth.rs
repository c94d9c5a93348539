//! Parameters of the OAuth endpoints and the client authentication that they contain.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{StatusCode, header::AUTHORIZATION};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde_json::Value;

use super::Request;
use crate::{
    error::OAuthError,
    tenant::{
        authentication::{ClientAuth, Proof},
        client_assertion::claimed_client,
    },
};

/// Value of `client_assertion_type` for a JWT (RFC 7523, section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Parameters of the body by name. Has no `Debug`, because it holds secrets.
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Parses a form or a JSON object of strings.
    pub(crate) fn parse(request: &Request) -> Result<Self, OAuthError> {
        let body = request.body.as_ref().map_err(|_| {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            OAuthError::new(status, "invalid_request", "request entity too large")
        })?;
        if !request.has_media_type("application/json") {
            return Ok(Self(url::form_urlencoded::parse(body).into_owned().collect()));
        }
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
            return Err(OAuthError::invalid_request("The body is not a JSON object"));
        };
        let mut parameters = BTreeMap::new();
        for (name, value) in members {
            match value {
                Value::String(text) => {
                    parameters.insert(name, text);
                }
                // Client libraries send null for absent parameters.
                Value::Null => {}
                _ => {
                    let description = format!("Parameter {name} is not a string");
                    return Err(OAuthError::invalid_request(description));
                }
            }
        }
        Ok(Self(parameters))
    }

    /// Returns a parameter unless it is absent or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns a parameter or the error for its absence.
    pub(crate) fn required(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| OAuthError::missing(name))
    }
}

/// Returns the client id that a request names, before authentication. Faults match it.
pub(crate) fn named_client(request: &Request, parameters: Option<&Parameters>) -> Option<String> {
    if let Some(id) = parameters.and_then(|parameters| parameters.get("client_id")) {
        return Some(id.into());
    }
    if let Some(credentials) = basic_credentials(request) {
        return Some(credentials.client_id);
    }
    claimed_client(parameters?.get("client_assertion")?)
}

/// Extracts the client id and its proof from an assertion, from HTTP Basic or from the body.
pub(crate) fn client_auth(
    request: &Request,
    parameters: &Parameters,
) -> Result<ClientAuth, OAuthError> {
    if let Some(assertion) = parameters.get("client_assertion") {
        return assertion_auth(assertion, parameters);
    }
    if let Some(BasicCredentials { client_id, secret }) = basic_credentials(request) {
        return Ok(ClientAuth { client_id, proof: Proof::Secret(secret) });
    }
    let client_id = parameters.required("client_id")?.to_string();
    let proof = match parameters.get("client_secret") {
        Some(value) => Proof::Secret(SecretString::from(value)),
        None => Proof::None,
    };
    Ok(ClientAuth { client_id, proof })
}

/// Extracts the authentication by assertion. `client_id` is optional, because the assertion names
/// the client (RFC 7521, section 4.2).
fn assertion_auth(assertion: &str, parameters: &Parameters) -> Result<ClientAuth, OAuthError> {
    if parameters.required("client_assertion_type")? != JWT_BEARER {
        return Err(OAuthError::invalid_request(format!(
            "Invalid client_assertion_type: expected {JWT_BEARER}"
        )));
    }
    if parameters.get("client_secret").is_some() {
        return Err(OAuthError::invalid_request(
            "client_secret and client_assertion are mutually exclusive",
        ));
    }
    let client_id = match parameters.get("client_id") {
        Some(id) => id.into(),
        None => claimed_client(assertion).unwrap_or_default(),
    };
    Ok(ClientAuth { client_id, proof: Proof::Assertion(SecretString::from(assertion)) })
}

struct BasicCredentials {
    client_id: String,
    secret: SecretString,
}

/// Parses HTTP Basic credentials. RFC 6749, section 2.3.1, requires percent-encoding; decoding
/// doesn't change values without a percent sign.
fn basic_credentials(request: &Request) -> Option<BasicCredentials> {
    let (scheme, encoded) = request.header(AUTHORIZATION)?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some(BasicCredentials {
        client_id: percent_decode(id)?,
        secret: SecretString::from(percent_decode(secret)?),
    })
}

fn percent_decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}
