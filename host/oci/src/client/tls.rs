//! The verification of the certificates of registries, and what to do if it fails.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

use crate::OciError;
use crate::text::printable;

/// How to trust a certificate.
const TRUST: &str = "with --registry-ca-file, or with caBundle of a PolicyModule";
/// The most names of a certificate in an error.
const MAX_NAMES: usize = 5;

/// Returns the configuration of connections. `ca_bundle` is trusted in addition to the certificates of the system.
pub(super) fn configuration(ca_bundle: Option<&[u8]>) -> Result<ClientConfig, OciError> {
    let mut trusted = rustls_native_certs::load_native_certs().certs;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    for certificate in ca_bundle.map(certificates).transpose()?.into_iter().flatten() {
        roots.add(certificate.clone()).map_err(invalid)?;
        trusted.push(certificate);
    }
    let failed = |error: &dyn std::error::Error| OciError::Configuration(format!("failed to configure TLS: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    if roots.is_empty() {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let issued = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = Verifier { issued: issued.map_err(|error| failed(&error))?, trusted };
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Returns the certificates of a CA bundle in PEM format.
fn certificates(bundle: &[u8]) -> Result<Vec<CertificateDer<'static>>, OciError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle).collect();
    match certificates.map_err(invalid)? {
        certificates if certificates.is_empty() => Err(invalid("it contains no certificate in PEM format")),
        certificates => Ok(certificates),
    }
}

fn invalid(reason: impl ToString) -> OciError {
    OciError::Configuration(format!("the CA bundle is invalid: {}", reason.to_string()))
}

/// Checks that a CA bundle consists of certificates in PEM format.
///
/// # Errors
///
/// If it contains no certificate, or an invalid one.
pub fn check_ca_bundle(bundle: &[u8]) -> Result<(), OciError> {
    let mut roots = RootCertStore::empty();
    certificates(bundle)?.into_iter().try_for_each(|certificate| roots.add(certificate).map_err(invalid))
}

/// Trusts what the trusted certificates have issued, and a server with one of these certificates itself. The documentation of registries
/// recommends self-signed certificates, which `openssl req -x509` creates as those of a CA, and other clients accept them.
#[derive(Debug)]
struct Verifier {
    issued: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trusted.contains(end_entity) {
            // The error about a version is more useful than that about a name, which such a certificate does not have.
            let parsed = ParsedCertificate::try_from(end_entity)?;
            check_validity(end_entity, now)?;
            verify_server_name(&parsed, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.issued.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}

fn check_validity(certificate: &CertificateDer<'_>, time: UnixTime) -> Result<(), Error> {
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let at = |time: ASN1Time| {
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default()))
    };
    let (not_before, not_after) = (at(parsed.validity().not_before), at(parsed.validity().not_after));
    if time.as_secs() < not_before.as_secs() {
        return Err(CertificateError::NotValidYetContext { time, not_before }.into());
    }
    if time.as_secs() > not_after.as_secs() {
        return Err(CertificateError::ExpiredContext { time, not_after }.into());
    }
    Ok(())
}

/// Returns what is wrong with a connection and how to correct it, as a statement about the registry; `None` if it is not known.
pub(super) fn explanation(error: &Error) -> Option<String> {
    match error {
        Error::InvalidCertificate(error) => Some(format!("its certificate {}", about_certificate(error))),
        Error::AlertReceived(AlertDescription::CertificateRequired) => Some(
            "it requires a client certificate, which is not supported; allow access with a password or a token"
                .to_owned(),
        ),
        // The answers to a missing client certificate before TLS 1.3.
        Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::BadCertificate) => Some(format!(
            "it rejected the connection ({error}); client certificates are not supported, if it requires one"
        )),
        Error::PeerIncompatible(_) | Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            Some(format!("it does not support TLS 1.2 or 1.3 with a secure cipher ({error}); enable them"))
        }
        _ => None,
    }
}

