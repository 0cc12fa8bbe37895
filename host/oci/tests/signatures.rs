//! Signatures by both major versions of cosign, as registries return them. tests/fixtures/signatures/README.md describes the cases.
#![allow(clippy::unwrap_used)]

mod support;

use kube_devops_oci::{Access, Digest, Keychain, OciError, Options, PublicKey, Repository};
use support::Recorded;

/// The cases with a valid signature by the key of the case.
const SIGNED: [&str; 17] = [
    "v2",
    "v2-native",
    "v2-oci11",
    "v2-oci11-native",
    "v2-bundle",
    "v2-bundle-native",
    "v2-rsa2048",
    "v2-p384",
    "v2-two-keys",
    "v2-signature-and-attestation",
    "v3",
    "v3-native",
    "v3-legacy",
    "v3-oci11",
    "v3-rsa2048",
    "v3-p384",
    "v3-signature-and-attestation",
];

/// The cases without one, and what the error says.
const REJECTED: [(&str, &str); 11] = [
    ("unsigned", "is not signed"),
    ("unsigned-native", "is not signed"),
    ("v2-attestation", "is not signed"),
    ("v2-other-key", "not by one of the keys"),
    ("v2-other-artifact", "a signature is of \"sha256:"),
    ("v3-other-key", "not by one of the keys"),
    ("v3-other-artifact", "a signature is of \"sha256:"),
    ("v3-other-artifact-native", "a signature is of \"sha256:"),
    // cosign accepts these two: it does not compare the type of the statement.
    ("v3-attestation", "an attestation of \"https://"),
    ("v3-attestation-native", "an attestation of \"https://"),
    ("v2-signature-and-attestation", "not by one of the keys"),
];

async fn verify(case: &str, key: &PublicKey) -> Result<Digest, OciError> {
    let recorded = Recorded::read(case);
    let server = recorded.serve().await;
    let reference = server.reference("checks/labels:1.0");
    let options = Options { plain_http: true, ..Options::default() };
    let repository = Repository::open(&reference, &Keychain::default(), &options, Access::Pull).await?;
    let digest = repository.resolve("1.0").await?;
    assert_eq!(digest.as_str(), recorded.text("digest"));
    repository.verify(&digest, std::slice::from_ref(key)).await
}

fn key(case: &str) -> PublicKey {
    PublicKey::from_pem(&Recorded::read(case).text("key.pem")).unwrap()
}

#[tokio::test]
async fn signatures_in_all_formats_of_cosign_are_verified() {
    for case in SIGNED {
        let key = key(case);
        assert_eq!(verify(case, &key).await.as_ref(), Ok(key.identity()), "{case}");
    }
}

#[tokio::test]
async fn a_signature_by_a_second_key_is_found_behind_the_first_one() {
    assert!(verify("v3-two-keys", &key("v3-two-keys")).await.is_ok());
}

#[tokio::test]
async fn missing_and_foreign_signatures_and_attestations_are_rejected() {
    for (case, expected) in REJECTED {
        let key = if case == "v2-signature-and-attestation" { key("v2-rsa2048") } else { key(case) };
        let error = verify(case, &key).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{case}: {error}");
    }
}

#[test]
fn keys_by_which_cosign_cannot_verify_are_rejected() {
    for case in ["v2-ed25519", "v3-ed25519"] {
        let error = PublicKey::from_pem(&Recorded::read(case).text("key.pem")).unwrap_err().to_string();
        assert!(error.contains("Ed25519"), "{error}");
    }
}

#[tokio::test]
async fn a_changed_byte_of_a_signature_is_an_error() {
    let recorded = Recorded::read("v3");
    let key = key("v3");
    let digest: Digest = recorded.text("digest").parse().unwrap();
    // All blobs and manifests are identified by their digests, so that a change is one of an answer.
    let server = support::Server::start(move |request| {
        let path = request.uri().path();
        match Recorded::read("v3").bytes(path) {
            Some(mut bytes) if path.contains("/blobs/") => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                support::answer(200, bytes)
            }
            Some(bytes) => support::answer(200, bytes),
            None => support::answer(404, ""),
        }
    })
    .await;
    let options = Options { plain_http: true, ..Options::default() };
    let reference = server.reference("checks/labels:1.0");
    let repository = Repository::open(&reference, &Keychain::default(), &options, Access::Pull).await.unwrap();
    let error = repository.verify(&digest, &[key]).await.unwrap_err().to_string();
    assert!(error.contains("has the digest"), "{error}");
}
