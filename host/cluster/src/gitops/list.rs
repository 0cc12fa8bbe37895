//! The stored objects of a kind.

use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;

use super::{StoredKind, value};
use crate::ClusterError;
use crate::connection::Connection;
use crate::pods::verify_exists;

/// The number of objects of a request.
const PAGE: u32 = 500;

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
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&parameters).await.map_err(|error| failed(connection, error, &what))?;
            for object in &page.items {
                objects.push(value(object, kind).map_err(|error| connection.error(error, &what))?);
            }
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => parameters.continue_token = Some(next),
                None => break,
            }
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

/// Returns the error of a request about the custom resources.
pub(super) fn failed(connection: &Connection, error: kube::Error, what: &str) -> ClusterError {
    match &error {
        kube::Error::Api(status) if is_not_served(status) => {
            ClusterError::NoCustomResources { server: connection.server.clone() }
        }
        _ => connection.error(error, what),
    }
}

/// Reports whether the API server does not serve the kind: then the answer has no details, and may not even be JSON.
pub(super) fn is_not_served(status: &kube::core::Status) -> bool {
    status.code == 404 && status.details.as_ref().is_none_or(|details| details.kind.is_empty())
}
