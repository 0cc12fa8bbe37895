//! The pods of a failed rollout of a StatefulSet, which it waits for forever after the revert:
//! <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback>

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::{ApiResource, DeleteParams, ListParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use kube_devops_cluster::lenient::LenientObject;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The label of a pod with the revision of its template.
const REVISION: &str = "controller-revision-hash";

/// The part of the status of a pod that says whether it is ready.
#[derive(Debug, Clone, Deserialize)]
struct PodConditions {
    conditions: Option<Vec<PodCondition>>,
}

/// A pod that is not of the current revision.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OldPod {
    name: String,
    uid: Option<String>,
    revision: String,
    is_ready: bool,
    is_terminating: bool,
}

impl From<&LenientObject<IgnoredAny, PodConditions>> for OldPod {
    fn from(pod: &LenientObject<IgnoredAny, PodConditions>) -> Self {
        let status = pod.status.as_ref().and_then(|status| status.0.as_ref().ok());
        let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
        let is_ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        Self {
            name: pod.name_any(),
            uid: pod.uid(),
            revision: pod.labels().get(REVISION).cloned().unwrap_or_default(),
            is_ready,
            is_terminating: pod.metadata.deletion_timestamp.is_some(),
        }
    }
}

impl OldPod {
    /// The number at the end of its name.
    fn ordinal(&self) -> Option<u64> {
        self.name.rsplit_once('-')?.1.parse().ok()
    }
}

/// Returns the pods of the failed revision that are not ready. A StatefulSet replaces pods from the highest ordinal, so that the first
/// one has the newest revision. The others were not replaced by the failed rollout, and may become ready again.
fn stuck(pods: &[OldPod]) -> Vec<&OldPod> {
    let newest = pods.iter().max_by_key(|pod| pod.ordinal());
    let is_of_newest = |pod: &&OldPod| newest.is_some_and(|newest| newest.revision == pod.revision);
    pods.iter().filter(is_of_newest).filter(|pod| !pod.is_ready && !pod.is_terminating).collect()
}

/// Deletes the pods of the failed revision of a StatefulSet with this uid that are not ready.
pub async fn delete_stuck_pods(
    client: &Client,
    namespace: &str,
    uid: &str,
    workload: &Value,
) -> Result<(), kube::Error> {
    let Some(revision) = workload.pointer("/status/updateRevision").and_then(Value::as_str) else { return Ok(()) };
    let api: Api<LenientObject<IgnoredAny, PodConditions>> =
        Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<Pod>(&()));
    let pods = api.list(&ListParams::default().labels(&format!("{REVISION},{REVISION}!={revision}"))).await?;
    let is_ours = |pod: &&LenientObject<_, _>| pod.owner_references().iter().any(|owner| owner.uid == uid);
    let pods: Vec<OldPod> = pods.items.iter().filter(is_ours).map(OldPod::from).collect();
    for pod in stuck(&pods) {
        // The pods of a StatefulSet keep their names: another one may have taken the place of the listed one.
        let is_listed = Preconditions { uid: pod.uid.clone(), ..Preconditions::default() };
        let parameters = DeleteParams { preconditions: Some(is_listed), ..DeleteParams::default() };
        match api.delete(&pod.name, &parameters).await {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            // The answer contains the deleted pod, whose `managedFields` may be nested too deeply.
            Err(kube::Error::SerdeError(_)) => {}
            result => drop(result?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, revision: &str, is_ready: bool) -> OldPod {
        let (name, revision) = (name.to_owned(), revision.to_owned());
        OldPod { name, uid: None, revision, is_ready, is_terminating: false }
    }

    fn names(pods: &[OldPod]) -> Vec<&str> {
        stuck(pods).into_iter().map(|pod| pod.name.as_str()).collect()
    }

    #[test]
    fn only_pods_of_the_failed_revision_are_stuck() {
        let of_earlier_patch = [pod("db-9", "a", false), pod("db-10", "b", false), pod("db-8", "a", true)];
        assert_eq!(names(&of_earlier_patch), ["db-10"]);
        let second_failed = [pod("db-0", "a", false), pod("db-1", "b", false), pod("db-2", "b", true)];
        assert_eq!(names(&second_failed), ["db-1"]);
        assert_eq!(names(&[pod("db-0", "a", false), pod("db-1", "a", false)]), ["db-0", "db-1"]);
        assert_eq!(names(&[]), [""; 0]);
        let terminating = OldPod { is_terminating: true, ..pod("db-0", "a", false) };
        assert_eq!(names(&[terminating]), [""; 0]);
    }
}
