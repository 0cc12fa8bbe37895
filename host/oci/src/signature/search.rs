//! The search for a valid signature, within limits: anyone with write access to a repository can add signatures and referrers.

use std::collections::BTreeSet;

use super::{MAX_SIGNATURES, PublicKey, bundle, simple, tag};
use crate::artifact::{Descriptor, Document, Manifest};
use crate::client::{Evidence, Referrer, Repository};
use crate::{Digest, OciError, SignatureError};

/// The most referrers that are read if their types say that they may be signatures.
const MAX_POSSIBLE: usize = 256;
/// The most referrers that are read of other types, which are often wrong.
const MAX_OTHERS: usize = 32;
/// The most signatures of one referrer that are read: tools write one.
const MAX_OF_REFERRER: usize = 32;
/// The largest signature, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;
/// The most reasons in an error.
const MAX_REASONS: usize = 3;

/// What was found so far.
struct Search<'a> {
    digest: &'a Digest,
    keys: &'a [PublicKey],
    /// Why signatures are not valid.
    reasons: BTreeSet<String>,
    /// What was not read.
    limits: Vec<String>,
}

impl Search<'_> {
    fn error(self) -> SignatureError {
        let digest = self.digest.clone();
        let reasons: Vec<String> = self.reasons.into_iter().take(MAX_REASONS).collect();
        match (self.limits.is_empty(), reasons.is_empty()) {
            (false, _) => SignatureError::Incomplete { digest, limits: self.limits, reasons },
            (true, true) => SignatureError::Unsigned(digest),
            (true, false) => SignatureError::Untrusted { digest, reasons },
        }
    }
}

impl Repository {
    /// Returns the identity of the key that signed the manifest with a digest.
    ///
    /// # Errors
    ///
    /// If it is not signed by one of the keys, or if the signatures cannot be read.
    pub async fn verify(&self, digest: &Digest, keys: &[PublicKey]) -> Result<Digest, OciError> {
        self.within(async {
            let mut search = Search { digest, keys, reasons: BTreeSet::new(), limits: Vec::new() };
            if let Some(signer) = self.tagged(&mut search).await? {
                return Ok(signer);
            }
            if let Some(signer) = self.referring(&mut search).await? {
                return Ok(signer);
            }
            Err(search.error().into())
        })
        .await
    }

    /// Returns the key of a valid signature with the tag of signatures.
    async fn tagged(&self, search: &mut Search<'_>) -> Result<Option<Digest>, OciError> {
        let tag = tag(search.digest);
        let Some(manifest) = self.existing_manifest(&tag).await? else { return Ok(None) };
        let (layers, count) = signatures(&manifest, MAX_SIGNATURES);
        if count > layers.len() {
            search.limits.push(format!("only the last {} of {count} signatures with the tag {tag}", layers.len()));
        }
        self.signer(&layers, search).await
    }

    /// Returns the key of a valid signature in a referrer.
    async fn referring(&self, search: &mut Search<'_>) -> Result<Option<Digest>, OciError> {
        let referrers = self.referrers(search.digest).await?;
        let (count, selected) = (referrers.found.len(), selected(referrers.found));
        if count > selected.len() || referrers.is_truncated {
            let more = if referrers.is_truncated { "more than " } else { "" };
            search.limits.push(format!("only {} of {more}{count} referrers", selected.len()));
        }
        let mut left = MAX_SIGNATURES;
        for digest in &selected {
            let Some(manifest) = self.referrer(digest, search).await? else { continue };
            let (layers, count) = signatures(&manifest, left.min(MAX_OF_REFERRER));
            if count > layers.len() {
                search.limits.push(format!("only {} of {count} signatures in {digest}", layers.len()));
            }
            left -= layers.len();
            if let Some(signer) = self.signer(&layers, search).await? {
                return Ok(Some(signer));
            }
            if left == 0 {
                search.limits.push(format!("only {MAX_SIGNATURES} signatures in referrers"));
                break;
            }
        }
        Ok(None)
    }

