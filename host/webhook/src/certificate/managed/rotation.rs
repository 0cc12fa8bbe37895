//! The decisions about a managed certificate, as functions of the objects and of the time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Secret;
use tokio::time::Instant;

use super::{CA_BUNDLE, CERTIFICATE, KEY, ManagedCertificate};
use crate::certificate::ServerCertificate;
use crate::certificate::verify::{has_names, is_trusted};

/// The pause between the update of the CA bundle and the use of a new certificate: API servers see the update by a watch.
const SETTLE: Duration = Duration::from_secs(3);

/// The certificate that a replica serves, and its successor.
#[derive(Debug, Default)]
pub struct Rotation {
    /// As PEM text; empty before the first one.
    served: Vec<u8>,
    /// A trusted successor, and when it was first seen to be trusted.
    successor: Option<(Vec<u8>, Instant)>,
}

impl Rotation {
    /// Whether this certificate is served already.
    pub fn is_served(&self, certificate: &[u8]) -> bool {
        self.served == certificate
    }

    /// The certificate that is served, as PEM text; empty before the first one.
    pub fn served(&self) -> &[u8] {
        &self.served
    }

    /// Whether API servers would not accept the served certificate any more after `published`, the CAs that they trust, is replaced by
    /// `ca_bundle`.
    pub fn is_dropped_by(&self, ca_bundle: &[u8], published: &[u8], now: DateTime<Utc>) -> bool {
        is_trusted(&self.served, published, now) && !is_trusted(&self.served, ca_bundle, now)
    }

    /// Whether to serve a new certificate from now on. `is_trusted`: whether the CA bundles of all configurations contain its
    /// CA.
    pub fn take_up(&mut self, certificate: &[u8], is_trusted: bool, is_leader: bool, now: Instant) -> bool {
        let is_first = self.served.is_empty();
        // The leader has just updated the CA bundle, so that its first certificate need not wait for the next check.
        let may_serve = is_trusted || is_leader && is_first;
        if !may_serve {
            self.successor = None;
            return false;
        }
        let since = match &self.successor {
            Some((known, since)) if known == certificate => *since,
            _ => now,
        };
        if !is_first && now.saturating_duration_since(since) < SETTLE {
            self.successor = Some((certificate.to_vec(), since));
            return false;
        }
        self.served = certificate.to_vec();
        self.successor = None;
        true
    }
}

/// Whether the certificate in the Secret has the right names, a CA in the CA bundle of the Secret, and more than a third of its validity
/// left.
pub fn is_current(secret: &Secret, managed: &ManagedCertificate, now: DateTime<Utc>) -> bool {
    let text = value(secret, CERTIFICATE);
    let certificate = ServerCertificate::new(text, value(secret, KEY));
    let is_valid = certificate.is_ok_and(|certificate| certificate.expiry - now > managed.valid / 3);
    is_valid && has_names(text, &managed.names) && is_trusted(text, value(secret, CA_BUNDLE), now)
}

