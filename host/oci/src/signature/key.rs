//! Public keys, and signatures by them.

use std::fmt;

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::Digest;

/// The object identifiers of algorithms and curves, from RFC 3279, RFC 5480 and RFC 8410.
const RSA: &str = "1.2.840.113549.1.1.1";
const ELLIPTIC_CURVE: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const EDWARDS: &str = "1.3.101.112";

/// An algorithm, by which a key can sign.
type Algorithm = &'static dyn VerificationAlgorithm;

const BY_P256: &[Algorithm] = &[&ECDSA_P256_SHA256_ASN1];
/// Cosign used SHA-256 with each curve before version 3.1.
const BY_P384: &[Algorithm] = &[&ECDSA_P384_SHA384_ASN1, &ECDSA_P384_SHA256_ASN1];
const BY_RSA: &[Algorithm] = &[&RSA_PKCS1_2048_8192_SHA256];

/// The sizes of RSA keys whose signatures are verified.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key: ECDSA with P-256 or P-384, or RSA with 2048 to 8192 bits.
#[derive(Clone)]
pub struct PublicKey {
    key: Vec<u8>,
    algorithms: &'static [Algorithm],
    identity: Digest,
}

/// A text that is not a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the public key is not valid: {0}")]
pub struct InvalidKey(&'static str);

impl PublicKey {
    /// Reads a key in PEM format, as `cosign generate-key-pair` and `openssl pkey -pubout` write it.
    ///
    /// # Errors
    ///
    /// If it is something else, or of another algorithm.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        if text.contains("PRIVATE KEY") {
            return Err(InvalidKey("it is a private key; specify the public one"));
        }
        let mut keys = SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes());
        let der = keys.next().and_then(Result::ok);
        let der = der.ok_or(InvalidKey("it does not start with -----BEGIN PUBLIC KEY-----"))?;
        if keys.next().is_some() {
            return Err(InvalidKey("it contains several keys; specify each of them on its own"));
        }
        let (_, info) =
            SubjectPublicKeyInfo::from_der(der.as_ref()).map_err(|_| InvalidKey("its content is damaged"))?;
        let curve =
            info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok()).map(|oid| oid.to_id_string());
        let algorithms = match (info.algorithm.algorithm.to_id_string().as_str(), curve.as_deref()) {
            (ELLIPTIC_CURVE, Some(P256)) => BY_P256,
            (ELLIPTIC_CURVE, Some(P384)) => BY_P384,
            (RSA, _) => match info.parsed() {
                Ok(x509_parser::public_key::PublicKey::RSA(key)) if RSA_BITS.contains(&key.key_size()) => BY_RSA,
                _ => return Err(InvalidKey("it is an RSA key with less than 2048 or more than 8192 bits")),
            },
            (EDWARDS, _) => {
                return Err(InvalidKey(
                    "it is an Ed25519 key, by which cosign creates signatures that it cannot verify",
                ));
            }
            _ => return Err(InvalidKey("its algorithm is none of ECDSA with P-256 or P-384 and RSA")),
        };
        let key = info.subject_public_key.data.to_vec();
        let is_curve = !std::ptr::eq(algorithms, BY_RSA);
        if is_curve && matches!(key.first(), Some(2 | 3)) {
            return Err(InvalidKey(
                "its point is compressed; convert it with `openssl ec -pubin -conv_form uncompressed`",
            ));
        }
        Ok(Self { key, algorithms, identity: Digest::of(der.as_ref()) })
    }

    /// Reports whether `signature` is one of `message` by this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let by =
            |algorithm: &Algorithm| UnparsedPublicKey::new(*algorithm, &self.key).verify(message, signature).is_ok();
        self.algorithms.iter().any(by)
    }

    /// The digest of the key, which identifies it.
    pub fn identity(&self) -> &Digest {
        &self.identity
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({})", self.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----\n\
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDIKqH0PpdCykrWNyfXWOb9JyjO\n\
        LxQPRDa49kfaEJoKWVUXFrikaTMPFd/WE7ImgrATXppvAmyzj8yxeaKYkx8gYj6T\n\
        C78DkfxElGcMZSO+yFOev6IJxS1u7VxgUrKoJye72iesizNiLOp3CbCiOVBuDBoo\n\
        ln6sdAowCuSeBZ39FwIDAQAB\n\
        -----END PUBLIC KEY-----";

    const COMPRESSED: &str = "-----BEGIN PUBLIC KEY-----\n\
        MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgADz769Fo3rcpOFsLZhsr45QYhzNC1j\n\
        nLFlIy1Zj9lWiFU=\n\
        -----END PUBLIC KEY-----\n";
    const UNCOMPRESSED: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEz769Fo3rcpOFsLZhsr45QYhzNC1j\n\
        nLFlIy1Zj9lWiFXg0kbH40AsLJSp3MfiVbwOwZes5Z6jQf6OXpnXHo/TeQ==\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn other_texts_are_errors_that_say_what_they_are() {
        let error = |text: &str| PublicKey::from_pem(text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error("").contains("BEGIN PUBLIC KEY"));
        assert!(error("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----").contains("private key"));
        assert!(error("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----").contains("damaged"));
        assert!(error(RSA_1024).contains("less than 2048"));
        assert_eq!(error(UNCOMPRESSED), "");
        assert!(error(COMPRESSED).contains("its point is compressed"));
        for second in [UNCOMPRESSED, COMPRESSED, "-----BEGIN PUBLIC KEY-----\n%\n-----END PUBLIC KEY-----\n"] {
            assert!(error(&[UNCOMPRESSED, second].concat()).contains("several keys"), "{second}");
        }
    }
}
