//! How clients get to the API server: as a file, and as kube's configuration.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::certificates::{Authority, Certificate};
use crate::error::Error;

const NAME: &str = "control-plane";

/// A kubeconfig in YAML, with everything inside.
pub(crate) fn yaml(
    port: u16,
    authority: &Authority,
    user: &str,
    certificate: &Certificate,
) -> Result<String, Error> {
    Ok(serde_norway::to_string(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": NAME,
            "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": STANDARD.encode(authority.certificate()),
            },
        }],
        "users": [{
            "name": user,
            "user": {
                "client-certificate-data": STANDARD.encode(&certificate.certificate),
                "client-key-data": STANDARD.encode(&certificate.key),
            },
        }],
        "contexts": [{ "name": NAME, "context": { "cluster": NAME, "user": user } }],
        "current-context": NAME,
    }))?)
}

/// The same for a client in this process.
pub(crate) fn client_config(
    port: u16,
    authority: &Authority,
    certificate: &Certificate,
) -> Result<kube::Config, Error> {
    let url = http::Uri::builder()
        .scheme("https")
        .authority(format!("127.0.0.1:{port}"))
        .path_and_query("/")
        .build()
        .map_err(|error| Error::Client(Box::new(kube::Error::HttpError(error))))?;
    let mut config = kube::Config::new(url);
    config.root_cert = Some(vec![authority.certificate_der().to_vec()]);
    config.auth_info.client_certificate_data = Some(STANDARD.encode(&certificate.certificate));
    config.auth_info.client_key_data = Some(STANDARD.encode(&certificate.key).into());
    Ok(config)
}