    async fn referrer(&self, digest: &Digest, search: &mut Search<'_>) -> Result<Option<Manifest>, OciError> {
        match self.manifest(digest.as_str()).await {
            Ok((_, Document::Manifest(manifest))) => Ok(Some(*manifest)),
            Ok((_, Document::Index(_))) => Ok(None),
            // A broken referrer, which anyone with write access can add, does not hide the others.
            Err(error @ (OciError::NotFound { .. } | OciError::Manifest(_) | OciError::Digest { .. })) => {
                search.reasons.insert(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the key of the first valid signature in layers.
    async fn signer(&self, layers: &[&Descriptor], search: &mut Search<'_>) -> Result<Option<Digest>, OciError> {
        // The signatures of one document by several keys differ in their annotations only.
        let mut last: Option<(&Descriptor, Vec<u8>)> = None;
        for layer in layers {
            if layer.size > MAX_SIZE {
                search.reasons.insert(format!("a signature has more than {MAX_SIZE} bytes"));
                continue;
            }
            let content = match last.take() {
                Some((known, content)) if (&known.digest, known.size) == (&layer.digest, layer.size) => content,
                _ => match self.blob(layer, "a signature", None).await {
                    Ok(content) => content,
                    Err(error) if error.is_transient() => return Err(error),
                    Err(error) => {
                        search.reasons.insert(error.to_string());
                        continue;
                    }
                },
            };
            let verified = match layer.media_type == simple::MEDIA_TYPE {
                true => simple::verify(layer, &content, search.digest, search.keys),
                false => bundle::verify(&content, search.digest, search.keys),
            };
            match verified {
                Ok(signer) => return Ok(Some(signer)),
                Err(reason) => drop(search.reasons.insert(reason)),
            }
            last = Some((*layer, content));
        }
        Ok(None)
    }
}

/// Returns the last signatures of a manifest, which are the newest ones, at most `most`, and the number of all.
fn signatures(manifest: &Manifest, most: usize) -> (Vec<&Descriptor>, usize) {
    let is_signature = |layer: &&Descriptor| {
        layer.media_type == simple::MEDIA_TYPE || layer.media_type.starts_with(bundle::MEDIA_TYPE)
    };
    let all = || manifest.layers.iter().rev().filter(is_signature);
    (all().take(most).collect(), all().count())
}

/// Returns the referrers to read, in their order.
fn selected(referrers: Vec<Referrer>) -> Vec<Digest> {
    let (mut possible, mut others) = (0, 0);
    let is_selected = |referrer: &Referrer| {
        let (count, most) = match referrer.evidence {
            Evidence::Signature | Evidence::Possible => (&mut possible, MAX_POSSIBLE),
            Evidence::Other => (&mut others, MAX_OTHERS),
        };
        *count += 1;
        *count <= most
    };
    referrers.into_iter().filter(is_selected).map(|referrer| referrer.digest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::MANIFEST;

    #[test]
    fn probable_signatures_and_some_of_the_other_referrers_are_read() {
        let of = |evidence, count: usize| {
            (0..count).map(move |number| Referrer { digest: Digest::of(&number.to_le_bytes()), evidence })
        };
        let count = |referrers: Vec<Referrer>| selected(referrers).len();
        assert_eq!(count(of(Evidence::Signature, 40).chain(of(Evidence::Other, 20)).collect()), 60);
        assert_eq!(count(of(Evidence::Other, 1000).collect()), MAX_OTHERS);
        let both = of(Evidence::Signature, 10).chain(of(Evidence::Possible, 1000)).chain(of(Evidence::Other, 1000));
        assert_eq!(count(both.collect()), MAX_POSSIBLE + MAX_OTHERS);
    }

    #[test]
    fn the_newest_signatures_are_read_and_other_layers_are_not_counted() {
        let layer = |number: usize| {
            let kind = if number.is_multiple_of(2) { simple::MEDIA_TYPE } else { "application/spdx+json" };
            Descriptor::of(kind, &number.to_le_bytes())
        };
        let layers: Vec<Descriptor> = (0..20).map(layer).collect();
        let config = Descriptor::of(MANIFEST, b"{}");
        let media_type = MANIFEST.to_owned();
        let manifest = Manifest { schema_version: 2, media_type, config, layers, annotations: Default::default() };
        let (newest, all) = signatures(&manifest, 2);
        assert_eq!((newest, all), (vec![&layer(18), &layer(16)], 10));
        assert_eq!(signatures(&manifest, 100).0.len(), 10);
    }
}
