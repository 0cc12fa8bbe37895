//! The serving certificate of the webhook: issued, read from files, or kept in a Secret.

mod files;
mod issue;
mod managed;
mod verify;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;

pub use files::{CertificateFiles, follow_files, read_ca_bundle, write_files};
pub use issue::{CertificateNames, IssuedCertificate, ca_bundle, issue};
pub use managed::{ManagedCertificate, follow_secret};

/// An error about a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The certificate or key is invalid.
    #[error("invalid certificate and key: {0}")]
    Invalid(String),
    /// The certificate could not be issued.
    #[error("failed to issue the certificate: {0}")]
    Issue(String),
}

/// A serving certificate.
#[derive(Clone)]
pub struct ServerCertificate {
    /// TLS 1.2 and 1.3, HTTP/1.1.
    pub config: Arc<ServerConfig>,
    /// The time at which it expires.
    pub expiry: DateTime<Utc>,
}

impl ServerCertificate {
    /// Reads PEM text: the certificate, followed by intermediate certificates, and its key.
    pub fn new(certificates: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let invalid = |error: &dyn std::fmt::Display| CertificateError::Invalid(error.to_string());
        let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| invalid(&error))?;
        let first = chain.first().ok_or_else(|| invalid(&"there is no certificate"))?;
        let expiry = expiry(first).ok_or_else(|| invalid(&"failed to read the certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| invalid(&format!("the key: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| invalid(&error))?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).map_err(|error| invalid(&error))?;
        // API servers use HTTP/1.1 for webhooks, so that requests spread over the replicas. HTTP/2 would only add streams to limit.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), expiry })
    }
}

/// The time at which a certificate expires.
fn expiry(certificate: &CertificateDer<'_>) -> Option<DateTime<Utc>> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    DateTime::from_timestamp(parsed.validity().not_after.timestamp(), 0)
}

/// Whether a certificate can be read and has not expired.
fn is_unexpired(certificate: &CertificateDer<'_>, now: DateTime<Utc>) -> bool {
    expiry(certificate).is_some_and(|expiry| expiry > now)
}

#[cfg(test)]
mod testing {
    use std::net::IpAddr;

    use super::CertificateNames;

    /// The names of a webhook.
    pub fn names() -> CertificateNames {
        CertificateNames {
            service: "webhook".to_owned(),
            namespace: "platform".to_owned(),
            addresses: vec![IpAddr::from([127, 0, 0, 1])],
        }
    }
}
