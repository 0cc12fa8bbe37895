//! The controller of an object: the one owner that creates, changes and deletes it.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ObjectMeta;

/// Returns a reference to the controller of an object, in the namespace of the object; `None` if it has none.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/>
pub fn controller(metadata: &ObjectMeta) -> Option<ObjectReference> {
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    Some(ObjectReference {
        api_version: Some(owner.api_version.clone()),
        kind: Some(owner.kind.clone()),
        name: Some(owner.name.clone()),
        uid: Some(owner.uid.clone()),
        namespace: metadata.namespace.clone(),
        ..ObjectReference::default()
    })
}
