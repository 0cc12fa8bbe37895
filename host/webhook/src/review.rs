//! AdmissionReview v1: the fields that are read of a request, and the response.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use kube_devops_core::object::Object;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// A request of the API server. `O` is the type that its objects are read as.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "O: Deserialize<'de>"))]
pub struct Request<'a, O> {
    /// The id of the request, which the response repeats.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// The kind of the object.
    #[serde(borrow, default)]
    pub kind: Kind<'a>,
    /// The resource that the request is about.
    #[serde(borrow, default)]
    pub resource: Resource<'a>,
    /// The subresource; mostly empty.
    #[serde(borrow, default)]
    pub sub_resource: Cow<'a, str>,
    /// The namespace; empty for objects of the cluster.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(borrow, default)]
    pub operation: Cow<'a, str>,
    /// The requesting user.
    #[serde(borrow, default)]
    pub user_info: UserInfo<'a>,
    /// The new object.
    #[serde(default = "none")]
    pub object: Option<O>,
    /// The existing object.
    #[serde(default = "none")]
    pub old_object: Option<O>,
}

impl<'a, O> Request<'a, O> {
    /// Returns the request without its objects, the new object, and the existing one.
    pub fn split(self) -> (Request<'a, ()>, Option<O>, Option<O>) {
        let Self { uid, kind, resource, sub_resource, namespace, operation, user_info, object, old_object } = self;
        let request = Request {
            uid,
            kind,
            resource,
            sub_resource,
            namespace,
            operation,
            user_info,
            object: None,
            old_object: None,
        };
        (request, object, old_object)
    }
}

fn none<O>() -> Option<O> {
    None
}

/// The kind of an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Kind<'a> {
    /// Its name, such as `Pod`.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

/// A resource.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Resource<'a> {
    /// The API group.
    #[serde(borrow)]
    pub group: Cow<'a, str>,
    /// Its name, such as `pods`.
    #[serde(borrow)]
    pub resource: Cow<'a, str>,
}

/// The requesting user.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct UserInfo<'a> {
    /// The name.
    #[serde(borrow)]
    pub username: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "O: Deserialize<'de>"))]
struct Review<'a, O> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default = "none")]
    request: Option<Request<'a, O>>,
}

/// The reason why a body is not a valid review.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It is not JSON, or not of this shape.
    #[error("not an AdmissionReview: {0}")]
    Unreadable(serde_json::Error),
    /// It is another object, or another version.
    #[error("not an AdmissionReview of {API_VERSION}: apiVersion is {api_version:?} and kind is {kind:?}")]
    OtherKind {
        /// Its version.
        api_version: String,
        /// Its kind.
        kind: String,
    },
    /// There is no request.
    #[error("an AdmissionReview without a request that has a uid")]
    NoRequest,
}

/// Reads a request, with those fields of its objects that are evaluated.
pub fn parse(body: &[u8]) -> Result<Request<'_, Object>, ReviewError> {
    parse_with(body)
}

/// Reads a request, and leaves its objects as text.
pub fn parse_raw(body: &[u8]) -> Result<Request<'_, &RawValue>, ReviewError> {
    parse_with(body)
}

/// Reads a request with its whole objects.
pub fn parse_values(body: &[u8]) -> Result<Request<'_, Value>, ReviewError> {
    parse_with(body)
}

fn parse_with<'a, O: Deserialize<'a>>(body: &'a [u8]) -> Result<Request<'a, O>, ReviewError> {
    // Validating the whole text at once takes less time than validating each of its strings. Strings that are not read may be
    // invalid.
    let review: Review<'a, O> = match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    }
    .map_err(ReviewError::Unreadable)?;
    if review.api_version != API_VERSION || review.kind != KIND {
        let (api_version, kind) = (shown(&review.api_version), shown(&review.kind));
        return Err(ReviewError::OtherKind { api_version, kind });
    }
    review.request.filter(|request| !request.uid.is_empty()).ok_or(ReviewError::NoRequest)
}

fn shown(text: &str) -> String {
    kube_devops_core::text::cut(text, 64)
}

/// A response to the API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The id of the request.
    pub uid: String,
    /// Whether the request is admitted.
    pub allowed: bool,
    /// The reason for a denial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Denial>,
    /// Warnings for the requesting user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Annotations for the audit log of the API server.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub audit_annotations: BTreeMap<&'static str, String>,
    /// Changes of the object.
    #[serde(flatten)]
    pub patch: Option<Patch>,
}

/// Changes of the object of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// The changes.
    pub patch: ByteString,
    /// Their format.
    pub patch_type: &'static str,
}

/// The reason for a denial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// The HTTP status that the client gets.
    pub code: u16,
    /// The reason in CamelCase.
    pub reason: &'static str,
    /// The violations, and how to fix them.
    pub message: String,
}

impl Response {
    /// A response that admits a request as it is.
    pub fn allowed(uid: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            allowed: true,
            status: None,
            warnings: Vec::new(),
            audit_annotations: BTreeMap::new(),
            patch: None,
        }
    }

    /// The AdmissionReview with this response.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            api_version: &'a str,
            kind: &'a str,
            response: &'a Response,
        }
        // The serialization of text, numbers and maps of text cannot fail.
        serde_json::to_vec(&Body { api_version: API_VERSION, kind: KIND, response: self }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid_or_error(body: &str) -> String {
        parse_raw(body.as_bytes()).map_or_else(|error| error.to_string(), |request| request.uid.into_owned())
    }

    #[test]
    fn only_reviews_with_a_request_are_read() {
        let review = |request: &str| {
            format!(r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{request}}}"#)
        };
        assert_eq!(uid_or_error(&review(r#"{"uid":"a\u0062c","object":null}"#)), "abc");
        assert!(uid_or_error(&review("null")).contains("without a request"));
        assert!(uid_or_error(&review(r#"{"uid":""}"#)).contains("without a request"));
        assert!(uid_or_error(&review(r#"{"uid":1}"#)).starts_with("not an AdmissionReview: "));
        assert!(uid_or_error(&review(r#"{"uid":"a"}"#).replace("/v1", "/v1beta1")).contains("v1beta1"));
        assert!(uid_or_error("").starts_with("not an AdmissionReview: "));
        // Objects are not parsed here, so that their depth does not matter.
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(uid_or_error(&review(&format!(r#"{{"uid":"deep","object":{deep}}}"#))), "deep");
    }

    #[test]
    fn strings_that_are_not_read_may_be_invalid() {
        let body = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a","other":"?"}}"#;
        let body: Vec<u8> = body.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
        assert!(parse_raw(&body).is_ok_and(|request| request.uid == "a"));
    }
}
