//! Requests for the metadata of objects, without the `managedFields` that every client can write.

use std::fmt::Debug;

use kube::api::{GetParams, ListParams, ObjectMeta, Patch, PatchParams};
use kube::core::Request;
use kube::{Api, Client, Error, Resource};
use serde::{Deserialize, Serialize};

use crate::lenient::unmanaged;
use crate::pages::{self, Page, is_expired};

/// An object of which only the metadata is read.
#[derive(Debug, Clone, Deserialize)]
pub struct MetadataOnly {
    /// The metadata.
    #[serde(deserialize_with = "unmanaged")]
    pub metadata: ObjectMeta,
}

/// Returns the metadata of an object; `None` if it does not exist.
///
/// # Errors
///
/// If the request fails.
pub async fn get<K: Resource + Clone>(api: &Api<K>, name: &str) -> Result<Option<ObjectMeta>, Error> {
    let request = Request::new(api.resource_url()).get_metadata(name, &GetParams::default());
    let found = client(api).request::<MetadataOnly>(request.map_err(Error::BuildRequest)?).await;
    match found {
        Ok(found) => Ok(Some(found.metadata)),
        Err(Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lists the metadata of all objects.
///
/// # Errors
///
/// If a request fails.
pub async fn list<K: Resource + Clone>(api: &Api<K>) -> Result<Vec<MetadataOnly>, Error> {
    pages::list(&ListParams::default(), async |parameters| page(api, &parameters).await, is_expired, |_| ()).await
}

/// Requests a page of the metadata of objects.
///
/// # Errors
///
/// If the request fails.
pub async fn page<K: Resource + Clone>(api: &Api<K>, parameters: &ListParams) -> Result<Page<MetadataOnly>, Error> {
    let request = Request::new(api.resource_url()).list_metadata(parameters);
    client(api).request(request.map_err(Error::BuildRequest)?).await
}

/// Patches an object, and returns its metadata.
///
/// # Errors
///
/// If the request fails.
pub async fn patch<K: Resource + Clone, P: Serialize + Debug>(
    api: &Api<K>,
    name: &str,
    parameters: &PatchParams,
    patch: &Patch<P>,
) -> Result<ObjectMeta, Error> {
    let request = Request::new(api.resource_url()).patch_metadata(name, parameters, patch);
    let patched: MetadataOnly = client(api).request(request.map_err(Error::BuildRequest)?).await?;
    Ok(patched.metadata)
}

fn client<K: Resource + Clone>(api: &Api<K>) -> Client {
    api.clone().into_client()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_regardless_of_managed_fields() {
        let deep = format!("{}{{}}{}", r#"{"f:a":"#.repeat(300), "}".repeat(300));
        let item = format!(
            r#"{{"kind":"PartialObjectMetadata","metadata":{{"managedFields":[{{"fieldsV1":{deep}}}],"name":"a"}}}}"#
        );
        let object: MetadataOnly = serde_json::from_str(&item).unwrap();
        assert_eq!(object.metadata.name.as_deref(), Some("a"));
    }
}
