//! The manifests that refer to a manifest: those that may be signatures come first.

use std::collections::BTreeSet;

use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Repository;
use super::content::MAX_MANIFEST_SIZE;
use super::transport::Body;
use crate::artifact::ACCEPTED_MANIFESTS;
use crate::{Digest, OciError};

/// The most pages of the referrers API that are read. Registries return 50 referrers or more with a page.
const MAX_PAGES: usize = 64;
/// The most referrers that are kept of all pages.
const MAX_LISTED: usize = 16 * 1024;

/// What the type of a referrer says about its content. It is only a hint: tools and registries often state another type or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Evidence {
    /// It is a signature.
    Signature,
    /// It may be one: it is a bundle of unknown content, or has no type.
    Possible,
    /// It is something else.
    Other,
}

/// A manifest that refers to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Referrer {
    pub(crate) digest: Digest,
    pub(crate) evidence: Evidence,
}

/// The manifests that refer to another one.
#[derive(Debug, Default)]
pub(crate) struct Referrers {
    /// The probable signatures first; otherwise in the order of the registry.
    pub(crate) found: Vec<Referrer>,
    /// Whether the registry has more.
    pub(crate) is_truncated: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    digest: Digest,
    #[serde(default)]
    artifact_type: String,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
struct Annotations {
    /// The type of the statement in a Sigstore bundle.
    #[serde(rename = "dev.sigstore.bundle.predicateType", default)]
    predicate: Option<String>,
}

impl Entry {
    fn evidence(&self) -> Evidence {
        let kind = self.artifact_type.as_str();
        match self.annotations.predicate.as_deref() {
            Some("https://sigstore.dev/cosign/sign/v1") => return Evidence::Signature,
            Some(_) => return Evidence::Other,
            None => {}
        }
        // The types of `cosign sign` with the mode oci-1-1, and of its payload.
        if kind.starts_with("application/vnd.dev.cosign.artifact.sig") || kind.contains("simplesigning") {
            return Evidence::Signature;
        }
        let says_nothing = ["", "application/vnd.oci.empty.v1+json", "application/vnd.oci.image.config.v1+json"];
        if says_nothing.contains(&kind) || kind.starts_with("application/vnd.dev.sigstore.bundle") {
            return Evidence::Possible;
        }
        Evidence::Other
    }
}

impl Referrers {
    /// Adds the entries of an index. One that is not described as expected, which anyone with write access can add, does not hide the
    /// others.
    fn add(&mut self, index: &[u8], known: &mut BTreeSet<Digest>) {
        #[derive(Deserialize)]
        struct Index<'a> {
            // An entry is read only when it is its turn: as a tree, a hostile one would need many times its size.
            #[serde(borrow, default)]
            manifests: Vec<&'a RawValue>,
        }
        let entries = serde_json::from_slice::<Index<'_>>(index).map(|index| index.manifests).unwrap_or_default();
        for entry in entries {
            let Ok(entry) = serde_json::from_str::<Entry>(entry.get()) else { continue };
            if known.contains(&entry.digest) {
                continue;
            }
            if self.found.len() == MAX_LISTED {
                self.is_truncated = true;
                return;
            }
            known.insert(entry.digest.clone());
            self.found.push(Referrer { evidence: entry.evidence(), digest: entry.digest });
        }
    }
}

