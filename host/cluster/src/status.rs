//! The writes of statuses, of which the operator is the only writer.

use kube::api::{ApiResource, Patch, PatchParams};
use kube::{Api, Client, Error, Resource, ResourceExt};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;

use crate::apply_patch::apply_patch;
use crate::install::FIELD_MANAGER;
use crate::is_mistyped;
use crate::lenient::{Lenient, LenientObject};

/// An object of which only the metadata and the status are read: the answers can contain `managedFields` of any depth.
type Written<S> = LenientObject<IgnoredAny, S>;

/// Writes a status: it is exactly this one afterwards.
///
/// # Errors
///
/// If a request fails, or the object was replaced by another one of the same name.
pub async fn write<K, S>(client: Client, object: &K, status: &S) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
    S: Serialize + DeserializeOwned + PartialEq + Clone + std::fmt::Debug,
{
    let (name, resource) = (object.name_any(), ApiResource::erase::<K>(&()));
    let api: Api<Written<S>> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client, &namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let applied = apply_patch(&json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        // The uid keeps the status of a deleted object out of a new object of the same name.
        "metadata": { "name": name, "uid": object.uid() },
        "status": status,
    }))?;
    match api.patch_status(&name, &PatchParams::apply(FIELD_MANAGER).force(), &applied).await {
        Ok(written) if is_exactly(written.status.as_ref(), status)? => return Ok(()),
        // Fields that the status omits remain, which an earlier version wrote: other field managers own them, or none does.
        Ok(_) => {}
        Err(Error::Api(error)) if is_mistyped(&error) => {}
        Err(error) => return Err(error),
    }
    tracing::debug!(name, "replacing a status with fields that are not of this version");
    let operations = json!([
        { "op": "test", "path": "/metadata/uid", "value": object.uid() },
        { "op": "add", "path": "/status", "value": status },
    ]);
    let replaced: Patch<()> = Patch::Json(serde_json::from_value(operations).map_err(Error::SerdeError)?);
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_status(&name, &parameters, &replaced).await.map(drop)
}

/// Whether a stored status is this one, as it is read from JSON.
fn is_exactly<S: Serialize + DeserializeOwned + PartialEq>(
    stored: Option<&Lenient<S>>,
    status: &S,
) -> Result<bool, Error> {
    let status = serde_json::to_string(status).and_then(|text| serde_json::from_str(&text));
    let status: S = status.map_err(Error::SerdeError)?;
    Ok(matches!(stored, Some(Lenient(Ok(stored))) if *stored == status))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, value};

    use super::*;
    use crate::crd::condition::time;
    use crate::crd::{DevOpsPolicyStatus, PolicyModuleStatus};

    fn stored<S: DeserializeOwned>(status: &Value) -> Lenient<S> {
        Lenient::of(&value::to_raw_value(status).unwrap())
    }

    #[test]
    fn a_status_with_fields_that_were_not_written_is_another_one() {
        let now = chrono::DateTime::from_timestamp(1_800_000_000, 123_456_789).unwrap();
        let status = DevOpsPolicyStatus {
            compliance: Some(66.6),
            violation_count: Some(0),
            last_evaluated: Some(now),
            ..DevOpsPolicyStatus::default()
        };
        let mut json = serde_json::to_value(&status).unwrap();
        assert!(is_exactly(Some(&stored(&json)), &status).unwrap());
        json["ofALaterVersion"] = 1.into();
        assert!(is_exactly(Some(&stored(&json)), &status).unwrap(), "fields of a later definition");
        json["violations"] = json!(["of an earlier version"]);
        assert!(!is_exactly(Some(&stored(&json)), &status).unwrap());
        json["violations"] = 3.into();
        assert!(!is_exactly(Some(&stored(&json)), &status).unwrap(), "it cannot be read");
        assert!(!is_exactly(None, &status).unwrap());
    }

    #[test]
    fn times_are_compared_as_they_are_written() {
        let now = chrono::DateTime::from_timestamp(1_800_000_000, 123_456_789).unwrap();
        let status = PolicyModuleStatus { next_retry: Some(time(now)), ..PolicyModuleStatus::default() };
        let json = serde_json::to_value(&status).unwrap();
        assert!(is_exactly(Some(&stored(&json)), &status).unwrap());
    }
}
