//! Client assertions, verified by another library, and the parsing of keys.

use std::collections::HashSet;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::*;

const PKCS1: &str = include_str!("../../tests/keys/rsa.pkcs1.pem");
const PKCS8: &str = include_str!("../../tests/keys/rsa.pkcs8.pem");
const PUBLIC: &str = include_str!("../../tests/keys/rsa.public.pem");
const CERTIFICATE: &str = include_str!("../../tests/keys/rsa.certificate.pem");
const OTHER_PUBLIC: &str = include_str!("../../tests/keys/other.public.pem");

const NOW: i64 = 1_800_000_000;

fn credentials(pem: &str, algorithm: SigningAlgorithm, key_id: Option<&str>) -> KeyCredentials {
    KeyCredentials {
        client_id: "management".into(),
        domain: "acme.eu.auth0.com".into(),
        algorithm,
        key_id: key_id.map(Into::into),
        key: SigningKey::from_pem(pem).unwrap(),
    }
}

fn sign_assertion(credentials: &KeyCredentials) -> String {
    let now = DateTime::from_timestamp(NOW, 0).unwrap();
    credentials.sign_assertion(now).unwrap().expose_secret().to_owned()
}

/// Returns the claims if another library verifies the signature.
fn verify(assertion: &str, public: &str, algorithm: Algorithm) -> Option<Value> {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.set_audience(&["https://acme.eu.auth0.com/"]);
    let key = DecodingKey::from_rsa_pem(public.as_bytes()).unwrap();
    decode::<Value>(assertion, &key, &validation).ok().map(|token| token.claims)
}

#[test]
fn assertion_has_required_header_and_claims() {
    let algorithms = [
        (SigningAlgorithm::Rs256, Algorithm::RS256),
        (SigningAlgorithm::Rs384, Algorithm::RS384),
        (SigningAlgorithm::Ps256, Algorithm::PS256),
    ];
    for (algorithm, expected) in algorithms {
        for pem in [PKCS1, PKCS8] {
            let signed = sign_assertion(&credentials(pem, algorithm, None));
            let header = decode_header(&signed).unwrap();
            assert_eq!((header.alg, header.kid), (expected, None));
            let claims = verify(&signed, PUBLIC, expected).unwrap();
            assert_eq!(claims["iss"], "management");
            assert_eq!(claims["sub"], "management");
            assert_eq!(claims["aud"], "https://acme.eu.auth0.com/");
            assert_eq!((&claims["iat"], &claims["exp"]), (&NOW.into(), &(NOW + 60).into()));
            assert!((1..=64).contains(&claims["jti"].as_str().unwrap().len()));
            assert_eq!(claims.as_object().unwrap().len(), 6);
        }
    }
}

#[test]
fn assertion_names_configured_key_id() {
    let signed = sign_assertion(&credentials(PKCS8, SigningAlgorithm::Rs256, Some("kid-1")));
    assert_eq!(decode_header(&signed).unwrap().kid.as_deref(), Some("kid-1"));
}

#[test]
fn assertion_is_signed_with_the_key_and_unique() {
    let credentials = credentials(PKCS8, SigningAlgorithm::Rs256, None);
    let signed = sign_assertion(&credentials);
    assert_eq!(verify(&signed, OTHER_PUBLIC, Algorithm::RS256), None);
    let ids: HashSet<_> = (0..20)
        .map(|_| verify(&sign_assertion(&credentials), PUBLIC, Algorithm::RS256).unwrap())
        .map(|claims| claims["jti"].to_string())
        .collect();
    assert_eq!(ids.len(), 20);
}

#[test]
fn rejects_unusable_key_with_advice() {
    let cut = PKCS8.split_at(PKCS8.len() / 2).0;
    let scrambled = PKCS8.replace("\nMII", "\nmii");
    let rejected = [
        ("", InvalidKey::NotPem, "BEGIN and END lines"),
        ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", InvalidKey::NotPem, "BEGIN"),
        (
            include_str!("../../tests/keys/encrypted.pkcs8.pem"),
            InvalidKey::Encrypted,
            "openssl pkey",
        ),
        (include_str!("../../tests/keys/encrypted.pkcs1.pem"), InvalidKey::Encrypted, "decrypt it"),
        (PUBLIC, InvalidKey::Public, "the private key"),
        (CERTIFICATE, InvalidKey::Certificate, "its private key"),
        (include_str!("../../tests/keys/ec.sec1.pem"), InvalidKey::NotRsa, "RSA keys only"),
        (include_str!("../../tests/keys/ec.pkcs8.pem"), InvalidKey::NotRsa, "openssl genrsa"),
        (include_str!("../../tests/keys/ed25519.pkcs8.pem"), InvalidKey::NotRsa, "RSA keys only"),
        (include_str!("../../tests/keys/openssh.pem"), InvalidKey::OpenSsh, "ssh-keygen"),
        (include_str!("../../tests/keys/short.pkcs1.pem"), InvalidKey::TooShort, "2048"),
        (include_str!("../../tests/keys/short.pkcs8.pem"), InvalidKey::TooShort, "2048"),
        (cut, InvalidKey::Damaged, "whole file"),
        (&scrambled, InvalidKey::Damaged, "whole file"),
    ];
    for (text, expected, advice) in rejected {
        let error = SigningKey::from_pem(text).unwrap_err();
        assert_eq!(error, expected, "{text}");
        assert!(error.to_string().contains(advice), "{error}");
    }
}

#[test]
fn ignores_text_around_key() {
    let windows = PKCS8.replace('\n', "\r\n");
    let indented = PKCS8.replace('\n', "\n    ");
    let chained = format!("a comment\n{CERTIFICATE}{PUBLIC}\n{PKCS1}\n");
    for text in [windows, indented, chained] {
        let key = SigningKey::from_pem(&text).unwrap();
        assert!(key.sign(SigningAlgorithm::Rs256, b"text").is_some());
    }
}

#[test]
fn debug_prints_no_part_of_key() {
    let credentials = credentials(PKCS8, SigningAlgorithm::Ps256, None);
    let key = "SigningKey([REDACTED])";
    assert_eq!(format!("{:?}", credentials.key), key);
    assert!(format!("{credentials:?}").ends_with(&format!("key: {key} }}")));
}

proptest! {
    #[test]
    fn rejects_random_text(label in "[A-Z ]{0,20}", body in "[A-Za-z0-9+/=\n: -]{0,300}") {
        let text = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        prop_assert!(SigningKey::from_pem(&text).is_err());
        prop_assert!(SigningKey::from_pem(&body).is_err());
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY"] {
            let text = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
            prop_assert!(SigningKey::from_pem(&text).is_err());
        }
    }
}
