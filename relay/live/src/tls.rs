//! TLS of outputs: certificate and key from files, which are read again when they change.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use fanlight_daemon::file_watch::FileWatch;
use fanlight_daemon::keys::{KeyFileError, KeyPath};
use parking_lot::Mutex;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::server::TlsStream;

/// Largest file of either kind, in bytes: a chain of ten certificates with room.
const MAX_FILE_BYTES: usize = 256 << 10;

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and those that lead from it to one that browsers know, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: KeyPath,
}

/// Why a certificate is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate cannot be read.
    #[error("cannot read the certificate {}: {error}", .file.display())]
    Unreadable {
        /// The path.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It holds no certificate.
    #[error("{} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", .file.display())]
    NoCertificate {
        /// The path.
        file: PathBuf,
    },
    /// The key cannot be read.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// It holds no key.
    #[error("{} holds no private key in PEM that we know (PKCS#8, PKCS#1 or SEC1, without a password)", .file.display())]
    NoKey {
        /// The path.
        file: PathBuf,
    },
    /// They do not go together, or are of a kind that nobody uses.
    #[error("the certificate {} and its key cannot be used: {error}", .file.display())]
    Unusable {
        /// The path of the certificate.
        file: PathBuf,
        /// Why not.
        error: tokio_rustls::rustls::Error,
    },
}

/// A certificate that can be used, and where it came from.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads the files, if there are any. `alpn` names the protocols that are offered to clients that ask by ALPN.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(files: Option<&Files>, alpn: &[&str]) -> Result<Option<Self>, CertificateError> {
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        files.map(|files| Self::read(files, alpn)).transpose()
    }

    fn read(files: &Files, alpn: Vec<Vec<u8>>) -> Result<Self, CertificateError> {
        let file = files.certificate.clone();
        let pem = read_bounded(&file).map_err(|error| CertificateError::Unreadable {
            file: file.clone(),
            error,
        })?;

        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
        if chain.is_empty() {
            return Err(CertificateError::NoCertificate { file });
        }

        let (key_file, pem) = files.key.secret_bytes(MAX_FILE_BYTES)?;
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|_| CertificateError::NoKey { file: key_file })?;
        let unusable = |error| CertificateError::Unusable {
            file: files.certificate.clone(),
            error,
        };

        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;

        config.alpn_protocols = alpn;
        Ok(Self {
            files: files.clone(),
            config: Arc::new(config),
        })
    }
}

/// Begins TLS on connections, with the newest certificate that could be used.
#[derive(Debug)]
pub struct Acceptor(Mutex<Certificate>);

impl Acceptor {
    /// Uses `certificate` until its files change.
    #[must_use]
    pub fn new(certificate: Certificate) -> Self {
        Self(certificate.into())
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// When the client does not do its part, or does not like our certificate.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<TlsStream<S>> {
        let config = Arc::clone(&self.0.lock().config);
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Takes what the files hold when they change and can be used, for ever.
    pub async fn watch(self: Arc<Self>) {
        let (files, alpn) = {
            let current = self.0.lock();
            (current.files.clone(), current.config.alpn_protocols.clone())
        };

        let certificate = KeyPath::File(files.certificate.clone());
        let watch = FileWatch::new("the certificate", [certificate, files.key.clone()]);
        let read = || Certificate::read(&files, alpn.clone());
        watch.follow(read, |newer| *self.0.lock() = newer).await;
    }
}

fn read_bounded(path: &PathBuf) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_FILE_BYTES as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
