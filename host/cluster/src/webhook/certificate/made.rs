//! Certificates of our own making. Each has an authority of its own, whose key is thrown away when it has signed: nobody can
//! make another certificate that the API server would trust.

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

use super::{CertificateError, expiry};

/// Clocks of machines differ, so that a certificate begins this much earlier.
const SKEW: Duration = Duration::minutes(5);
/// The most authorities that are trusted at a time: the newest, and those that replicas may still serve certificates of.
const MOST_CAS: usize = 3;

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateNames {
    /// The name of the Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Addresses of a server that is reached without a Service.
    pub addresses: Vec<IpAddr>,
}

impl CertificateNames {
    /// The names by which a Service is called.
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

/// A certificate, its key and the authority that signed it, as PEM text.
#[derive(Clone)]
pub struct Made {
    /// The authority, which clients have to trust.
    pub ca: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Makes a certificate that begins now, with ECDSA keys on the curve P-256.
pub fn make(names: &CertificateNames, now: DateTime<Utc>, valid: Duration) -> Result<Made, CertificateError> {
    let making = |error: &dyn std::fmt::Display| CertificateError::Making(error.to_string());
    let moment = |time: DateTime<Utc>| OffsetDateTime::from_unix_timestamp(time.timestamp());
    let params = |name: String| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = moment(now - SKEW).map_err(|error| making(&error))?;
        params.not_after = moment(now + valid).map_err(|error| making(&error))?;
        Ok::<_, CertificateError>(params)
    };
    // The time in the name tells authorities apart that are trusted together.
    let mut ca = params(format!("kube-devops webhook authority {}", now.format("%Y-%m-%dT%H:%M:%SZ")))?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate().map_err(|error| making(&error))?;
    let authority_pem = ca.self_signed(&authority_key).map_err(|error| making(&error))?.pem();

    let mut leaf = params(names.service.clone())?;
    for name in names.dns() {
        let wrong = |error| making(&format!("{name:?} cannot be a name in it: {error}"));
        leaf.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(name.as_str()).map_err(wrong)?));
    }
    leaf.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(|error| making(&error))?;
    let issuer = Issuer::new(ca, authority_key);
    let certificate = leaf.signed_by(&key, &issuer).map_err(|error| making(&error))?.pem();
    Ok(Made { ca: authority_pem, certificate, key: key.serialize_pem() })
}

/// The authorities to be trusted: `authority`, and those of `before` that have not ended, the newest first.
pub fn bundle(ca: &str, before: &[u8], now: DateTime<Utc>) -> String {
    let mut bundle = vec![ca.trim().to_owned()];
    for text in pem_blocks(before) {
        let is_current = CertificateDer::from_pem_slice(text.as_bytes())
            .ok()
            .and_then(|certificate| expiry(&certificate))
            .is_some_and(|expiry| expiry > now);
        if is_current && !bundle.contains(&text) && bundle.len() < MOST_CAS {
            bundle.push(text);
        }
    }
    bundle.join("\n") + "\n"
}

/// The certificates in PEM text, each as it is written.
fn pem_blocks(text: &[u8]) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(text);
    let blocks =
        text.split_inclusive(END).filter_map(|block| Some(&block[block.find("-----BEGIN CERTIFICATE-----")?..]));
    blocks.filter(|block| block.ends_with(END)).map(str::to_owned).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::ServerCertificate;
    use super::*;

    fn names() -> CertificateNames {
        CertificateNames {
            service: "webhook".to_owned(),
            namespace: "platform".to_owned(),
            addresses: vec![IpAddr::from([127, 0, 0, 1])],
        }
    }

    #[test]
    fn a_certificate_is_for_the_service_and_ends_when_it_should() {
        let now = Utc::now();
        let made = make(&names(), now, Duration::days(90)).unwrap();
        let served = ServerCertificate::new(made.certificate.as_bytes(), made.key.as_bytes()).unwrap();
        assert_eq!(served.expiry.timestamp(), (now + Duration::days(90)).timestamp());
        let der = CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let names = format!("{:?}", parsed.subject_alternative_name().unwrap().unwrap().value);
        for name in
            ["\"webhook\"", "\"webhook.platform\"", "webhook.platform.svc\"", "webhook.platform.svc.cluster.local"]
        {
            assert!(names.contains(name), "{name}: {names}");
        }
        assert!(names.contains("[127, 0, 0, 1]"), "{names}");
        assert!(!parsed.is_ca() && made.ca != made.certificate);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let make = || make(&names(), Utc::now(), Duration::days(1)).unwrap();
        let (one, other) = (make(), make());
        assert!(ServerCertificate::new(one.certificate.as_bytes(), other.key.as_bytes()).is_err());
        assert!(ServerCertificate::new(b"", one.key.as_bytes()).is_err());
        assert!(ServerCertificate::new(one.certificate.as_bytes(), b"").is_err());
    }

    #[test]
    fn a_bundle_keeps_authorities_that_have_not_ended_and_no_more_than_some() {
        let now = Utc::now();
        let ca = |days| make(&names(), now - Duration::days(10), Duration::days(days)).unwrap().ca;
        let (ended, one, two, three, new) = (ca(5), ca(20), ca(21), ca(22), ca(90));
        let before = format!("{ended}junk\n{one}{new}{two}{three}-----BEGIN CERTIFICATE-----\n");
        let kept: Vec<String> = pem_blocks(bundle(&new, before.as_bytes(), now).as_bytes());
        assert_eq!(kept, [&new, &one, &two].map(|text| text.trim().to_owned()));
    }
}
