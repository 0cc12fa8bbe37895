//! Self-managed certificates. Each has its own CA, whose key is discarded after signing, so that no other certificate can be
//! issued that the API server would trust.

use std::net::IpAddr;

use chrono::{DateTime, Duration, Utc};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;

use super::verify::{is_trusted, pem_blocks};
use super::{CertificateError, is_unexpired};

/// Certificates are valid this much earlier, because clocks differ.
const SKEW: Duration = Duration::minutes(5);
/// The most CAs of a bundle, unless more are needed: the newest, and those of certificates that replicas may still serve.
const MAX_CAS: usize = 3;

/// The names of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateNames {
    /// The name of the Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// The addresses of a server outside of a Service.
    pub addresses: Vec<IpAddr>,
}

impl CertificateNames {
    /// The DNS names of the Service.
    pub fn dns(&self) -> Vec<String> {
        let Self { service, namespace, .. } = self;
        ["", ".svc", ".svc.cluster.local"]
            .map(|suffix| format!("{service}.{namespace}{suffix}"))
            .into_iter()
            .chain([service.clone()])
            .collect()
    }

    /// All names and addresses.
    pub fn all(&self) -> Vec<String> {
        self.dns().into_iter().chain(self.addresses.iter().map(ToString::to_string)).collect()
    }
}

/// A certificate, its key and its CA, as PEM text.
#[derive(Clone)]
pub struct IssuedCertificate {
    /// The CA, which clients have to trust.
    pub ca: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Issues a certificate that is valid from now on, with ECDSA keys on the curve P-256.
pub fn issue(
    names: &CertificateNames,
    now: DateTime<Utc>,
    valid: Duration,
) -> Result<IssuedCertificate, CertificateError> {
    let failed = |error: &dyn std::fmt::Display| CertificateError::Issue(error.to_string());
    let moment = |time: DateTime<Utc>| OffsetDateTime::from_unix_timestamp(time.timestamp());
    let params = |name: String| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = moment(now - SKEW).map_err(|error| failed(&error))?;
        params.not_after = moment(now + valid).map_err(|error| failed(&error))?;
        Ok::<_, CertificateError>(params)
    };
    // The time in the name distinguishes the CAs of a bundle.
    let mut ca = params(format!("kube-devops webhook CA {}", now.format("%Y-%m-%dT%H:%M:%SZ")))?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_key = KeyPair::generate().map_err(|error| failed(&error))?;
    let ca_pem = ca.self_signed(&ca_key).map_err(|error| failed(&error))?.pem();

    let mut leaf = params(names.service.clone())?;
    for name in names.dns() {
        let wrong = |error| failed(&format!("invalid name {name:?}: {error}"));
        leaf.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(name.as_str()).map_err(wrong)?));
    }
    leaf.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let issuer = Issuer::new(ca, ca_key);
    let certificate = leaf.signed_by(&key, &issuer).map_err(|error| failed(&error))?.pem();
    Ok(IssuedCertificate { ca: ca_pem, certificate, key: key.serialize_pem() })
}

/// The CA bundle: `ca`, and those of `before` that have not expired, in their order. Of many, it has the first ones, and always those of the
/// certificates in `served`.
pub fn ca_bundle(ca: &str, before: &[u8], served: &[&[u8]], now: DateTime<Utc>) -> String {
    let mut bundle = vec![ca.trim().to_owned()];
    for text in pem_blocks(before) {
        let is_current = CertificateDer::from_pem_slice(text.as_bytes()).is_ok_and(|ca| is_unexpired(&ca, now));
        if is_current && !bundle.contains(&text) {
            bundle.push(text);
        }
    }
    let is_needed = |text: &String| served.iter().any(|certificate| is_trusted(certificate, text.as_bytes(), now));
    let is_needed: Vec<bool> = bundle.iter().enumerate().map(|(index, text)| index == 0 || is_needed(text)).collect();
    let mut others = MAX_CAS.saturating_sub(is_needed.iter().filter(|is_needed| **is_needed).count());
    let kept = bundle.into_iter().zip(is_needed).filter_map(|(text, is_needed)| {
        let is_kept = is_needed || others > 0;
        others = others.saturating_sub((!is_needed).into());
        is_kept.then_some(text)
    });
    kept.collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ServerCertificate;
    use crate::certificate::testing::names;

    #[test]
    fn a_certificate_has_the_names_of_the_service_and_the_requested_validity() {
        let now = Utc::now();
        let issued = issue(&names(), now, Duration::days(90)).unwrap();
        let served = ServerCertificate::new(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap();
        assert_eq!(served.expiry.timestamp(), (now + Duration::days(90)).timestamp());
        let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let names = format!("{:?}", parsed.subject_alternative_name().unwrap().unwrap().value);
        for name in
            ["\"webhook\"", "\"webhook.platform\"", "webhook.platform.svc\"", "webhook.platform.svc.cluster.local"]
        {
            assert!(names.contains(name), "{name}: {names}");
        }
        assert!(names.contains("[127, 0, 0, 1]"), "{names}");
        assert!(!parsed.is_ca() && issued.ca != issued.certificate);
    }

    #[test]
    fn the_key_of_another_certificate_is_invalid() {
        let issue = || issue(&names(), Utc::now(), Duration::days(1)).unwrap();
        let (one, other) = (issue(), issue());
        assert!(ServerCertificate::new(one.certificate.as_bytes(), other.key.as_bytes()).is_err());
        assert!(ServerCertificate::new(b"", one.key.as_bytes()).is_err());
        assert!(ServerCertificate::new(one.certificate.as_bytes(), b"").is_err());
    }

    #[test]
    fn a_bundle_keeps_a_limited_number_of_cas_that_have_not_expired() {
        let now = Utc::now();
        let ca = |days| issue(&names(), now - Duration::days(10), Duration::days(days)).unwrap().ca;
        let (expired, one, two, three, new) = (ca(5), ca(20), ca(21), ca(22), ca(90));
        let before = format!("{expired}junk\n{one}{new}{two}{three}-----BEGIN CERTIFICATE-----\n");
        let kept: Vec<String> = pem_blocks(ca_bundle(&new, before.as_bytes(), &[], now).as_bytes());
        assert_eq!(kept, [&new, &one, &two].map(|text| text.trim().to_owned()));
    }

    #[test]
    fn a_bundle_always_has_the_cas_of_the_certificates_that_are_served() {
        let now = Utc::now();
        let issue = || issue(&names(), now, Duration::days(90)).unwrap();
        let mut bundle = String::new();
        let (first, second) = (issue(), issue());
        let mut newest = String::new();
        for issued in [&first, &second].into_iter().chain(&[(); 8].map(|()| issue())) {
            let served = [first.certificate.as_bytes(), second.certificate.as_bytes(), b"junk"];
            bundle = ca_bundle(&issued.ca, bundle.as_bytes(), &served, now);
            newest.clone_from(&issued.ca);
        }
        let expected = [&newest, &second.ca, &first.ca].map(|text| text.trim().to_owned());
        assert_eq!(pem_blocks(bundle.as_bytes()), expected);
    }
}
