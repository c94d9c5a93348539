//! The certificate of the metrics server: from files, or self-signed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio_rustls::TlsAcceptor;

/// How often to check whether the files of a certificate changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// Files of a certificate chain and its private key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Path of the certificate chain.
    pub cert: PathBuf,
    /// Path of the private key.
    pub key: PathBuf,
}

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read or parsed. The message has no part of it.
    #[error("can't read a certificate or key in PEM from {0}")]
    File(PathBuf),
    /// The certificate and the key don't form a usable pair.
    #[error("can't use the certificate: {0}")]
    Unusable(#[from] rustls::Error),
    /// No certificate could be generated.
    #[error("can't generate a certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

/// The TLS configuration of a server.
pub struct Tls {
    state: Mutex<State>,
    /// `None` for a certificate of this process.
    files: Option<CertificateFiles>,
}

struct State {
    acceptor: TlsAcceptor,
    checked_at: Instant,
    modified: Option<SystemTime>,
}

impl Tls {
    /// Reads the certificate from files, or generates a self-signed one that lasts as long as this
    /// process.
    ///
    /// # Errors
    ///
    /// When the files can't be used.
    pub fn new(files: Option<CertificateFiles>) -> Result<Self, TlsError> {
        let (acceptor, modified) = match &files {
            Some(files) => (read(files)?, modified(&files.cert)),
            None => (self_signed()?, None),
        };
        let state = State { acceptor, checked_at: Instant::now(), modified };
        Ok(Self { state: Mutex::new(state), files })
    }

    /// Returns the acceptor for a new connection. Files that were renewed are read again; while they
    /// can't be used, the previous certificate stays.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut state = self.state.lock();
        if let Some(files) = &self.files
            && state.checked_at.elapsed() >= RELOAD_INTERVAL
        {
            state.checked_at = Instant::now();
            let modified = modified(&files.cert);
            if modified != state.modified {
                match read(files) {
                    Ok(acceptor) => {
                        (state.acceptor, state.modified) = (acceptor, modified);
                        tracing::info!("reloaded the certificate of the metrics server");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "failed to reload the certificate of the metrics server");
                    }
                }
            }
        }
        state.acceptor.clone()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn read(files: &CertificateFiles) -> Result<TlsAcceptor, TlsError> {
    let unreadable = |path: &Path| TlsError::File(path.to_path_buf());
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|_| unreadable(&files.cert))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|_| unreadable(&files.key))?;
    acceptor(chain, key)
}

fn self_signed() -> Result<TlsAcceptor, TlsError> {
    let names = vec!["auth0-rotator".to_owned(), "localhost".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    acceptor(vec![certified.cert.der().clone()], key)
}

/// Accepts TLS 1.2 and later.
fn acceptor(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<TlsAcceptor, TlsError> {
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_certificate_and_reports_unusable_files_without_their_content() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            cert: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
        };
        let error = Tls::new(Some(files.clone())).err().unwrap().to_string();
        assert!(error.contains("tls.crt"), "{error}");
        let certified = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        fs::write(&files.cert, certified.cert.pem()).unwrap();
        fs::write(&files.key, "not a key: hunter2").unwrap();
        let error = Tls::new(Some(files.clone())).err().unwrap().to_string();
        assert!(error.contains("tls.key") && !error.contains("hunter2"), "{error}");
        fs::write(&files.key, certified.signing_key.serialize_pem()).unwrap();
        assert!(Tls::new(Some(files)).is_ok());
        assert!(Tls::new(None).is_ok());
    }
}
