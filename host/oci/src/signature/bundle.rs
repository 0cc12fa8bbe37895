//! Signatures in the format "Sigstore bundle 0.3": cosign 3.
//!
//! The bundle contains a DSSE envelope, whose payload is an in-toto statement about digests. Source: the bundle and signature
//! specifications of cosign, and github.com/secure-systems-lab/dsse.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::PublicKey;
use super::simple::limited;
use crate::Digest;

/// The start of the media type of a layer with a bundle; its end is a version.
pub(super) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle";
/// The type of the payload.
const PAYLOAD: &str = "application/vnd.in-toto+json";
/// The type of the statement.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The type of a statement that is a signature. Others, such as an SBOM, say nothing about trust.
const PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// The most signatures of an envelope.
const SIGNATURES: usize = 8;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digests,
}

#[derive(Deserialize)]
struct Digests {
    #[serde(default)]
    sha256: String,
}

/// Returns the identity of the key that signed `digest` with a bundle, or the reason why it is no signature.
pub(super) fn verify(bundle: &[u8], digest: &Digest, keys: &[PublicKey]) -> Result<Digest, String> {
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(|_| "a bundle is not valid")?;
    let envelope = bundle.dsse_envelope.ok_or("a bundle contains no DSSE envelope")?;
    if envelope.payload_type != PAYLOAD {
        return Err("a bundle contains no in-toto statement".to_owned());
    }
    let payload = BASE64_STANDARD.decode(&envelope.payload).map_err(|_| "a bundle is not valid base64")?;
    let message = encoded(&payload);
    let mut signatures = envelope.signatures.iter().take(SIGNATURES);
    let signer = signatures.find_map(|signature| {
        let bytes = BASE64_STANDARD.decode(&signature.sig).ok()?;
        keys.iter().find(|key| key.verifies(&message, &bytes))
    });
    let signer = signer.ok_or("a signature is not by one of the keys")?;
    let statement: Statement = serde_json::from_slice(&payload).map_err(|_| "a signed statement is not valid")?;
    if statement.kind != STATEMENT || statement.predicate_type != PREDICATE {
        return Err(format!("an attestation of {:?} is not a signature", limited(&statement.predicate_type)));
    }
    if statement.subject.iter().all(|subject| subject.digest.sha256 != digest.hexadecimal()) {
        let subject = statement.subject.first().map(|subject| subject.digest.sha256.clone()).unwrap_or_default();
        return Err(format!("a signature is of {:?}", limited(&format!("sha256:{subject}"))));
    }
    Ok(signer.identity().clone())
}

/// Returns what an envelope signs: the pre-authentication encoding of DSSE.
fn encoded(payload: &[u8]) -> Vec<u8> {
    let start = format!("DSSEv1 {} {PAYLOAD} {} ", PAYLOAD.len(), payload.len());
    [start.as_bytes(), payload].concat()
}
