//! The webhook's certificate: made, read from files, or kept in a Secret.

mod files;
mod made;
mod managed;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;

pub use files::{CertificateFiles, follow_files, read_ca_bundle, write_files};
pub use made::{CertificateNames, Made, bundle, make};
pub use managed::{ManagedCertificate, follow_secret};

/// What is wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// It is not what it should be.
    #[error("not a usable certificate and key: {0}")]
    Unusable(String),
    /// It cannot be made.
    #[error("the certificate cannot be made: {0}")]
    Making(String),
}

/// A certificate, ready to be served.
#[derive(Clone)]
pub struct ServerCertificate {
    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub config: Arc<ServerConfig>,
    /// When it ends.
    pub expiry: DateTime<Utc>,
}

impl ServerCertificate {
    /// From PEM text: the certificate with those between it and the authority behind it, and its key.
    pub fn new(certificates: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let unusable = |error: &dyn std::fmt::Display| CertificateError::Unusable(error.to_string());
        let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| unusable(&error))?;
        let first = chain.first().ok_or_else(|| unusable(&"there is no certificate"))?;
        let expiry = expiry(first).ok_or_else(|| unusable(&"the certificate cannot be read"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable(&format!("the key: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| unusable(&error))?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), expiry })
    }
}

/// When a certificate ends.
fn expiry(certificate: &CertificateDer<'_>) -> Option<DateTime<Utc>> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    DateTime::from_timestamp(parsed.validity().not_after.timestamp(), 0)
}