impl Repository {
    /// Returns the manifests that refer to a manifest: those of the referrers API, and those of the index with which clients replace it.
    pub(crate) async fn referrers(&self, digest: &Digest) -> Result<Referrers, OciError> {
        let (mut all, mut known) = (Referrers::default(), BTreeSet::new());
        let mut next = Some(format!("referrers/{digest}"));
        for page in 0..MAX_PAGES {
            let Some(path) = next.take() else { break };
            match self.get(self.url(&path), &[], Body::of("the referrers", MAX_MANIFEST_SIZE)).await {
                Ok((headers, index)) => {
                    all.add(&index, &mut known);
                    next = next_page(&headers).map(|query| format!("referrers/{digest}?{query}"));
                }
                Err(error) if error.is_transient() => return Err(error),
                // A registry without referrers answers with one of many errors; clients store them with a tag then.
                Err(OciError::NotFound { .. } | OciError::Status { .. }) => all.is_truncated = page > 0,
                Err(error) => return Err(error),
            }
        }
        all.is_truncated |= next.is_some();
        let url = self.url(&format!("manifests/sha256-{}", digest.hexadecimal()));
        match self.get(url, &[(header::ACCEPT, ACCEPTED_MANIFESTS)], Body::of("the index", MAX_MANIFEST_SIZE)).await {
            Ok((_, index)) => all.add(&index, &mut known),
            Err(OciError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        all.found.sort_by_key(|referrer| referrer.evidence);
        Ok(all)
    }
}

/// Returns the query of the next page, from the header `Link`. The page is requested from the same place as the first one, whatever the
/// address before the query is: registries behind a proxy often do not know their own.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(header::LINK).into_iter().filter_map(|value| value.to_str().ok());
    let targets = links.flat_map(|links| links.split('<').skip(1)).filter_map(|link| link.split_once('>'));
    let is_next = |parameters: &str| {
        parameters.split([';', ',']).filter_map(|parameter| parameter.trim().split_once('=')).any(|(name, value)| {
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
        })
    };
    let (target, _) = targets.into_iter().find(|(_, parameters)| is_next(parameters))?;
    target.split_once('?').map(|(_, query)| query.to_owned()).filter(|query| !query.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;
    use serde_json::{Value, json};

    use super::*;

    fn digest(content: usize) -> Digest {
        Digest::of(content.to_string().as_bytes())
    }

    fn listed(entries: &[Value]) -> Referrers {
        let mut all = Referrers::default();
        all.add(json!({ "manifests": entries }).to_string().as_bytes(), &mut BTreeSet::new());
        all
    }

    #[test]
    fn the_type_of_a_referrer_says_whether_it_may_be_a_signature() {
        let of = |entry: Value| {
            let mut entry = entry;
            entry["digest"] = json!(digest(0));
            listed(&[entry]).found[0].evidence
        };
        let with_predicate = |kind: &str, predicate: &str| {
            let annotations = json!({ "dev.sigstore.bundle.predicateType": predicate });
            of(json!({ "artifactType": kind, "annotations": annotations }))
        };
        let signature = "https://sigstore.dev/cosign/sign/v1";
        assert_eq!(
            of(json!({ "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json" })),
            Evidence::Signature
        );
        assert_eq!(with_predicate("application/vnd.oci.empty.v1+json", signature), Evidence::Signature);
        assert_eq!(of(json!({ "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json" })), Evidence::Possible);
        assert_eq!(of(json!({})), Evidence::Possible);
        assert_eq!(of(json!({ "artifactType": "application/vnd.oci.empty.v1+json" })), Evidence::Possible);
        let attestation = with_predicate("application/vnd.dev.sigstore.bundle.v0.3+json", "https://spdx.dev/Document");
        assert_eq!(attestation, Evidence::Other);
        assert_eq!(of(json!({ "artifactType": "application/spdx+json" })), Evidence::Other);
        assert!(Evidence::Signature < Evidence::Possible && Evidence::Possible < Evidence::Other);
    }

    #[test]
    fn entries_that_are_not_valid_or_repeated_hide_no_others() {
        let entry = json!({ "digest": digest(1) });
        let invalid = [json!(1), json!({ "digest": "sha512:1" }), json!({ "digest": digest(2), "artifactType": 1 })];
        let all = listed(&[&invalid[..], &[entry.clone(), entry]].concat());
        assert_eq!(all.found.iter().map(|referrer| referrer.digest.clone()).collect::<Vec<_>>(), [digest(1)]);
        let mut all = Referrers::default();
        all.add(b"<html>", &mut BTreeSet::new());
        assert!(all.found.is_empty() && !all.is_truncated);
    }

    #[test]
    fn more_referrers_than_are_kept_are_noticed() {
        let entries: Vec<Value> = (0..=MAX_LISTED).map(|count| json!({ "digest": digest(count) })).collect();
        assert!(!listed(&entries[1..]).is_truncated);
        let all = listed(&entries);
        assert!(all.is_truncated && all.found.len() == MAX_LISTED);
    }

    #[test]
    fn the_next_page_is_found_in_all_forms_of_the_header() {
        let next = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::LINK, HeaderValue::from_str(value).unwrap());
            }
            next_page(&headers)
        };
        let query = Some("n=2&last=a,b".to_owned());
        assert_eq!(next(&[r#"</v2/a/referrers/x?n=2&last=a,b>; rel="next""#]), query);
        assert_eq!(next(&["<http://other/v2/a/referrers/x?n=2&last=a,b>;rel=next"]), query);
        assert_eq!(next(&[r#"</x?a>; rel="first", </x?n=2&last=a,b>; title="x"; REL="last Next""#]), query);
        assert_eq!(next(&["</x?a>; rel=prev", "</x?n=2&last=a,b>; rel=next"]), query);
        for none in [&[][..], &["</x?a>; rel=prev"], &["</x>; rel=next"], &["x; rel=next"], &["<"]] {
            assert_eq!(next(none), None, "{none:?}");
        }
    }
}
