//! The certificate that the simulator shows.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::error::StartError;

/// A certificate chain and its key as PEM. Not printable.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificates: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Identity {
    /// What accepts TLS connections with it. The provider is named here, so the process needs
    /// no default.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, StartError> {
        let wrong = |what: &str| StartError::Tls(what.into());
        let chain = CertificateDer::pem_slice_iter(&self.certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| StartError::Tls(format!("the certificate is not PEM: {error}")))?;
        if chain.is_empty() {
            return Err(wrong("the certificate has no BEGIN CERTIFICATE section"));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            wrong("the key has no PEM section with a private key (PKCS#8, SEC1 or PKCS#1)")
        })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| StartError::Tls(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| StartError::Tls(error.to_string()))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
