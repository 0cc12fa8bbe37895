//! The controller of an object: the one owner that creates, changes and deletes it.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ObjectMeta;
use kube::{Api, Client};
use kube_devops_core::names::{is_owner, is_uid};
use kube_devops_core::workload::group;

use crate::metadata;

/// Returns a reference to the controller of an object, in the namespace of the object; `None` if it has none.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/>
///
/// The client that creates the object chooses its owners. A reference that cannot be that of an object counts as none: its parts
/// become parts of URLs, statuses and events.
pub fn controller(metadata: &ObjectMeta) -> Option<ObjectReference> {
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    if !is_owner(&owner.api_version, &owner.kind, &owner.name) || !is_uid(&owner.uid) {
        return None;
    }
    Some(ObjectReference {
        api_version: Some(owner.api_version.clone()),
        kind: Some(owner.kind.clone()),
        name: Some(owner.name.clone()),
        uid: Some(owner.uid.clone()),
        namespace: metadata.namespace.clone(),
        ..ObjectReference::default()
    })
}

/// Whether an object is the one that a reference names, and not another one of the same name.
fn is_referenced(metadata: &ObjectMeta, reference: &ObjectReference) -> bool {
    reference.uid.is_some() && reference.uid == metadata.uid
}

/// Returns the Deployment of a ReplicaSet that controls pods, and every other controller of pods itself. `None` if the ReplicaSet does
/// not exist.
///
/// # Errors
///
/// If the request fails.
pub async fn of_pods(client: &Client, controls: &ObjectReference) -> Result<Option<ObjectReference>, kube::Error> {
    if !is_replica_set(controls) {
        return Ok(Some(controls.clone()));
    }
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), controls.namespace.as_deref().unwrap_or_default());
    let set = metadata::get(&api, controls.name.as_deref().unwrap_or_default()).await?;
    let set = set.filter(|set| is_referenced(set, controls));
    Ok(set.map(|set| controller(&set).unwrap_or_else(|| controls.clone())))
}

/// Whether a reference is to a ReplicaSet of Kubernetes, and not to a custom resource of that kind.
fn is_replica_set(reference: &ObjectReference) -> bool {
    let api_version = reference.api_version.as_deref().unwrap_or_default();
    (group(api_version), reference.kind.as_deref()) == ("apps", Some("ReplicaSet"))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    /// The name of the controller of an object with this owner.
    fn of(kind: &str, name: &str, uid: &str, is_controller: bool) -> Option<String> {
        let owner = OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            controller: Some(is_controller),
            ..OwnerReference::default()
        };
        let metadata = ObjectMeta { owner_references: Some(vec![owner]), ..ObjectMeta::default() };
        controller(&metadata)?.name
    }

    #[test]
    fn an_owner_that_cannot_be_an_object_is_no_controller() {
        assert_eq!(of("StatefulSet", "web", "1", true).as_deref(), Some("web"));
        assert_eq!(of("StatefulSet", "web", "1", false), None);
        let long = "a".repeat(60_000);
        for (kind, name, uid) in [
            ("StatefulSet", "a%zz<i>", "1"),
            ("StatefulSet", "a b%", "1"),
            ("StatefulSet", "web?x=1", "1"),
            ("StatefulSet", &*long, "1"),
            (&*long, "web", "1"),
            ("StatefulSet", "web", ""),
            ("StatefulSet", "web", &*long),
        ] {
            assert_eq!(of(kind, name, uid, true), None, "{kind:.20} {name:.20} {uid:.20}");
        }
    }

    #[test]
    fn only_the_replica_sets_of_kubernetes_are_read() {
        let of = |api_version: &str, kind: &str| {
            let text = |text: &str| Some(text.to_owned());
            let reference = ObjectReference { api_version: text(api_version), kind: text(kind), ..Default::default() };
            is_replica_set(&reference)
        };
        assert!(of("apps/v1", "ReplicaSet"));
        assert!(!of("example.com/v1", "ReplicaSet") && !of("apps/v1", "Deployment") && !of("v1", "ReplicaSet"));
    }

    #[test]
    fn another_object_of_the_same_name_is_not_referenced() {
        let metadata = |uid: Option<&str>| ObjectMeta { uid: uid.map(str::to_owned), ..ObjectMeta::default() };
        let reference =
            |uid: Option<&str>| ObjectReference { uid: uid.map(str::to_owned), ..ObjectReference::default() };
        assert!(is_referenced(&metadata(Some("1")), &reference(Some("1"))));
        assert!(!is_referenced(&metadata(Some("2")), &reference(Some("1"))));
        assert!(!is_referenced(&metadata(None), &reference(None)));
    }
}
