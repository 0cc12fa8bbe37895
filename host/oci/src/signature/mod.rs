//! Signatures of modules, which are verified with public keys and without any service.
//!
//! Both formats of cosign are read, at all places where its versions store them:
//!
//! | written by | place | format |
//! |---|---|---|
//! | cosign 2; cosign 3 with `--new-bundle-format=false`; podman | tag `sha256-<digest>.sig` | `simple` |
//! | cosign with `--registry-referrers-mode=oci-1-1` | referrers | `simple` |
//! | cosign 3 | referrers, or the index with the tag `sha256-<digest>` | `bundle` |
//!
//! A transparency log is not consulted: with a key, it adds no trust, and it could not be reached from many networks.

mod bundle;
mod key;
mod sign;
mod simple;

use crate::artifact::{Descriptor, Document, Manifest};
use crate::client::Repository;
use crate::{Digest, OciError, SignatureError};

pub use key::{InvalidKey, PublicKey};
pub use sign::{InvalidSigningKey, SigningKey};

/// The most referrers and layers that are read.
const MAX_COUNT: usize = 32;
/// The largest signature, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// Returns the tag of the signatures of a manifest.
fn tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hexadecimal())
}

impl Repository {
    /// Returns the identity of the key that signed the manifest with a digest.
    ///
    /// # Errors
    ///
    /// If it is not signed by one of the keys, or if the signatures cannot be read.
    pub async fn verify(&self, digest: &Digest, keys: &[PublicKey]) -> Result<Digest, OciError> {
        self.within(async {
            let mut reasons = Vec::new();
            if let Some(manifest) = self.existing_manifest(&tag(digest)).await?
                && let Some(signer) = self.signer(&manifest, digest, keys, &mut reasons).await?
            {
                return Ok(signer);
            }
            for referrer in self.referrers(digest, MAX_COUNT).await? {
                // The type of a referrer in the index is often wrong, so that its layers decide.
                let Some(manifest) = self.referrer(&referrer, &mut reasons).await? else { continue };
                if let Some(signer) = self.signer(&manifest, digest, keys, &mut reasons).await? {
                    return Ok(signer);
                }
            }
            reasons.sort();
            reasons.dedup();
            reasons.truncate(3);
            let digest = digest.clone();
            Err(match reasons.is_empty() {
                true => SignatureError::Unsigned(digest).into(),
                false => SignatureError::Untrusted { digest, reasons }.into(),
            })
        })
        .await
    }

    async fn referrer(&self, referrer: &Descriptor, reasons: &mut Vec<String>) -> Result<Option<Manifest>, OciError> {
        match self.manifest(referrer.digest.as_str()).await {
            Ok((_, Document::Manifest(manifest))) => Ok(Some(*manifest)),
            Ok((_, Document::Index(_))) => Ok(None),
            // A broken referrer, which anyone with write access can add, does not hide the others.
            Err(error @ (OciError::NotFound { .. } | OciError::Manifest(_) | OciError::Digest { .. })) => {
                reasons.push(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the key of the first valid signature in the layers of a manifest.
    async fn signer(
        &self,
        manifest: &Manifest,
        digest: &Digest,
        keys: &[PublicKey],
        reasons: &mut Vec<String>,
    ) -> Result<Option<Digest>, OciError> {
        // The newest signatures, which are the last ones, count.
        for layer in manifest.layers.iter().rev().take(MAX_COUNT) {
            let is_simple = layer.media_type == simple::MEDIA_TYPE;
            if !is_simple && !layer.media_type.starts_with(bundle::MEDIA_TYPE) {
                continue;
            }
            if layer.size > MAX_SIZE {
                reasons.push(format!("a signature has more than {MAX_SIZE} bytes"));
                continue;
            }
            let content = match self.blob(layer, "a signature").await {
                Ok(content) => content,
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    reasons.push(error.to_string());
                    continue;
                }
            };
            let verified = match is_simple {
                true => simple::verify(layer, &content, digest, keys),
                false => bundle::verify(&content, digest, keys),
            };
            match verified {
                Ok(signer) => return Ok(Some(signer)),
                Err(reason) => reasons.push(reason),
            }
        }
        Ok(None)
    }
}
