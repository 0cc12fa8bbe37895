//! Server-side apply of YAML text.

use anyhow::{Context, Result};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::{self, Scope},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{DEADLINE, eventually};

const FIELD_MANAGER: &str = "test-cluster";

pub(crate) async fn apply(client: &Client, default_namespace: &str, yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for (index, document) in serde_norway::Deserializer::from_str(yaml).enumerate() {
        let at = || format!("document {} of the YAML text", index + 1);
        let value = Value::deserialize(document).with_context(at)?;
        if !value.is_null() {
            let object = serde_json::from_value(value).with_context(at)?;
            objects.push(apply_object(client, default_namespace, object).await.with_context(at)?);
        }
    }
    Ok(objects)
}

async fn apply_object(client: &Client, default_namespace: &str, object: DynamicObject) -> Result<DynamicObject> {
    let types = object.types.as_ref().context("missing apiVersion or kind")?;
    let name = object.metadata.name.clone().context("the object has no name")?;
    let kind = GroupVersionKind::try_from(types)?;
    let what = format!("the API server to serve {} {}", types.api_version, types.kind);
    let (resource, capabilities) =
        eventually(DEADLINE, what, || async { Ok(discovery::pinned_kind(client, &kind).await?) }).await?;
    let namespace = object.namespace().unwrap_or_else(|| default_namespace.to_string());
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), &namespace, &resource),
    };
    api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&object))
        .await
        .with_context(|| format!("failed to apply {} {name}", types.kind))
}
