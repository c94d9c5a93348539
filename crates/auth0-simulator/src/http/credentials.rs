//! The parameters of the two OAuth endpoints and how a client proves itself in them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde_json::Value;

use super::Request;
use crate::error::OAuthError;
use crate::tenant::assertion::claimed_client;
use crate::tenant::login::{ClientAuth, Proof};

/// What an assertion is (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The body's parameters by name. Holds secrets, so it has no `Debug`.
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads a form or a JSON object of texts.
    pub(crate) fn read(request: &Request) -> Result<Self, OAuthError> {
        let invalid = |description: &str| {
            OAuthError::new(StatusCode::BAD_REQUEST, "invalid_request", description)
        };
        let body = request.body.as_ref().map_err(|_| {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            OAuthError::new(status, "invalid_request", "request entity too large")
        })?;
        if !request.has_type("application/json") {
            return Ok(Self(url::form_urlencoded::parse(body).into_owned().collect()));
        }
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
            return Err(invalid("The body is not a JSON object"));
        };
        let mut parameters = BTreeMap::new();
        for (name, value) in members {
            match value {
                Value::String(text) => {
                    parameters.insert(name, text);
                }
                // Client libraries send null for what they leave out.
                Value::Null => {}
                _ => return Err(invalid(&format!("Parameter {name} is not a string"))),
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter that isn't empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| OAuthError::missing(name))
    }
}

/// The client id that a request names, for finding the faults meant for it.
pub(crate) fn named_client(request: &Request, parameters: Option<&Parameters>) -> Option<String> {
    let in_body = parameters.and_then(|parameters| parameters.get("client_id"));
    let claimed = || claimed_client(parameters?.get("client_assertion")?);
    in_body.map(Into::into).or_else(|| basic(request).map(|(id, _)| id)).or_else(claimed)
}

/// Who the client says it is and what it proves it with: HTTP Basic or the body.
pub(crate) fn client_auth(
    request: &Request,
    parameters: &Parameters,
) -> Result<ClientAuth, OAuthError> {
    if let Some(assertion) = parameters.get("client_assertion") {
        return asserted(assertion, parameters);
    }
    if let Some((client_id, value)) = basic(request) {
        return Ok(ClientAuth { client_id, proof: Proof::Secret(value) });
    }
    let client_id = parameters.required("client_id")?.to_string();
    let proof = match parameters.get("client_secret") {
        Some(value) => Proof::Secret(SecretString::from(value)),
        None => Proof::None,
    };
    Ok(ClientAuth { client_id, proof })
}

/// An assertion names its client: `client_id` may be left out (RFC 7521, section 4.2).
fn asserted(assertion: &str, parameters: &Parameters) -> Result<ClientAuth, OAuthError> {
    let invalid =
        |text: &str| Err(OAuthError::new(StatusCode::BAD_REQUEST, "invalid_request", text));
    if parameters.required("client_assertion_type")? != ASSERTION_TYPE {
        return invalid("client_assertion_type is not that of a JWT");
    }
    if parameters.get("client_secret").is_some() {
        return invalid("client_secret and client_assertion are two ways: use one");
    }
    let named = parameters.get("client_id").map(Into::into);
    let client_id = named.or_else(|| claimed_client(assertion)).unwrap_or_default();
    Ok(ClientAuth { client_id, proof: Proof::Assertion(SecretString::from(assertion)) })
}

/// HTTP Basic with id and secret percent-encoded as RFC 6749, section 2.3.1, has it; values
/// without a percent sign are the same either way.
fn basic(request: &Request) -> Option<(String, SecretString)> {
    let (scheme, encoded) = request.header(AUTHORIZATION)?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, value) = decoded.split_once(':')?;
    let plain = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
    Some((plain(id).ok()?, SecretString::from(plain(value).ok()?)))
}
