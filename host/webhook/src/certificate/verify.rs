//! Whether clients accept a certificate, as functions of PEM text and of the time.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::{CertificateNames, is_unexpired};

/// Whether clients that trust these CAs accept the certificate, which intermediate certificates may follow.
pub fn is_trusted(certificate: &[u8], ca_bundle: &[u8], now: DateTime<Utc>) -> bool {
    let mut roots = RootCertStore::empty();
    // API servers verify the validity of CAs, too.
    roots.add_parsable_certificates(certificates(ca_bundle).into_iter().filter(|ca| is_unexpired(ca, now)));
    let chain = certificates(certificate);
    let Some((leaf, intermediates)) = chain.split_first() else { return false };
    let (Ok(leaf), Ok(seconds)) = (ParsedCertificate::try_from(leaf), u64::try_from(now.timestamp())) else {
        return false;
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let algorithms = default_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&leaf, &roots, intermediates, now, algorithms).is_ok()
}

/// Whether the certificate is valid for all these names.
pub fn has_names(certificate: &[u8], names: &CertificateNames) -> bool {
    let chain = certificates(certificate);
    let parsed = chain.first().and_then(|leaf| parse_x509_certificate(leaf).ok());
    let Some(Ok(Some(found))) = parsed.as_ref().map(|(_, parsed)| parsed.subject_alternative_name()) else {
        return false;
    };
    let found = &found.value.general_names;
    let has_address = |address: &IpAddr| {
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        found.contains(&GeneralName::IPAddress(&bytes))
    };
    names.dns().iter().all(|name| found.contains(&GeneralName::DNSName(name)))
        && names.addresses.iter().all(has_address)
}

/// The certificates in PEM text, each as it is written. Other text is skipped, as API servers do.
pub fn pem_blocks(text: &[u8]) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(text);
    let blocks =
        text.split_inclusive(END).filter_map(|block| Some(&block[block.find("-----BEGIN CERTIFICATE-----")?..]));
    blocks.filter(|block| block.ends_with(END)).map(str::to_owned).collect()
}

fn certificates(text: &[u8]) -> Vec<CertificateDer<'static>> {
    pem_blocks(text).iter().filter_map(|text| CertificateDer::from_pem_slice(text.as_bytes()).ok()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::certificate::{IssuedCertificate, issue, testing};

    fn names() -> CertificateNames {
        let addresses = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
        CertificateNames { addresses, ..testing::names() }
    }

    fn issued(now: DateTime<Utc>) -> IssuedCertificate {
        issue(&names(), now, TimeDelta::days(90)).unwrap()
    }

    #[test]
    fn a_certificate_is_trusted_with_its_own_ca_while_it_is_valid() {
        let now = Utc::now();
        let (one, other) = (issued(now), issued(now));
        let trusted = |ca_bundle: &str, now| is_trusted(one.certificate.as_bytes(), ca_bundle.as_bytes(), now);
        assert!(trusted(&one.ca, now));
        assert!(trusted(&format!("junk\n{}{}", other.ca, one.ca), now), "it is one of several");
        for ca_bundle in [&other.ca, &one.certificate, &String::new(), &"junk".to_owned()] {
            assert!(!trusted(ca_bundle, now), "{ca_bundle}");
        }
        assert!(!trusted(&one.ca, now + TimeDelta::days(91)));
        assert!(!trusted(&one.ca, now - TimeDelta::days(1)));
        assert!(!is_trusted(b"junk", one.ca.as_bytes(), now));
    }

    #[test]
    fn a_certificate_needs_every_name_and_address() {
        let certificate = issued(Utc::now()).certificate;
        let has = |names: &CertificateNames| has_names(certificate.as_bytes(), names);
        assert!(has(&names()));
        assert!(has(&CertificateNames { addresses: Vec::new(), ..names() }), "it may have more");
        assert!(!has(&CertificateNames { service: "renamed".to_owned(), ..names() }));
        assert!(!has(&CertificateNames { namespace: "other".to_owned(), ..names() }));
        assert!(!has(&CertificateNames { addresses: vec![IpAddr::from([127, 0, 0, 2])], ..names() }));
        assert!(!has_names(b"junk", &names()));
    }
}
