//! Creation of signatures, in the format that every version of cosign reads.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::{SystemRandom, generate};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use super::{MAX_SIGNATURES, simple, tag};
use crate::artifact::{Descriptor, Document, MANIFEST, Manifest};
use crate::client::Repository;
use crate::{Digest, OciError};

/// The media type of the configuration of a signature, which is that of an image.
const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";

/// A private key with which modules are signed: ECDSA with P-256.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

/// A text that is not a private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the private key is not valid: {0}")]
pub struct InvalidSigningKey(&'static str);

impl SigningKey {
    /// Reads a key in PEM format, PKCS#8 without a password, as `openssl genpkey` writes it.
    ///
    /// # Errors
    ///
    /// If it is something else, or of another algorithm.
    pub fn from_pem(text: &str) -> Result<Self, InvalidSigningKey> {
        if text.contains("ENCRYPTED") {
            return Err(InvalidSigningKey(
                "it is encrypted; sign with `cosign sign --key` instead, or create a key with `openssl genpkey -algorithm EC \
                 -pkeyopt ec_paramgen_curve:P-256`",
            ));
        }
        if text.contains("EC PRIVATE KEY") {
            return Err(InvalidSigningKey(
                "it is not in the format PKCS#8; convert it with `openssl pkcs8 -topk8 -nocrypt`",
            ));
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| InvalidSigningKey("it does not start with -----BEGIN PRIVATE KEY-----"))?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_pkcs8_der(), &random)
            .map_err(|_| InvalidSigningKey("it is not a key for ECDSA with P-256"))?;
        Ok(Self { pair, random })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, OciError> {
        let signature = self.pair.sign(&self.random, message);
        let signature = signature.map_err(|_| OciError::Configuration("failed to sign: no randomness".to_owned()))?;
        Ok(signature.as_ref().to_vec())
    }

    /// Reports whether `signature` is one of `message` by this key.
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.pair.public_key()).verify(message, signature).is_ok()
    }

    /// Returns a random time, so that clients that wait for each other do not all continue at once.
    fn pause(&self) -> Duration {
        let random: Option<[u8; 1]> = generate(&self.random).ok().map(ring::rand::Random::expose);
        SETTLE.mul_f32(random.map_or(0.5, |[byte]| f32::from(byte) / 255.0))
    }
}

/// The most attempts to store a signature while others change the signatures of the same manifest.
const ATTEMPTS: usize = 16;
/// How long a signature must remain stored. Another client that has read the signatures before replaces them within this time.
const SETTLE: Duration = Duration::from_millis(500);

/// A signature, as a layer of the manifest with all signatures.
struct Signature {
    layer: Descriptor,
    payload: Vec<u8>,
}

impl Signature {
    fn new(name: &str, digest: &Digest, key: &SigningKey) -> Result<Self, OciError> {
        let payload = simple::payload(name, digest);
        let mut layer = Descriptor::of(simple::MEDIA_TYPE, &payload);
        layer.annotations.insert(simple::ANNOTATION.to_owned(), BASE64_STANDARD.encode(key.sign(&payload)?));
        Ok(Self { layer, payload })
    }

    /// Reports whether layers contain a signature of the same document by the same key.
    fn is_in(&self, layers: &[Descriptor], key: &SigningKey) -> bool {
        let mut same = layers.iter().filter(|layer| layer.digest == self.layer.digest);
        same.any(|layer| {
            layer.media_type == simple::MEDIA_TYPE
                && simple::signature(layer).is_some_and(|signature| key.verifies(&self.payload, &signature))
        })
    }
}

/// The digest, the layers and the annotations of a manifest.
type Signatures = (Option<Digest>, Vec<Descriptor>, BTreeMap<String, String>);

