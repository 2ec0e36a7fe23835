//! By what the certificate of a broker is judged: the authorities of a file, or those of this host.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

/// Where distributions keep the certificates of authorities: Debian, Fedora, Alpine.
const SYSTEM_FILES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Longest file that is read, in bytes: Debian's has 220 kB.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Why no certificate can be judged.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("mqtt_ca_file: cannot read {}: {error}", .file.display())]
    Unreadable {
        /// The path.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It has no certificate that can be used.
    #[error("mqtt_ca_file: {} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", .0.display())]
    NoCertificate(PathBuf),
    /// The host has no file of authorities.
    #[error("this host has no list of certificate authorities: name a file by mqtt_ca_file")]
    NoAuthorities,
    /// The library refuses.
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] Error),
}

/// What trusts the authorities of `file`, or else those of this host.
///
/// # Errors
/// [`TrustError`].
pub(crate) fn client_config(file: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let system = || {
        SYSTEM_FILES
            .map(Path::new)
            .into_iter()
            .find(|file| file.exists())
    };
    let file = file.or_else(system).ok_or(TrustError::NoAuthorities)?;
    let pem = read(file).map_err(|error| TrustError::Unreadable {
        file: file.to_owned(),
        error,
    })?;

    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if roots.is_empty() {
        return Err(TrustError::NoCertificate(file.to_owned()));
    }

    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    File::open(file)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut pem)?;
    Ok(pem)
}
