//! The fields of an object that a user declares.

use serde_json::{Map, Value};

use crate::finalizer::FINALIZER;

/// The fields of the metadata that the API server sets, and rejects or ignores in an apply.
const SET_BY_SERVER: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The annotation in which `kubectl apply` without `--server-side` stores the last manifest.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Labels and annotations with which Argo CD, Flux and Helm mark the objects of an application. An object with the mark of an
/// application that does not contain it can be deleted by that application, and Helm adopts objects by its marks. Argo CD uses
/// `app.kubernetes.io/instance` unless it is configured otherwise, and Helm charts set it to the release.
const TRACKING: [&str; 10] = [
    "app.kubernetes.io/instance",
    "argocd.argoproj.io/installation-id",
    "argocd.argoproj.io/instance",
    "argocd.argoproj.io/tracking-id",
    "helm.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/namespace",
    "kustomize.toolkit.fluxcd.io/name",
    "kustomize.toolkit.fluxcd.io/namespace",
    "meta.helm.sh/release-name",
    "meta.helm.sh/release-namespace",
];

/// The label by which Helm marks its objects with the value `Helm`. Users set it, too.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Returns an object without its status and the fields that the API server or the operator set, so that it can be applied.
pub fn without_server_fields(object: &Value) -> Value {
    let mut object = object.clone();
    let Some(fields) = object.as_object_mut() else { return object };
    fields.remove("status");
    let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else { return object };
    metadata.retain(|field, _| !SET_BY_SERVER.contains(&field.as_str()));
    if let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    let is_empty = |value: &Value| {
        value.is_null() || value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
    };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    metadata.retain(|field, value| !(["annotations", "finalizers"].contains(&field.as_str()) && is_empty(value)));
    object
}

/// Returns an object as it is exported: with the fields of its metadata that mean the same in every cluster. Owners and
/// finalizers refer to objects and controllers of this cluster.
pub fn exported(object: &Value) -> Value {
    let mut object = without_server_fields(object);
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return object };
    metadata.retain(|field, _| ["name", "namespace", "labels", "annotations"].contains(&field.as_str()));
    for map in ["labels", "annotations"] {
        let Some(entries) = metadata.get_mut(map).and_then(Value::as_object_mut) else { continue };
        entries.retain(|key, value| !TRACKING.contains(&key.as_str()) && (key != MANAGED_BY || value != "Helm"));
        if entries.is_empty() {
            metadata.remove(map);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored() -> Value {
        json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": {
                "name": "strict", "namespace": "shop", "uid": "1", "resourceVersion": "2", "generation": 3,
                "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [],
                "finalizers": [FINALIZER], "ownerReferences": [{ "name": "owner" }],
                "labels": { "team": "a", "kustomize.toolkit.fluxcd.io/name": "policies", MANAGED_BY: "Helm" },
                "annotations": { LAST_APPLIED: "{}", "argocd.argoproj.io/tracking-id": "x" },
            },
            "spec": { "forbidLatestTag": true, "aNewField": [1] },
            "status": { "healthScore": 90 },
        })
    }

    #[test]
    fn an_export_contains_only_what_a_user_declares() {
        let expected = json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "name": "strict", "namespace": "shop", "labels": { "team": "a" } },
            "spec": { "forbidLatestTag": true, "aNewField": [1] },
        });
        assert_eq!(exported(&stored()), expected);
        let mut policy = stored();
        policy["metadata"]["labels"] = json!({ MANAGED_BY: "team-a", "app.kubernetes.io/instance": "policies" });
        assert_eq!(exported(&policy)["metadata"]["labels"], json!({ MANAGED_BY: "team-a" }));
    }

    #[test]
    fn an_import_keeps_everything_that_a_user_may_set() {
        let cleaned = without_server_fields(&stored());
        let expected = json!({
            "name": "strict", "namespace": "shop", "ownerReferences": [{ "name": "owner" }],
            "labels": { "team": "a", "kustomize.toolkit.fluxcd.io/name": "policies", MANAGED_BY: "Helm" },
            "annotations": { "argocd.argoproj.io/tracking-id": "x" },
        });
        assert_eq!(cleaned["metadata"], expected);
        assert!(cleaned.get("status").is_none());
        let mut foreign = stored();
        foreign["metadata"]["finalizers"] = json!([FINALIZER, "example.com/other"]);
        foreign["metadata"]["annotations"] = json!({ LAST_APPLIED: "{}" });
        let cleaned = without_server_fields(&foreign);
        assert_eq!(cleaned["metadata"]["finalizers"], json!(["example.com/other"]));
        assert!(cleaned["metadata"].get("annotations").is_none());
    }

    #[test]
    fn any_value_is_handled() {
        for value in
            [json!(null), json!([]), json!({}), json!({ "metadata": 5 }), json!({ "metadata": { "labels": 5 } })]
        {
            assert_eq!(exported(&value).get("metadata").is_some(), value.get("metadata").is_some());
            without_server_fields(&value);
        }
    }
}
