//! The annotation of a rollout that is over, which `kubectl rollout undo` restores together with the template of a revision.
//!
//! The Deployment controller copies the annotations of a Deployment to its newest ReplicaSet, and removes none of them there:
//! <https://github.com/kubernetes/kubernetes/blob/v1.33.0/pkg/controller/deployment/util/deployment_util.go#L329>. The client owns what it
//! restores, so that the next patch would conflict with it.

use serde_json::Value;

use super::added::{is_own, last_applied, other_owners};
use super::plan::{PATCHED_BY, ROLLING_OUT, abandon, by, own_template};
use super::rollout::is_recorded;

/// The field managers of `kubectl rollout`.
const KUBECTL: [&str; 2] = ["kubectl", "kubectl-rollout"];

/// Returns the merge patch that removes a restored annotation; `None` if there is none, or a policy may follow its rollout. `over` is a
/// policy that follows no rollout of this workload.
pub fn removal(workload: &Value, over: Option<&str>) -> Option<Value> {
    let annotations = &workload["metadata"]["annotations"];
    let rolling_out = annotations.get(ROLLING_OUT)?;
    // With another template, it is the rollout of another client for every policy. A new leader may have started one since.
    let is_over = over.is_some_and(|policy| annotations[PATCHED_BY] == by(policy) && !is_own(workload, ROLLING_OUT));
    if !is_over && *rolling_out == own_template(workload) {
        return None;
    }
    abandon(workload).filter(|_| is_restored(workload) && is_recorded(workload))
}

/// Whether the annotation is that of `kubectl rollout undo`, and in no manifest: a client that applies a manifest again and again would
/// change the annotation during the next rollout, which could not be monitored then.
fn is_restored(workload: &Value) -> bool {
    let is_kubectl = |entry: &Value| {
        entry["operation"] == "Update" && entry["manager"].as_str().is_some_and(|name| KUBECTL.contains(&name))
    };
    let mut owners = other_owners(workload, ROLLING_OUT).peekable();
    let is_in_manifest = last_applied(workload)["metadata"]["annotations"].get(ROLLING_OUT).is_some();
    owners.peek().is_some() && owners.all(is_kubectl) && !is_in_manifest
}

#[cfg(test)]
mod tests {
    use kube_devops_cluster::gitops::LAST_APPLIED;
    use kube_devops_cluster::install::FIELD_MANAGER;
    use kube_devops_cluster::managed_fields::set_of;
    use serde_json::json;

    use super::super::added::{ADDED_FIELDS, record};
    use super::*;

    /// A Deployment with an added probe, whose annotations were restored by this manager.
    fn restored(manager: &str, operation: &str) -> Value {
        let added = json!({ "name": "app", "livenessProbe": { "tcpSocket": { "port": 80 } } });
        let mut workload = json!({
            "kind": "Deployment", "metadata": { "resourceVersion": "7" },
            "spec": { "template": { "spec": { "containers": [added] } } },
        });
        workload["metadata"]["annotations"] = json!({ PATCHED_BY: by("strict"), ADDED_FIELDS: record(&[added]) });
        workload["metadata"]["annotations"][ROLLING_OUT] = own_template(&workload).into();
        let annotation = |name: &str| set_of(&json!({ "metadata": { "annotations": { name: null } } }));
        workload["metadata"]["managedFields"] = json!([
            { "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": annotation(PATCHED_BY) },
            { "manager": manager, "operation": operation, "fieldsV1": annotation(ROLLING_OUT) },
        ]);
        workload
    }

    fn removed() -> Value {
        json!({ "metadata": { "resourceVersion": "7", "annotations": { ROLLING_OUT: null } } })
    }

    #[test]
    fn the_annotation_of_a_rollout_that_no_policy_follows_is_removed() {
        let mut workload = restored("kubectl", "Update");
        assert_eq!(removal(&workload, Some("strict")), Some(removed()));
        assert_eq!(removal(&workload, None), None, "its policy may follow it");
        assert_eq!(removal(&workload, Some("other")), None, "the other policy may follow it");
        let mut patched_again = workload.clone();
        patched_again["metadata"]["managedFields"][0]["fieldsV1"] =
            patched_again["metadata"]["managedFields"][1]["fieldsV1"].clone();
        assert_eq!(removal(&patched_again, Some("strict")), None, "a new leader follows it");
        workload["spec"]["template"]["spec"]["containers"][0]["image"] = json!("x:2");
        for over in [None, Some("strict"), Some("other")] {
            assert_eq!(removal(&workload, over), Some(removed()), "it is that of another template");
        }
        workload["metadata"]["generation"] = json!(2);
        assert_eq!(removal(&workload, None), None, "the start of the rollout of the client is not recorded");
        workload["status"]["observedGeneration"] = json!(2);
        workload["metadata"]["annotations"] = json!({});
        assert_eq!(removal(&workload, None), None);
    }

    #[test]
    fn an_annotation_that_kubectl_did_not_restore_or_that_is_in_a_manifest_remains() {
        for (manager, operation) in [
            ("argocd-controller", "Apply"),
            ("kubectl", "Apply"),
            ("kubectl-client-side-apply", "Update"),
            ("helm", "Update"),
            (FIELD_MANAGER, "Apply"),
        ] {
            assert_eq!(removal(&restored(manager, operation), Some("strict")), None, "{manager} {operation}");
        }
        let mut workload = restored("kubectl", "Update");
        let manifest = json!({ "metadata": { "annotations": { ROLLING_OUT: "x" } } });
        workload["metadata"]["annotations"][LAST_APPLIED] = manifest.to_string().into();
        assert_eq!(removal(&workload, Some("strict")), None);
    }
}