fn about_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired on {}; renew it, or correct the clock of this machine", date(*not_after))
        }
        CertificateError::Expired => "is expired; renew it".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!(
                "is not valid before {}; correct the clock of this machine, or issue another one",
                date(*not_before)
            )
        }
        CertificateError::NotValidForNameContext { expected, presented } => about_names(&expected.to_str(), presented),
        // The signature is not that of the trusted CA if another one has the same name, as after a renewal.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("is not trusted ({error:?}); specify the certificate of its CA {TRUST}")
        }
        CertificateError::Other(error) => match error.0.downcast_ref() {
            Some(webpki::Error::CaUsedAsEndEntity) => format!(
                "is not trusted, because it is that of a CA; specify exactly this certificate {TRUST}, or issue one that is none (CA:FALSE)"
            ),
            Some(webpki::Error::UnsupportedCertVersion) => {
                "has version 1 of X.509; issue one of version 3, with the host as subjectAltName".to_owned()
            }
            _ => format!("is not valid ({error}); issue another one"),
        },
        _ => format!("is not valid ({error}); issue another one"),
    }
}

fn about_names(expected: &str, presented: &[String]) -> String {
    if presented.is_empty() {
        return format!(
            "has no subjectAltName, and its common name is not used; issue one with {expected} as subjectAltName"
        );
    }
    let names: Vec<String> = presented.iter().take(MAX_NAMES).map(|name| readable(name)).collect();
    let more = if presented.len() > MAX_NAMES { " and others" } else { "" };
    let names = names.join(", ");
    format!(
        "is for {names}{more}, and not for {expected}; use one of its names, or issue one with {expected} as subjectAltName"
    )
}

/// Returns a name of a certificate without its kind, such as `DnsName("...")`.
fn readable(name: &str) -> String {
    let name = name.split_once('(').map_or(name, |(_, name)| name.trim_end_matches(')')).trim_matches('"');
    printable(name, 100)
}

