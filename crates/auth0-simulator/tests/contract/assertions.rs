//! Private key JWT: clients that authenticate with an assertion.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth0_simulator::{ClientSeed, KeyAlgorithm, ManualClock};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::{API, APP, Response, Tenant, immediate, merge};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const AUDIENCE: &str = "https://acme.eu.auth0.com/";

/// A generated RSA key.
pub(crate) struct RsaKey(KeyPair);

impl RsaKey {
    pub(crate) fn generate() -> Self {
        Self(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap())
    }

    pub(crate) fn private(&self) -> String {
        self.0.serialize_pem()
    }

    pub(crate) fn public(&self) -> String {
        self.0.public_key_pem()
    }
}

fn seed(key: &RsaKey, algorithm: KeyAlgorithm) -> ClientSeed {
    ClientSeed::new("signer").public_key(key.public(), algorithm).grant(API, ["read:things"])
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Signs an assertion of `signer`. `overrides` replaces claims of a valid assertion.
pub(crate) fn assertion(key: &RsaKey, header: Header, jti: &str, overrides: Value) -> String {
    let now = seconds(SystemTime::now());
    let mut claims = json!({
        "iss": "signer", "sub": "signer", "aud": AUDIENCE, "iat": now, "exp": now + 60, "jti": jti,
    });
    merge(&mut claims, overrides);
    encode(&header, &claims, &EncodingKey::from_rsa_pem(key.private().as_bytes()).unwrap()).unwrap()
}

fn valid_assertion(key: &RsaKey, jti: &str) -> String {
    assertion(key, Header::new(Algorithm::RS256), jti, json!({}))
}

async fn login(tenant: &Tenant, assertion: &str) -> Response {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "signer"),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
        ("audience", API),
    ];
    tenant.oauth("/oauth/token", &form).await
}

#[tokio::test]
async fn accepts_an_assertion_only_once() {
    let key = RsaKey::generate();
    for (algorithm, signed_with) in [
        (KeyAlgorithm::RS256, Algorithm::RS256),
        (KeyAlgorithm::RS384, Algorithm::RS384),
        (KeyAlgorithm::PS256, Algorithm::PS256),
    ] {
        let tenant = Tenant::start(immediate().client(seed(&key, algorithm))).await;
        let assertion_jwt = assertion(&key, Header::new(signed_with), "first", json!({}));
        let response = login(&tenant, &assertion_jwt).await;
        assert_eq!(
            (response.status.as_u16(), &response.body["scope"]),
            (200, &json!("read:things"))
        );
        let response = login(&tenant, &assertion_jwt).await;
        assert_eq!(response.error(), (401, "invalid_client"));
        assert!(response.body["error_description"].as_str().unwrap().contains("used before"));
        let again = assertion(&key, Header::new(signed_with), "second", json!({}));
        assert_eq!(login(&tenant, &again).await.status, 200);
        let values = tenant.simulator.value_history();
        assert!(values.tokens.iter().any(|value| value.expose_secret() == assertion_jwt));
    }
}

#[tokio::test]
async fn error_describes_what_is_wrong_with_an_assertion() {
    let (key, other) = (RsaKey::generate(), RsaKey::generate());
    let tenant = Tenant::start(immediate().client(seed(&key, KeyAlgorithm::RS256))).await;
    let now = seconds(SystemTime::now());
    let with = |overrides| assertion(&key, Header::new(Algorithm::RS256), "j", overrides);
    let named = Header { kid: Some("unknown".into()), ..Header::new(Algorithm::RS256) };
    let long = "x".repeat(65);
    for (assertion, hint) in [
        (valid_assertion(&other, "j"), "signature"),
        (assertion(&key, Header::new(Algorithm::PS256), "j", json!({})), "'alg'"),
        (assertion(&key, named, "j", json!({})), "'kid'"),
        (with(json!({"iss": "app"})), "'iss'"),
        (with(json!({"sub": "app"})), "'sub'"),
        (with(json!({"aud": "https://acme.eu.auth0.com"})), "slash at the end"),
        (with(json!({"aud": [AUDIENCE]})), "one string"),
        (with(json!({"exp": now - 1})), "expired"),
        (with(json!({"exp": now + 302})), "5 minutes"),
        (with(json!({"iat": now + 60, "exp": now + 90})), "future"),
        (with(json!({"nbf": now + 60})), "future"),
        (with(json!({"jti": null})), "'jti'"),
        (with(json!({"jti": ""})), "'jti'"),
        (with(json!({"jti": long})), "64"),
        ("no.jwt.here".to_owned(), "not a JWT"),
    ] {
        let response = login(&tenant, &assertion).await;
        assert_eq!(response.error(), (401, "invalid_client"), "{hint}");
        let description = response.body["error_description"].as_str().unwrap();
        assert!(description.contains(hint), "{hint}: {description}");
    }
    assert_eq!(
        login(&tenant, &valid_assertion(&key, "j")).await.status,
        200,
        "a rejected assertion is not used up"
    );
}

