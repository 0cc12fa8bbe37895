//! Creation of signatures, in the format that every version of cosign reads.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use super::{MAX_SIGNATURES, simple, tag};
use crate::artifact::{Descriptor, MANIFEST, Manifest};
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
}

impl Repository {
    /// Signs the manifest with a digest, and stores the signature next to the others. `name` is the repository in the signature.
    ///
    /// # Errors
    ///
    /// If the registry cannot be reached or rejects it.
    pub async fn sign(&self, name: &str, digest: &Digest, key: &SigningKey) -> Result<(), OciError> {
        self.within(async {
            // A signature of a manifest that does not exist would be useless.
            self.manifest(digest.as_str()).await?;
            let payload = simple::payload(name, digest);
            let mut layer = Descriptor::of(simple::MEDIA_TYPE, &payload);
            layer.annotations.insert(simple::ANNOTATION.to_owned(), BASE64_STANDARD.encode(key.sign(&payload)?));
            let existing = self.existing_manifest(&tag(digest)).await?;
            let mut layers = existing.map(|manifest| manifest.layers).unwrap_or_default();
            // Older signatures than a client reads are of no use.
            layers.drain(..layers.len().saturating_sub(MAX_SIGNATURES - 1));
            layers.push(layer);
            let digests: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
            let configuration = json!({
                "architecture": "", "os": "", "config": {}, "rootfs": { "type": "layers", "diff_ids": digests },
            })
            .to_string();
            let manifest = Manifest {
                schema_version: 2,
                media_type: MANIFEST.to_owned(),
                config: Descriptor::of(CONFIGURATION, configuration.as_bytes()),
                layers,
                annotations: Default::default(),
            };
            self.push_blob(&payload).await?;
            self.push_blob(configuration.as_bytes()).await?;
            self.push_manifest(&tag(digest), json!(manifest).to_string().into_bytes()).await?;
            Ok(())
        })
        .await
    }
}
