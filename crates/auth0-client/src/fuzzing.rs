//! Properties that hold for every input: responses of Auth0 and their rate limit headers.
//!
//! The fuzz targets in `fuzz/` and the property tests below check them with different inputs.

use std::{fmt, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{
    access_token::{AccessToken, is_credential_rejection},
    client_info::ClientInfo,
    client_secret::ClientSecret,
    error::Error,
    rate_limiter::headers::{MAX_BLOCK, block_duration, rate_limit_status},
    responses,
    transport::HttpResponse,
};

/// A secret that inputs contain. It must not appear in any output.
pub const MARKER: &str = "kT9x_Qw83hFz-LpA0vbn";

/// Time limit for one input.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);

const RATE_LIMIT_HEADERS: [&str; 4] =
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"];

/// Checks that rate limit headers block calls for more than zero seconds and at most one hour. The
/// order of `values` is limit, remaining, reset, retry-after.
///
/// # Panics
/// Panics if the property does not hold.
pub fn headers(values: [&[u8]; 4], is_throttled: bool, now: i64) {
    let now = DateTime::from_timestamp(now.clamp(0, 250_000_000_000), 0).unwrap_or_default();
    let mut headers = HeaderMap::new();
    for (name, value) in RATE_LIMIT_HEADERS.into_iter().zip(values) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let block = block_duration(&headers, is_throttled, now);
    assert!(block.is_none_or(|block| block > TimeDelta::zero() && block <= MAX_BLOCK));
    assert!(!is_throttled || block.is_some(), "a 429 does not block calls");
    if let Some(status) = rate_limit_status(&headers, now) {
        let reset = status.reset_time;
        assert!(reset.is_none_or(|reset| reset > now && reset <= now + MAX_BLOCK));
        assert!(status.remaining > 0 || is_throttled || block == reset.map(|reset| reset - now));
    }
}

/// Checks that a response is either parsed or rejected with an error that contains no part of it.
/// Parsed secrets and tokens are well-formed and are not printed.
///
/// # Panics
/// Panics if the property does not hold.
pub fn response(status: u16, is_html: bool, body: &[u8], client_id: &str) {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let response = HttpResponse { status, is_html, body: Zeroizing::new(body.to_vec()) };
    match responses::parse_client(&response, client_id) {
        Ok(client) => {
            assert_eq!(client.client_id, client_id);
            check_client(client);
        }
        Err(error) => check_error(&error),
    }
    if let Ok(page) = responses::parse_page(&response) {
        page.clients.into_iter().for_each(check_client);
    }
    check_token(&response);
    assert_not_printed(&response.unexpected());
    let _ = (is_credential_rejection(&response), response.is_success_from_auth0());
}

/// Checks that a page is parsed regardless of an entry's content, and that the client after it is found.
///
/// # Panics
/// Panics if the property does not hold.
pub fn page_with(entry: &serde_json::Value) {
    let shop = serde_json::json!({ "client_id": "shop", "client_secret": "good" });
    let body = serde_json::json!({ "clients": [entry, shop] }).to_string().into_bytes();
    let response =
        HttpResponse { status: StatusCode::OK, is_html: false, body: Zeroizing::new(body) };
    let page = responses::parse_page(&response);
    let last = page.as_ref().ok().and_then(|page| page.clients.last());
    let is_found = last.is_some_and(|client| client.client_id == "shop" && client.secret.is_some());
    assert!(is_found, "an odd client spoils the page");
}

/// Checks that the secret of a parsed client is valid and is not printed.
fn check_client(mut client: ClientInfo) {
    if let Some(secret) = &client.secret {
        let copy = ClientSecret::new(SecretString::from(secret.expose()));
        assert!(copy.as_ref() == Ok(secret), "the parsed secret is invalid");
        assert_not_printed(secret);
    }
    // Public properties are printed, and the input may contain the marker in them as well.
    client.client_id.clear();
    client.metadata.clear();
    assert_not_printed(&client);
}

fn check_error(error: &Error) {
    assert_not_printed(error);
    assert!(!error.to_string().contains(MARKER), "the message contains the secret");
}

/// Checks that a parsed token is renewed within a month, is a valid header value and is not
/// printed.
fn check_token(response: &HttpResponse) {
    let now = DateTime::<Utc>::default();
    match AccessToken::from_response(response, now) {
        Ok(token) => {
            assert!(!token.is_fresh(now + TimeDelta::days(31)));
            assert!(HeaderValue::from_str(&format!("Bearer {}", token.expose())).is_ok());
            let is_in_scopes = token.scopes().iter().any(|scope| scope.contains(MARKER));
            assert!(is_in_scopes || !format!("{token:?}").contains(MARKER));
        }
        Err(error) => assert_not_printed(&error),
    }
}

fn assert_not_printed(value: &impl fmt::Debug) {
    assert!(!format!("{value:?} {value:#?}").contains(MARKER), "the secret is printed");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            Just(Value::from(MARKER)),
            Just(json!({ "alg": "HS256" })),
            Just(json!([MARKER, { "k": MARKER }])),
        ];
        leaf.boxed()
    }

    prop_compose! {
        /// An object with the fields that the parsers read. Fields are missing or have another type
        /// at random.
        fn objects()(
            fields in prop::collection::btree_map(prop::sample::select(vec![
                "client_id", "client_secret", "token_endpoint_auth_method", "jwt_configuration",
                "client_authentication_methods", "client_metadata", "total", "access_token",
                "expires_in", "scope", "error", "errorCode", "message", "app_type", "global",
                "external_metadata_type", "third_party_security_mode", "next",
            ]), values(), 0..8),
            is_client: bool,
        ) -> Value {
            let mut object = json!(fields);
            if is_client {
                object["client_id"] = "shop".into();
                object["client_secret"] = MARKER.into();
            }
            object
        }
    }

    prop_compose! {
        fn bodies()(
            objects in prop::collection::vec(objects(), 1..4), is_page: bool, length in 0usize..4000,
            is_truncated: bool,
        ) -> Vec<u8> {
            let body = if is_page {
                json!({ "next": "MQ", "clients": objects })
            } else {
                objects[0].clone()
            };
            let mut text = body.to_string().into_bytes();
            if is_truncated {
                text.truncate(length);
            }
            text
        }
    }

    proptest! {
        #[test]
        fn responses_are_parsed_or_rejected_without_leaking_secrets(
            status in prop::sample::select(vec![200u16, 201, 302, 400, 401, 403, 404, 418, 429]),
            is_html: bool,
            body in prop_oneof![bodies(), prop::collection::vec(any::<u8>(), 0..200)],
        ) {
            response(status, is_html, &body, "shop");
        }

        #[test]
        fn no_entry_spoils_a_page(entry in prop_oneof![objects(), values()]) {
            page_with(&entry);
        }

        #[test]
        fn any_headers_block_calls_for_a_bounded_time(
            values in prop::array::uniform4("[ -~]{0,6}|[0-9]{1,20}|18000[0-9]{5}"),
            is_throttled: bool, now in 1_799_990_000i64..1_800_100_000,
        ) {
            headers(values.each_ref().map(|value| value.as_bytes()), is_throttled, now);
        }
    }
}