/// Returns the configuration and the manifest of signatures.
fn documents(layers: Vec<Descriptor>, annotations: BTreeMap<String, String>) -> (Vec<u8>, Vec<u8>) {
    let digests: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
    let configuration = json!({
        "architecture": "", "os": "", "config": {}, "rootfs": { "type": "layers", "diff_ids": digests },
    })
    .to_string()
    .into_bytes();
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        config: Descriptor::of(CONFIGURATION, &configuration),
        layers,
        annotations,
    };
    (configuration, json!(manifest).to_string().into_bytes())
}

impl Repository {
    /// Signs the manifest with a digest, and stores the signature next to the others, unless there is one of the same document by the
    /// same key. `name` is the repository in the signature.
    ///
    /// # Errors
    ///
    /// If the registry cannot be reached or rejects it, or if the signatures of others would be lost.
    pub async fn sign(&self, name: &str, digest: &Digest, key: &SigningKey) -> Result<(), OciError> {
        self.within(async {
            // A signature of a manifest that does not exist would be useless.
            self.manifest(digest.as_str()).await?;
            let (tag, signature) = (tag(digest), Signature::new(name, digest, key)?);
            self.push_blob(&signature.payload).await?;
            for _ in 0..ATTEMPTS {
                let (known, layers, annotations) = self.signatures(&tag).await?;
                if signature.is_in(&layers, key) {
                    return Ok(());
                }
                if layers.len() >= MAX_SIGNATURES {
                    let reason = format!(
                        "it has {MAX_SIGNATURES} signatures already; remove the tag, and sign again with the keys that are still in use"
                    );
                    return Err(OciError::Signing { tag, reason });
                }
                let (configuration, manifest) = documents([layers, vec![signature.layer.clone()]].concat(), annotations);
                self.push_blob(&configuration).await?;
                // A registry replaces a tag without a condition. What others have stored meanwhile must not be lost.
                if self.signatures(&tag).await?.0 == known {
                    self.push_manifest(&tag, manifest).await?;
                    // Others may have read the signatures before, and replace them now.
                    tokio::time::sleep(SETTLE).await;
                } else {
                    tokio::time::sleep(key.pause()).await;
                }
            }
            if signature.is_in(&self.signatures(&tag).await?.1, key) {
                return Ok(());
            }
            let reason = "other clients change its signatures at the same time; sign again";
            Err(OciError::Signing { tag, reason: reason.to_owned() })
        })
        .await
    }

    /// Returns the digest, the layers and the annotations of the manifest with signatures, if there is one.
    async fn signatures(&self, tag: &str) -> Result<Signatures, OciError> {
        let reason = match self.manifest(tag).await {
            Ok((digest, Document::Manifest(manifest))) => {
                return Ok((Some(digest), manifest.layers, manifest.annotations));
            }
            Err(OciError::NotFound { .. }) => return Ok(Signatures::default()),
            Ok((_, Document::Index(_))) => "it is an index".to_owned(),
            Err(OciError::Manifest(reason)) => reason,
            Err(error) => return Err(error),
        };
        // To replace it would remove what others have stored.
        let reason = format!("its manifest is not one of signatures: {reason}; remove the tag, and sign again");
        Err(OciError::Signing { tag: tag.to_owned(), reason })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(&der));
        SigningKey::from_pem(&pem).unwrap()
    }

    #[test]
    fn only_a_signature_of_the_same_document_by_the_same_key_is_not_added_again() {
        let (digest, one, two) = (Digest::of(b"module"), key(), key());
        let of = |name: &str, key: &SigningKey| Signature::new(name, &digest, key).unwrap();
        let stored = [of("host/a", &one).layer];
        assert!(of("host/a", &one).is_in(&stored, &one), "each signature is another one");
        assert!(!of("host/a", &two).is_in(&stored, &two));
        assert!(!of("host/b", &one).is_in(&stored, &one));
        let mut damaged = stored.clone();
        damaged[0].annotations.clear();
        assert!(!of("host/a", &one).is_in(&damaged, &one));
        assert!(!of("host/a", &one).is_in(&[], &one));
    }
}
