//! The search for a signature in repositories with many referrers and signatures.
#![allow(clippy::unwrap_used)]

mod support;

use axum::response::Response;
use kube_devops_oci::{Access, Digest, Keychain, OciError, Options, PublicKey, Repository};
use serde_json::{Value, json};
use support::{Recorded, Server, answer};

/// The answers of a registry with a signed module, whose referrers a test replaces.
struct Signed {
    recorded: Recorded,
    digest: Digest,
    key: PublicKey,
}

impl Signed {
    fn read(case: &str) -> Self {
        let recorded = Recorded::read(case);
        let key = PublicKey::from_pem(&recorded.text("key.pem")).unwrap();
        Self { digest: recorded.text("digest").parse().unwrap(), key, recorded }
    }

    /// The path of the referrers of the module.
    fn path(&self) -> String {
        format!("/v2/checks/labels/referrers/{}", self.digest)
    }

    /// The index of referrers with the signature.
    fn referrers(&self) -> Vec<Value> {
        let index: Value = serde_json::from_slice(&self.recorded.bytes(&self.path()).unwrap()).unwrap();
        index["manifests"].as_array().unwrap().clone()
    }

    /// Verifies the signature at a registry, which answers requests for referrers with `referrers` of the query.
    async fn verify(
        &self,
        case: &str,
        referrers: impl Fn(&str) -> Option<Response> + Clone + Send + Sync + 'static,
    ) -> (Result<Digest, OciError>, usize) {
        let (case, path) = (case.to_owned(), self.path());
        let server = Server::start(move |request| {
            let found = match request.uri().path() == path {
                true => referrers(request.uri().query().unwrap_or_default()),
                false => Recorded::read(&case).bytes(request.uri().path()).map(|bytes| answer(200, bytes)),
            };
            found.unwrap_or_else(|| answer(404, ""))
        })
        .await;
        let reference = server.reference("checks/labels:1.0");
        let options = Options { plain_http: true, ..Options::default() };
        let repository = Repository::open(&reference, &Keychain::default(), &options, Access::Pull).await.unwrap();
        let verified = repository.verify(&self.digest, std::slice::from_ref(&self.key)).await;
        (verified, server.requests().len())
    }
}

/// Referrers that do not exist any longer.
fn others(count: usize, kind: &str) -> Vec<Value> {
    let entry = |number: usize| {
        let digest = Digest::of(format!("{kind}{number}").as_bytes());
        json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1, "artifactType": kind })
    };
    (0..count).map(entry).collect()
}

fn page(referrers: &[Value], next: Option<&str>) -> Response {
    let mut page = answer(200, json!({ "schemaVersion": 2, "manifests": referrers }).to_string());
    if let Some(next) = next {
        page.headers_mut().insert("link", format!("<{next}>; rel=\"next\"").parse().unwrap());
    }
    page
}

const SCAN: &str = "application/vnd.scan+json";

#[tokio::test]
async fn a_signature_is_found_behind_many_other_referrers() {
    for case in ["v2-oci11-native", "v3-native"] {
        let signed = Signed::read(case);
        let all = [others(1000, SCAN), signed.referrers()].concat();
        let (verified, requests) = signed.verify(case, move |_| Some(page(&all, None))).await;
        assert_eq!(verified.as_ref(), Ok(signed.key.identity()), "{case}");
        assert!(requests < 10, "the probable signature is read first: {requests}");
    }
}

#[tokio::test]
async fn a_signature_is_found_on_a_later_page() {
    let signed = Signed::read("v3-native");
    let (last, pages) = (signed.referrers(), 5);
    // The address of a registry behind a proxy is another one.
    let next = |number: usize| format!("http://internal.example/v2/checks/labels/referrers/x?page={number}");
    let (verified, _) = signed
        .verify("v3-native", move |query| match query.strip_prefix("page=").map_or(1, |page| page.parse().unwrap()) {
            number if number < pages => Some(page(&others(50, &format!("{SCAN}{number}")), Some(&next(number + 1)))),
            number => Some(page(if number == pages { &last } else { &[] }, None)),
        })
        .await;
    assert_eq!(verified.as_ref(), Ok(signed.key.identity()));
}

#[tokio::test]
async fn a_search_that_is_not_complete_is_an_error_of_its_own() {
    let signed = Signed::read("v3-native");
    // All of the referrers could be read.
    let (verified, _) = signed.verify("v3-native", |_| Some(page(&others(5, SCAN), None))).await;
    assert_eq!(verified.unwrap_err().reason(), "SignatureInvalid");
    let (verified, requests) = signed.verify("v3-native", |_| Some(page(&others(1000, SCAN), None))).await;
    let error = verified.unwrap_err();
    assert_eq!(error.reason(), "SignatureSearchIncomplete");
    assert!(
        error.to_string().contains("only 32 of 1000 referrers") && error.to_string().contains("`module sign`"),
        "{error}"
    );
    assert!(requests < 50, "{requests}");
    // Pages without an end.
    let endless = |query: &str| Some(page(&others(1, &format!("{SCAN}{query}")), Some(&format!("/x?{query}1"))));
    let (verified, requests) = signed.verify("v3-native", endless).await;
    let error = verified.unwrap_err().to_string();
    assert!(error.contains("of more than 64 referrers"), "{error}");
    assert!(requests < 150, "{requests}");
    // A page that is missing.
    let missing = |query: &str| query.is_empty().then(|| page(&others(1, SCAN), Some("/x?2")));
    let error = signed.verify("v3-native", missing).await.0.unwrap_err().to_string();
    assert!(error.contains("only 1 of more than 1 referrers"), "{error}");
}
