//! What has to hold of Auth0's answers and their headers, whatever bytes they are.

use std::{fmt, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{
    answers,
    error::Auth0Error,
    pacer::headers::{FURTHEST, budget, closed_for},
    secret::ClientSecret,
    token,
    transport::Answer,
};

/// A secret that stands in what is tried. It may appear nowhere.
pub const MARK: &str = "kT9x_Qw83hFz-LpA0vbn";

const NAMES: [&str; 4] =
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"];

/// However the rate limit is told, no wait is negative, and none is longer than an hour.
///
/// # Panics
/// When one is.
pub fn headers(values: [&[u8]; 4], refused: bool, now: i64) {
    let now = DateTime::from_timestamp(now.clamp(0, 250_000_000_000), 0).unwrap_or_default();
    let values = NAMES.into_iter().zip(values).filter_map(|(name, value)| {
        Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?))
    });
    let headers: HeaderMap = values.collect();
    let closed = closed_for(&headers, refused, now);
    assert!(closed.is_none_or(|closed| closed > TimeDelta::zero() && closed <= FURTHEST));
    assert!(!refused || closed.is_some(), "a refusal closes");
    if let Some(budget) = budget(&headers, now) {
        let reset = budget.reset_time;
        assert!(reset.is_none_or(|reset| reset > now && reset <= now + FURTHEST));
        assert!(budget.remaining > 0 || refused || closed == reset.map(|reset| reset - now));
    }
}

/// Whatever Auth0 answers: it is taken, or refused without a word of what it said. What is taken is
/// a client secret or a token by its form, and isn't printed.
///
/// # Panics
/// When something else is so.
pub fn answer(status: u16, is_html: bool, body: &[u8], wanted: &str) {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let answer = Answer { status, is_html, body: Zeroizing::new(body.to_vec()) };
    let client = answers::client(&answer, Some(wanted));
    if let Ok(client) = &client {
        assert_eq!(client.client_id, wanted);
        secret(client.secret.as_ref());
    }
    kept_back(client);
    if let Ok(page) = answers::page(&answer) {
        page.clients.into_iter().for_each(|client| {
            secret(client.secret.as_ref());
            kept_back(Ok(client));
        });
    }
    token(&answer);
    untold(&answer.unexpected());
    let _ = (token::refuses_proof(&answer), answer.is_plain_success());
}

/// What is taken as a secret could be taken again.
fn secret(secret: Option<&ClientSecret>) {
    if let Some(secret) = secret {
        let again = ClientSecret::new(SecretString::from(secret.expose()));
        assert!(again.as_ref() == Ok(secret), "it would not be taken again");
        untold(secret);
    }
}

/// What is public of a client may be printed; in what is tried it can have the mark as well.
fn kept_back(client: Result<super::ClientInfo, Auth0Error>) {
    match client {
        Ok(mut client) => {
            client.client_id.clear();
            client.metadata.clear();
            untold(&client);
        }
        Err(error) => {
            untold(&error);
            assert!(!error.to_string().contains(MARK));
        }
    }
}

/// A token is renewed within a month, can stand in a header, and isn't printed.
fn token(answer: &Answer) {
    let now = DateTime::<Utc>::default();
    match token::read(answer, now) {
        Ok(token) => {
            assert!(!token.is_fresh(now + TimeDelta::days(31)));
            assert!(HeaderValue::from_str(&format!("Bearer {}", token.expose())).is_ok());
            let scopes = token.scopes().iter().any(|scope| scope.contains(MARK));
            assert!(scopes || !format!("{token:?}").contains(MARK));
        }
        Err(error) => untold(&error),
    }
}

fn untold(what: &impl fmt::Debug) {
    assert!(!format!("{what:?} {what:#?}").contains(MARK), "it is told");
}

/// How long the trial of one input may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

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
            Just(Value::from(MARK)),
            Just(json!({ "alg": "HS256" })),
            Just(json!([MARK, { "k": MARK }])),
        ];
        leaf.boxed()
    }

    prop_compose! {
        /// An object with the fields that are looked at, any of them missing or of another type.
        fn objects()(
            fields in prop::collection::btree_map(prop::sample::select(vec![
                "client_id", "client_secret", "token_endpoint_auth_method", "jwt_configuration",
                "client_authentication_methods", "client_metadata", "total", "access_token",
                "expires_in", "scope", "error", "errorCode", "message",
            ]), values(), 0..8),
            client: bool,
        ) -> Value {
            let mut object = json!(fields);
            if client {
                object["client_id"] = "shop".into();
                object["client_secret"] = MARK.into();
            }
            object
        }
    }

    prop_compose! {
        fn bodies()(
            objects in prop::collection::vec(objects(), 1..4), page: bool, cut in 0usize..4000,
            is_cut: bool,
        ) -> Vec<u8> {
            let whole = match page {
                true => json!({ "total": objects.len(), "clients": objects }),
                false => objects[0].clone(),
            };
            let mut text = whole.to_string().into_bytes();
            if is_cut {
                text.truncate(cut);
            }
            text
        }
    }

    proptest! {
        #[test]
        fn answers_are_taken_or_refused_without_a_word(
            status in prop::sample::select(vec![200u16, 201, 302, 400, 401, 403, 404, 418, 429]),
            is_html: bool,
            body in prop_oneof![bodies(), prop::collection::vec(any::<u8>(), 0..200)],
        ) {
            answer(status, is_html, &body, "shop");
        }

        #[test]
        fn any_headers_make_bounded_waits(
            values in prop::array::uniform4("[ -~]{0,6}|[0-9]{1,20}|18000[0-9]{5}"),
            refused: bool, now in 1_799_990_000i64..1_800_100_000,
        ) {
            headers(values.each_ref().map(|value| value.as_bytes()), refused, now);
        }
    }
}
