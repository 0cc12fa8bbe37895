//! The stored objects of a kind.

use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::Request;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::StoredKind;
use crate::connection::Connection;
use crate::key::ObjectKey;
use crate::lenient::{Lenient, LenientObject};
use crate::pages::{self, Page};
use crate::pods::verify_exists;
use crate::{ClusterError, is_not_served};

/// Lists the objects of a kind in some namespaces, or in all if there are none, sorted by namespace and name.
///
/// # Errors
///
/// If a request fails, the custom resources are not installed, or a namespace does not exist.
pub async fn list(
    connection: &Connection,
    kind: StoredKind,
    namespaces: &[String],
) -> Result<Vec<Value>, ClusterError> {
    let resource = kind.resource();
    let client = &connection.client;
    let apis: Vec<(Option<&String>, Api<DynamicObject>)> = match namespaces {
        _ if kind == StoredKind::Module => vec![(None, Api::all_with(client.clone(), &resource))],
        [] => vec![(None, Api::all_with(client.clone(), &resource))],
        names => names.iter().map(|name| (Some(name), Api::namespaced_with(client.clone(), name, &resource))).collect(),
    };
    let mut objects = Vec::new();
    for (namespace, api) in apis {
        let before = objects.len();
        let what = match namespace {
            Some(namespace) => format!("list the {} of {namespace}", resource.plural),
            None => format!("list the {} of all namespaces", resource.plural),
        };
        let request = async |parameters: ListParams| {
            let request = Request::new(api.resource_url()).list(&parameters).map_err(kube::Error::BuildRequest)?;
            client.request::<Page<Box<RawValue>>>(request).await
        };
        let listed = pages::list(&ListParams::default(), request, pages::is_expired, |_| ()).await;
        for object in listed.map_err(|error| failed(connection, error, &what))? {
            let object = stored(&object, kind);
            objects.push(object.map_err(|reason| ClusterError::Request { what: what.clone(), reason })?);
        }
        if let Some(namespace) = namespace.filter(|_| objects.len() == before) {
            verify_exists(connection, namespace).await?;
        }
    }
    let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    objects.sort_by_cached_key(|object| (text(object, "namespace"), text(object, "name")));
    objects.dedup_by(|one, other| one["metadata"]["uid"] == other["metadata"]["uid"]);
    Ok(objects)
}

/// Returns an object of a list as a JSON value, without its `managedFields` if they are nested so deeply that they cannot be read. The
/// error names the object.
fn stored(object: &RawValue, kind: StoredKind) -> Result<Value, String> {
    let mut value = match serde_json::from_str(object.get()) {
        Ok(value) => value,
        Err(_) => unmanaged(object)?,
    };
    let resource = kind.resource();
    (value["apiVersion"], value["kind"]) = (resource.api_version.into(), resource.kind.into());
    Ok(value)
}

fn unmanaged(object: &RawValue) -> Result<Value, String> {
    let object: LenientObject<Value, Value> = serde_json::from_str(object.get()).map_err(|error| error.to_string())?;
    let LenientObject { metadata, spec, status } = object;
    let spec = spec.0.map_err(|error| format!("failed to read {}: {error}", ObjectKey::of(&metadata)))?;
    let mut value = json!({ "metadata": metadata, "spec": spec });
    if let Some(Lenient(Ok(status))) = status {
        value["status"] = status;
    }
    Ok(value)
}

/// Returns the error of a request about the custom resources.
pub(super) fn failed(connection: &Connection, error: kube::Error, what: &str) -> ClusterError {
    match &error {
        kube::Error::Api(status) if is_not_served(status) => {
            ClusterError::NoCustomResources { server: connection.server.clone() }
        }
        _ => connection.error(error, what),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn managed_fields_that_cannot_be_read_are_left_out_and_deep_settings_are_an_error_of_the_policy() {
        let read = |managed: usize, settings: usize| {
            let nested = |depth: usize| format!("{}{{}}{}", r#"{"f:a":"#.repeat(depth), "}".repeat(depth));
            let text = format!(
                r#"{{"metadata":{{"name":"a","namespace":"shop","managedFields":[{{"fieldsV1":{}}}]}},"spec":{{"checks":[{{"settings":{}}}]}}}}"#,
                nested(managed),
                nested(settings)
            );
            stored(&RawValue::from_string(text).unwrap(), StoredKind::Policy)
        };
        assert!(read(1, 1).unwrap().pointer("/metadata/managedFields/0/fieldsV1").is_some());
        let deep = read(200, 1).unwrap();
        assert_eq!(deep["metadata"], json!({ "name": "a", "namespace": "shop" }));
        assert_eq!(
            (&deep["kind"], &deep["spec"]["checks"][0]["settings"]),
            (&json!("DevOpsPolicy"), &json!({ "f:a": {} }))
        );
        let error = read(1, 200).unwrap_err();
        assert!(error.starts_with("failed to read shop/a: recursion limit"), "{error}");
    }
}