fn date(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    time.map_or_else(|| "an unknown date".to_owned(), |time| time.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    /// A certificate of version 1 for the common name `localhost`, which `openssl x509 -req` creates.
    const VERSION_1: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBJDCBywIUaauMbE7SxuvFcCX21sU7UWyUDQkwCgYIKoZIzj0EAwIwFDESMBAG\n\
        A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNzE1NTI1N1oYDzIxMjYxMTAzMTU1MjU3\n\
        WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n\
        AASztjqM90vbBotsVZTc2KW7KLWYD1J52ZmhEa4dhKe9uZSlHTLn04YrI/Q3m6i8\n\
        Y0a0FmjAbWpM20YBiUBtezH9MAoGCCqGSM49BAMCA0gAMEUCIQC1zxTQ8/9HlI+D\n\
        eYb/TTDKGKKxW8SkoDqOkpSezsW4ewIgUDRumXvoOzDxSIZKXthCVLIA5LwqBhUN\n\
        JRDK+Yl49q8=\n\
        -----END CERTIFICATE-----\n";
    const HOST: &str = "registry.example.com";

    /// A certificate for names, valid in 2025 and 2026.
    fn parameters(names: &[&str], is_ca: bool) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        (parameters.not_before, parameters.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2027, 1, 1));
        if is_ca {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        parameters
    }

    fn self_signed(names: &[&str], is_ca: bool) -> CertificateDer<'static> {
        parameters(names, is_ca).self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    /// Returns the certificate of a CA, and one that it has issued.
    fn issued(names: &[&str], is_ca: bool) -> (CertificateDer<'static>, CertificateDer<'static>) {
        let (key, ca) = (KeyPair::generate().unwrap(), parameters(&[], true));
        let certificate = ca.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::from_params(&ca, key);
        let leaf = parameters(names, is_ca).signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        (certificate, leaf.der().clone())
    }

    /// Verifies a certificate in a year, and returns what is wrong with it.
    fn verify_in(year: u64, trusted: &CertificateDer<'static>, leaf: &CertificateDer<'static>) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let issued = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let verifier = Verifier { issued, trusted: vec![trusted.clone()] };
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600));
        let host = ServerName::try_from(HOST).unwrap();
        let verified = verifier.verify_server_cert(leaf, &[], &host, &[], now);
        verified.err().map(|error| explanation(&error).unwrap()).unwrap_or_default()
    }

    fn verify(trusted: &CertificateDer<'static>, leaf: &CertificateDer<'static>) -> String {
        verify_in(2026, trusted, leaf)
    }

    #[test]
    fn a_certificate_that_is_itself_trusted_needs_no_ca() {
        for is_ca in [true, false] {
            let own = self_signed(&[HOST], is_ca);
            assert_eq!(verify(&own, &own), "", "self-signed, CA: {is_ca}");
            let (_, leaf) = issued(&[HOST], is_ca);
            assert_eq!(verify(&leaf, &leaf), "", "issued, CA: {is_ca}");
            // Nothing else about it is ignored.
            assert!(verify_in(2030, &own, &own).contains("expired on"));
            assert!(verify_in(2020, &own, &own).contains("is not valid before"));
            let other = self_signed(&["other.example.com"], is_ca);
            assert!(verify(&other, &other).contains("is for other.example.com, and not for registry.example.com"));
            // Another certificate with the same names is not trusted.
            assert!(verify(&own, &self_signed(&[HOST], is_ca)).contains("is not trusted"));
        }
    }

    #[test]
    fn each_fault_of_a_certificate_has_its_own_remedy() {
        let (ca, leaf) = issued(&[HOST], false);
        assert_eq!(verify(&ca, &leaf), "");
        let expired = verify_in(2030, &ca, &leaf);
        assert!(
            expired.contains("certificate expired on Jan  1 00:00:00 2027") && expired.contains("renew it"),
            "{expired}"
        );
        let early = verify_in(2020, &ca, &leaf);
        assert!(early.contains("is not valid before Jan  1 00:00:00 2025") && early.contains("clock"), "{early}");
        let unknown = verify(&self_signed(&[HOST], true), &leaf);
        assert!(unknown.contains("the certificate of its CA with --registry-ca-file"), "{unknown}");
        let (ca, leaf) = issued(&["a.example.com", "127.0.0.1", "b", "c", "d", "e"], false);
        let name = verify(&ca, &leaf);
        assert!(name.contains("is for a.example.com, 127.0.0.1, b, c, d and others, and not for"), "{name}");
        let (ca, leaf) = issued(&[], false);
        assert!(verify(&ca, &leaf).contains("has no subjectAltName"), "{}", verify(&ca, &leaf));
        let (ca, leaf) = issued(&[HOST], true);
        assert!(verify(&ca, &leaf).contains("specify exactly this certificate"), "{}", verify(&ca, &leaf));
        let version_1 = certificates(VERSION_1.as_bytes()).unwrap().remove(0);
        for trusted in [&ca, &version_1] {
            assert!(verify(trusted, &version_1).contains("issue one of version 3"), "{}", verify(trusted, &version_1));
        }
    }

    #[test]
    fn connections_that_cannot_work_are_explained() {
        let alert = |alert| explanation(&Error::AlertReceived(alert)).unwrap_or_default();
        assert!(
            alert(AlertDescription::CertificateRequired)
                .contains("requires a client certificate, which is not supported")
        );
        assert!(alert(AlertDescription::HandshakeFailure).contains("client certificates are not supported"));
        assert!(alert(AlertDescription::ProtocolVersion).contains("TLS 1.2 or 1.3"));
        assert_eq!(explanation(&Error::DecryptError), None);
    }

    #[test]
    fn names_of_certificates_are_shown_without_control_characters() {
        assert_eq!(readable("DnsName(\"a\u{1b}.example\")"), "a.example");
        assert_eq!(readable("IpAddress(10.0.0.1)"), "10.0.0.1");
        assert_eq!(readable("DirectoryName"), "DirectoryName");
    }
}