/// A value of a Secret; empty if it is missing.
pub fn value<'a>(secret: &'a Secret, key: &str) -> &'a [u8] {
    secret.data.as_ref().and_then(|data| data.get(key)).map_or(&[], |value| &value.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use chrono::TimeDelta;
    use k8s_openapi::ByteString;

    use super::*;
    use crate::certificate::{CertificateNames, issue};

    fn managed(service: &str) -> ManagedCertificate {
        ManagedCertificate {
            namespace: "platform".to_owned(),
            secret: "tls".to_owned(),
            configuration: "kube-devops".to_owned(),
            names: CertificateNames {
                service: service.to_owned(),
                namespace: "platform".to_owned(),
                addresses: Vec::new(),
            },
            valid: TimeDelta::days(90),
        }
    }

    fn secret(managed: &ManagedCertificate, now: DateTime<Utc>) -> Secret {
        let issued = issue(&managed.names, now, managed.valid).unwrap();
        let data = [(CERTIFICATE, issued.certificate), (KEY, issued.key), (CA_BUNDLE, issued.ca)];
        let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
        Secret { data: Some(data.into()), ..Secret::default() }
    }

    fn replace(secret: &mut Secret, other: &Secret, key: &str) {
        let value = ByteString(value(other, key).to_vec());
        secret.data.as_mut().unwrap().insert(key.to_owned(), value);
    }

    #[test]
    fn a_certificate_is_rotated_when_a_third_of_its_validity_is_left() {
        let now = Utc::now();
        let managed = managed("webhook");
        let secret = secret(&managed, now);
        assert!(is_current(&secret, &managed, now));
        assert!(is_current(&secret, &managed, now + TimeDelta::days(59)));
        assert!(!is_current(&secret, &managed, now + TimeDelta::days(60)));
    }

    #[test]
    fn a_certificate_of_other_names_or_without_its_parts_is_rotated() {
        let now = Utc::now();
        let ours = managed("webhook");
        let secret = secret(&ours, now);
        assert!(!is_current(&secret, &managed("renamed"), now));
        for key in [CERTIFICATE, KEY, CA_BUNDLE] {
            let mut broken = secret.clone();
            broken.data.as_mut().unwrap().remove(key);
            assert!(!is_current(&broken, &ours, now), "{key}");
        }
        assert!(!is_current(&Secret::default(), &ours, now));
    }

    #[test]
    fn a_certificate_whose_ca_is_not_in_the_bundle_is_rotated() {
        let now = Utc::now();
        let managed = managed("webhook");
        let (ours, other) = (secret(&managed, now), secret(&managed, now));
        for keys in [&[CA_BUNDLE][..], &[CERTIFICATE, KEY]] {
            let mut foreign = ours.clone();
            keys.iter().for_each(|key| replace(&mut foreign, &other, key));
            assert!(!is_current(&foreign, &managed, now), "{keys:?}");
        }
        let mut both = ours.clone();
        let bundle = [value(&other, CA_BUNDLE), value(&ours, CA_BUNDLE)].concat();
        both.data.as_mut().unwrap().insert(CA_BUNDLE.to_owned(), ByteString(bundle));
        assert!(is_current(&both, &managed, now));
    }

    #[test]
    fn an_older_secret_that_is_restored_drops_the_served_certificate() {
        let now = Utc::now();
        let managed = managed("webhook");
        let (older, newer) = (secret(&managed, now), secret(&managed, now));
        let (older_ca, newer_ca) = (value(&older, CA_BUNDLE), value(&newer, CA_BUNDLE));
        let both = [newer_ca, older_ca].concat();
        let mut rotation = Rotation::default();
        assert!(!rotation.is_dropped_by(older_ca, &both, now), "nothing is served");
        assert!(rotation.take_up(value(&newer, CERTIFICATE), true, true, Instant::now()));
        assert!(is_current(&older, &managed, now) && rotation.is_dropped_by(older_ca, &both, now));
        assert!(!rotation.is_dropped_by(&both, &both, now));
        // The CA was revoked by the deletion of the configurations.
        assert!(!rotation.is_dropped_by(older_ca, b"", now));
        assert!(!rotation.is_dropped_by(older_ca, &both, now + TimeDelta::days(91)), "it has expired");
    }

    #[test]
    fn the_first_certificate_is_served_at_once_when_it_is_trusted() {
        let now = Instant::now();
        let mut standby = Rotation::default();
        assert!(!standby.take_up(b"one", false, false, now), "a standby waits for the leader");
        assert!(standby.take_up(b"one", true, false, now));
        assert!(standby.is_served(b"one"));
        let mut leader = Rotation::default();
        assert!(leader.take_up(b"one", false, true, now), "the leader has just updated the CA bundle");
    }

    #[test]
    fn a_successor_is_served_after_it_has_been_trusted_for_three_seconds() {
        let start = Instant::now();
        let mut rotation = Rotation::default();
        assert!(rotation.take_up(b"one", true, true, start));
        assert!(!rotation.take_up(b"two", false, true, start), "the CA bundle is not updated yet");
        assert!(!rotation.take_up(b"two", true, true, start));
        assert!(!rotation.take_up(b"two", true, true, start + SETTLE - Duration::from_millis(1)));
        assert!(rotation.is_served(b"one"));
        // The CA bundle was replaced by another client: the time starts again.
        assert!(!rotation.take_up(b"two", false, true, start + SETTLE));
        assert!(!rotation.take_up(b"two", true, true, start + SETTLE));
        // Another successor starts it again, too.
        assert!(!rotation.take_up(b"three", true, true, start + SETTLE * 2));
        assert!(rotation.take_up(b"three", true, true, start + SETTLE * 3));
    }
}
