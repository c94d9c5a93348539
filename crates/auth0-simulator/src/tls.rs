//! TLS configuration of the listener for Auth0's paths.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::error::StartError;

/// A certificate chain and its private key in PEM. Has no `Debug`, because it holds a key.
#[derive(Clone)]
pub(crate) struct TlsIdentity {
    pub(crate) certificates: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl TlsIdentity {
    /// Creates an acceptor for TLS connections. It selects the crypto provider explicitly, so the
    /// process needs no default provider.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, StartError> {
        let invalid = |reason: &str| StartError::Tls(reason.into());
        let chain = CertificateDer::pem_slice_iter(&self.certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| StartError::Tls(format!("the certificate is not PEM: {error}")))?;
        if chain.is_empty() {
            return Err(invalid("the certificate has no BEGIN CERTIFICATE section"));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            invalid("the key has no PEM section with a private key (PKCS#8, SEC1 or PKCS#1)")
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
