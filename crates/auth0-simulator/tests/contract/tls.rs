//! HTTPS with a given certificate.

use auth0_simulator::Fault;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::support::{APP, APP_SECRET, Tenant, immediate};

/// An authority and a certificate for localhost that it signed, all PEM.
pub(crate) struct Certificates {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) fn certificates() -> Certificates {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.distinguished_name.push(DnType::CommonName, "a test's authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let names = ["localhost".to_string(), "127.0.0.1".to_string()];
    let mut leaf = CertificateParams::new(names).unwrap();
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &authority).unwrap();
    Certificates {
        authority: authority.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

async fn started() -> Tenant {
    let made = certificates();
    let simulator = immediate().tls(made.certificate, made.key).start().await.unwrap();
    let authority = reqwest::Certificate::from_pem(made.authority.as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    Tenant { simulator, http }
}

#[tokio::test]
async fn auth0s_paths_are_served_over_https() {
    let tenant = started().await;
    assert!(tenant.simulator.url().starts_with("https://127.0.0.1:"));
    assert!(tenant.simulator.admin_url().starts_with("http://127.0.0.1:"));
    let token = tenant.token().await;
    assert_eq!(tenant.rotate(&token, APP).await.status, 200);
}

#[tokio::test]
async fn a_client_that_doesnt_know_the_authority_refuses() {
    let tenant = started().await;
    let stranger = reqwest::Client::new();
    let error = stranger.get(tenant.simulator.url()).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn plain_http_is_not_understood() {
    let tenant = started().await;
    let plain = tenant.simulator.url().replace("https", "http");
    assert!(tenant.http.get(plain).send().await.is_err());
}

#[tokio::test]
async fn connections_are_cut_under_tls_too() {
    let tenant = started().await;
    let token = tenant.token().await;
    for (fault, rotates) in [(Fault::cut_before(), false), (Fault::cut_after(), true)] {
        let before = tenant.current(APP);
        tenant.simulator.faults().order(fault).unwrap();
        let path = format!("/clients/{APP}/rotate-secret");
        assert!(tenant.api(&token, reqwest::Method::POST, &path).send().await.is_err());
        assert_eq!(tenant.current(APP) != before, rotates);
    }
    assert_ne!(tenant.current(APP), APP_SECRET);
}
