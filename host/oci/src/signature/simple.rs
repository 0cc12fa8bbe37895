//! Signatures in the format "simple signing": cosign 2 and podman, and cosign 3 with `--new-bundle-format=false`.
//!
//! The signature is an annotation of a layer, and signs the bytes of the layer: a JSON document with a digest.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::PublicKey;
use crate::Digest;
use crate::artifact::Descriptor;

/// The media type of a layer with a signature.
pub(super) const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of the layer with the signature in base64.
pub(super) const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// What the document says about itself.
const TYPE: &str = "cosign container image signature";

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Returns the identity of the key that signed `digest` with a layer, or the reason why it is no signature.
pub(super) fn verify(
    layer: &Descriptor,
    payload: &[u8],
    digest: &Digest,
    keys: &[PublicKey],
) -> Result<Digest, String> {
    let signature = signature(layer).ok_or("a signature is not valid base64")?;
    let key = keys.iter().find(|key| key.verifies(payload, &signature));
    let key = key.ok_or("a signature is not by one of the keys")?;
    let payload: Payload = serde_json::from_slice(payload).map_err(|_| "a signed document is not a signature")?;
    if payload.critical.kind != TYPE {
        return Err("a signed document is not a signature".to_owned());
    }
    if payload.critical.image.digest != digest.as_str() {
        return Err(format!("a signature is of {:?}", limited(&payload.critical.image.digest)));
    }
    Ok(key.identity().clone())
}

/// Returns the signature in a layer.
pub(super) fn signature(layer: &Descriptor) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(layer.annotations.get(ANNOTATION)?.trim()).ok()
}

/// Returns the document to sign. `reference` is the repository.
pub(super) fn payload(reference: &str, digest: &Digest) -> Vec<u8> {
    json!({
        "critical": {
            "identity": { "docker-reference": reference },
            "image": { "docker-manifest-digest": digest },
            "type": TYPE,
        },
        "optional": null,
    })
    .to_string()
    .into_bytes()
}

/// Limits a text of a signature in an error.
pub(super) fn limited(text: &str) -> String {
    text.chars().take(100).collect()
}
