//! HTTPS with a configured certificate.

use auth0_simulator::Fault;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::support::{APP, APP_SECRET, Tenant, immediate};

/// A certificate authority and a certificate for localhost signed by it, in PEM.
pub(crate) struct Certificates {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) fn generate_certificates() -> Certificates {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.distinguished_name.push(DnType::CommonName, "test authority");
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

async fn start() -> Tenant {
    let certificates = generate_certificates();
    let simulator =
        immediate().tls(certificates.certificate, certificates.key).start().await.unwrap();
    let authority = reqwest::Certificate::from_pem(certificates.authority.as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    Tenant { simulator, http }
}

#[tokio::test]
async fn serves_auth0_paths_over_https() {
    let tenant = start().await;
    assert!(tenant.simulator.url().starts_with("https://127.0.0.1:"));
    assert!(tenant.simulator.admin_url().starts_with("http://127.0.0.1:"));
    let token = tenant.token().await;
    assert_eq!(tenant.rotate(&token, APP).await.status, 200);
}

#[tokio::test]
async fn client_rejects_an_unknown_authority() {
    let tenant = start().await;
    let client = reqwest::Client::new();
    let error = client.get(tenant.simulator.url()).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn rejects_plain_http() {
    let tenant = start().await;
    let plain = tenant.simulator.url().replace("https", "http");
    assert!(tenant.http.get(plain).send().await.is_err());
}

#[tokio::test]
async fn cuts_tls_connections() {
    let tenant = start().await;
    let token = tenant.token().await;
    for (fault, rotates) in [(Fault::cut_before(), false), (Fault::cut_after(), true)] {
        let before = tenant.current(APP);
        tenant.simulator.faults().inject(fault).unwrap();
        let path = format!("/clients/{APP}/rotate-secret");
        assert!(tenant.api(&token, reqwest::Method::POST, &path).send().await.is_err());
        assert_eq!(tenant.current(APP) != before, rotates);
    }
    assert_ne!(tenant.current(APP), APP_SECRET);
}
