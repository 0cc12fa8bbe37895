//! The object of a review, if its spec changes.

use kube::api::ObjectMeta;
use kube_devops_cluster::lenient::LenientObject;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

use crate::review::parse_raw;

/// Returns metadata and spec of the new object of a review; `None` if its spec does not change, or it is being deleted.
///
/// # Errors
///
/// If the object cannot be read.
pub fn changed<S: DeserializeOwned + PartialEq>(body: &[u8]) -> Result<Option<(ObjectMeta, S)>, String> {
    let (_, object, before) = parse_raw(body).map_err(|error| error.to_string())?.split();
    let (metadata, spec) = read::<S>(object.ok_or("the review has no object")?)?;
    let before = before.and_then(|object| read::<S>(object).ok());
    let is_unchanged = before.is_some_and(|(_, before)| before == spec) || metadata.deletion_timestamp.is_some();
    Ok((!is_unchanged).then_some((metadata, spec)))
}

fn read<S: DeserializeOwned>(object: &RawValue) -> Result<(ObjectMeta, S), String> {
    let object: LenientObject<S, IgnoredAny> = serde_json::from_str(object.get()).map_err(|error| error.to_string())?;
    Ok((object.metadata, object.spec.0?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn managed_fields_of_any_depth_do_not_hide_a_change() {
        let object = |spec: u8, depth: usize| {
            let deep = format!("{}{{}}{}", r#"{"f:a":"#.repeat(depth), "}".repeat(depth));
            format!(r#"{{"metadata":{{"name":"a","managedFields":[{{"fieldsV1":{deep}}}]}},"spec":{spec}}}"#)
        };
        let changed = |now: &str, before: &str| {
            let review = format!(
                r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"1","object":{now},"oldObject":{before}}}}}"#
            );
            changed::<u8>(review.as_bytes()).unwrap().map(|(metadata, spec)| (metadata.name.unwrap(), spec))
        };
        assert_eq!(changed(&object(2, 300), &object(1, 300)), Some(("a".to_owned(), 2)));
        assert_eq!(changed(&object(1, 300), &object(1, 1)), None);
    }
}
