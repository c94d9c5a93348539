//! Access to the API server: kubeconfig files and configurations for kube's client.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    certificates::{CertificateAuthority, IssuedCertificate},
    error::Error,
};

/// The name of the cluster and of the context.
const NAME: &str = "local-cluster";

/// Returns a kubeconfig in YAML that contains the certificates and the key.
pub(crate) fn yaml(
    port: u16,
    authority: &CertificateAuthority,
    user: &str,
    certificate: &IssuedCertificate,
) -> Result<String, Error> {
    Ok(serde_norway::to_string(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": NAME,
            "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": STANDARD.encode(authority.certificate_pem()),
            },
        }],
        "users": [{
            "name": user,
            "user": {
                "client-certificate-data": STANDARD.encode(&certificate.certificate_pem),
                "client-key-data": STANDARD.encode(&certificate.key_pem),
            },
        }],
        "contexts": [{ "name": NAME, "context": { "cluster": NAME, "user": user } }],
        "current-context": NAME,
    }))?)
}

/// Returns the equivalent configuration for a client in this process.
pub(crate) fn client_config(
    port: u16,
    authority: &CertificateAuthority,
    certificate: &IssuedCertificate,
) -> Result<kube::Config, Error> {
    let url = http::Uri::builder()
        .scheme("https")
        .authority(format!("127.0.0.1:{port}"))
        .path_and_query("/")
        .build()
        .map_err(|error| Error::Client(Box::new(kube::Error::HttpError(error))))?;
    let mut config = kube::Config::new(url);
    config.root_cert = Some(vec![authority.certificate_der().to_vec()]);
    config.auth_info.client_certificate_data = Some(STANDARD.encode(&certificate.certificate_pem));
    config.auth_info.client_key_data = Some(STANDARD.encode(&certificate.key_pem).into());
    Ok(config)
}