#[tokio::test]
async fn client_with_keys_can_only_use_assertions() {
    let key = RsaKey::generate();
    let tenant = Tenant::start(immediate().client(seed(&key, KeyAlgorithm::RS256))).await;
    let secret = tenant.current("signer");
    assert_eq!(tenant.login("signer", &secret, API).await.status, 401);
    let assertion_jwt = valid_assertion(&key, "j");
    let request_token = |form: Vec<(&'static str, String)>| {
        let mut all = vec![
            ("grant_type", "client_credentials".to_owned()),
            ("audience", API.to_owned()),
            ("client_assertion", assertion_jwt.clone()),
        ];
        all.extend(form);
        tenant.send(tenant.request(reqwest::Method::POST, "/oauth/token").form(&all))
    };
    let assertion_type = ("client_assertion_type", TYPE.to_owned());
    assert_eq!(request_token(vec![]).await.error(), (400, "invalid_request"));
    let other = ("client_assertion_type", "urn:other".to_owned());
    assert_eq!(request_token(vec![other]).await.error(), (400, "invalid_request"));
    let both = vec![assertion_type.clone(), ("client_secret", secret)];
    assert_eq!(request_token(both).await.error(), (400, "invalid_request"));
    let app = vec![assertion_type.clone(), ("client_id", APP.to_owned())];
    let response = request_token(app).await;
    assert_eq!(response.error(), (401, "invalid_client"));
    assert!(response.body["error_description"].as_str().unwrap().contains("has no keys"));
    // The assertion names the client.
    assert_eq!(request_token(vec![assertion_type]).await.status, 200);
}

#[tokio::test]
async fn revocation_accepts_an_assertion_only_once() {
    let key = RsaKey::generate();
    let tenant = Tenant::start(immediate().client(seed(&key, KeyAlgorithm::RS256))).await;
    let assertion_jwt = valid_assertion(&key, "j");
    let form =
        [("client_assertion_type", TYPE), ("client_assertion", &assertion_jwt), ("token", "t")];
    assert_eq!(tenant.oauth("/oauth/revoke", &form).await.status, 200);
    assert_eq!(tenant.oauth("/oauth/revoke", &form).await.error(), (401, "invalid_client"));
}

#[tokio::test]
async fn admin_interface_registers_keys_that_the_management_api_lists() {
    let key = RsaKey::generate();
    let tenant = Tenant::start(immediate()).await;
    let put = |client: Value| {
        let url = format!("{}/clients/signer", tenant.simulator.admin_url());
        tenant.send(tenant.http.put(url).json(&client))
    };
    let keys = json!([{ "pem": key.public(), "algorithm": "RS384", "kid": "k1" }]);
    let response = put(json!({ "public_keys": keys, "grants": { API: [] } })).await;
    assert_eq!(response.status, 200, "{:?}", response.body);
    let assertion_jwt = |kid: &str| {
        let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::RS384) };
        assertion(&key, header, "j", json!({}))
    };
    assert_eq!(login(&tenant, &assertion_jwt("k2")).await.status, 401);
    assert_eq!(login(&tenant, &assertion_jwt("k1")).await.status, 200);
    let client = tenant.get(&tenant.token().await, "/clients/signer").await.body;
    let methods = json!({"private_key_jwt": {"credentials": [{"id": "cred_k1"}]}});
    assert_eq!(client["client_authentication_methods"], methods);
    assert!(client.get("client_secret").is_none());
    for wrong in [
        json!({ "public_keys": [{ "pem": "no key" }] }),
        json!({ "public_keys": [{ "pem": key.public(), "algorithm": "HS256" }] }),
        json!({ "public_keys": keys, "fields": { "client_authentication_methods": methods } }),
    ] {
        assert!(put(wrong.clone()).await.status.is_client_error(), "{wrong}");
    }
}

#[tokio::test]
async fn assertions_expire_by_the_clock_of_the_simulator() {
    let (key, clock) = (RsaKey::generate(), ManualClock::new(SystemTime::now()));
    let builder = immediate().clock(clock.clone()).client(seed(&key, KeyAlgorithm::RS256));
    let tenant = Tenant::start(builder).await;
    let assertion_jwt = valid_assertion(&key, "j");
    clock.advance(Duration::from_secs(30 * 86_400));
    let response = login(&tenant, &assertion_jwt).await;
    let description = response.body["error_description"].as_str().unwrap();
    assert!(description.contains("expired"), "{description}");
}
