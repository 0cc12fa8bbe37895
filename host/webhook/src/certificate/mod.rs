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
use x509_parser::time::ASN1Time;

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
    /// The time from which it is valid.
    pub start: DateTime<Utc>,
    /// The time at which it expires.
    pub expiry: DateTime<Utc>,
}

/// Whether clients accept a certificate at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is valid later.
    Early,
    /// It is valid.
    Current,
    /// It has expired.
    Expired,
}

impl ServerCertificate {
    /// Reads PEM text: the certificate, followed by intermediate certificates, and its key.
    pub fn new(certificates: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let invalid = |error: &dyn std::fmt::Display| CertificateError::Invalid(error.to_string());
        let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| invalid(&error))?;
        let first = chain.first().ok_or_else(|| invalid(&"there is no certificate"))?;
        let (start, expiry) = validity(first).ok_or_else(|| invalid(&"failed to read the certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| invalid(&format!("the key: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| invalid(&error))?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).map_err(|error| invalid(&error))?;
        // API servers use HTTP/1.1 for webhooks, so that requests spread over the replicas. HTTP/2 would only add streams to limit.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), start, expiry })
    }

    /// Whether clients accept it.
    pub fn validity(&self, now: DateTime<Utc>) -> Validity {
        if self.expiry <= now {
            Validity::Expired
        } else if self.start > now {
            Validity::Early
        } else {
            Validity::Current
        }
    }
}

/// The times from which a certificate is valid, and at which it expires.
fn validity(certificate: &CertificateDer<'_>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let time = |time: ASN1Time| DateTime::from_timestamp(time.timestamp(), 0);
    Some((time(parsed.validity().not_before)?, time(parsed.validity().not_after)?))
}

/// Whether a certificate can be read and has not expired.
fn is_unexpired(certificate: &CertificateDer<'_>, now: DateTime<Utc>) -> bool {
    validity(certificate).is_some_and(|(_, expiry)| expiry > now)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use chrono::Duration;

    use super::*;

    #[test]
    fn a_certificate_is_valid_between_its_start_and_its_expiry() {
        let now = Utc::now();
        let issued = issue(&testing::names(), now, Duration::days(5)).unwrap();
        let certificate = ServerCertificate::new(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap();
        for (days, expected) in [(-1, Validity::Early), (0, Validity::Current), (5, Validity::Expired)] {
            assert_eq!(certificate.validity(now + Duration::days(days)), expected, "{days}");
        }
    }
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
