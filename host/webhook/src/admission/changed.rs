//! The object of a review, if its spec changes.

use kube::Resource;
use serde::de::DeserializeOwned;

use crate::review::parse_raw;

/// Returns the new object of a review; `None` if its spec does not change, or it is being deleted.
///
/// # Errors
///
/// If the object cannot be read.
pub fn changed<T: DeserializeOwned + Resource, S: PartialEq>(
    body: &[u8],
    spec: impl Fn(&T) -> &S,
) -> Result<Option<T>, String> {
    let (_, object, before) = parse_raw(body).map_err(|error| error.to_string())?.split();
    let object = object.ok_or("the review has no object")?;
    let new: T = serde_json::from_str(object.get()).map_err(|error| error.to_string())?;
    let before = before.and_then(|object| serde_json::from_str::<T>(object.get()).ok());
    let is_unchanged =
        before.is_some_and(|before| spec(&before) == spec(&new)) || new.meta().deletion_timestamp.is_some();
    Ok((!is_unchanged).then_some(new))
}
