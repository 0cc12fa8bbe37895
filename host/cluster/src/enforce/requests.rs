//! The requests of remediation.

use chrono::Utc;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use kube_devops_core::workload::Workload;
use serde_json::Value;

use super::decide::{Decision, follow_up, remediation};
use super::job::{JobResult, RemediationJob, WorkloadKey, is_replica_set};
use crate::install::FIELD_MANAGER;

/// Adds the missing fields to the workload of a pod. Returns the workload, if there is one, and the result.
#[tracing::instrument(skip_all, fields(namespace = job.namespace, policy = job.policy))]
pub async fn remediate(client: &Client, job: &RemediationJob) -> Result<(Option<WorkloadKey>, JobResult), kube::Error> {
    let Some(key) = workload_of(client, &job.namespace, &job.owner).await? else {
        let kind = job.owner.kind.as_deref().unwrap_or_default();
        let name = job.owner.name.as_deref().unwrap_or_default();
        return Ok((None, JobResult::Skipped(format!("{kind} {name} is not controlled by a Deployment"))));
    };
    let api = api(client, &job.namespace, &key.kind);
    let Some(workload) = get(&api, &key.name).await? else { return Ok((Some(key), JobResult::Gone)) };
    let result = match remediation(&workload, job, Utc::now()) {
        Decision::Done(result) => result,
        Decision::Patch { patch, patched } => match apply(&api, &key.name, &patch).await? {
            Ok(()) => JobResult::Patched(patched),
            Err(result) => result,
        },
        Decision::Revert { patch, reason } => match apply(&api, &key.name, &patch).await? {
            Ok(()) => JobResult::Reverted(reason),
            Err(result) => result,
        },
    };
    Ok((Some(key), result))
}

/// Checks the rollout of a patched workload, and reverts the patch if the rollout fails or there is `trouble`.
#[tracing::instrument(skip_all, fields(namespace, kind = key.kind, name = key.name))]
pub async fn follow(
    client: &Client,
    namespace: &str,
    key: &WorkloadKey,
    trouble: Option<String>,
) -> Result<JobResult, kube::Error> {
    let api = api(client, namespace, &key.kind);
    let Some(workload) = get(&api, &key.name).await? else { return Ok(JobResult::Gone) };
    let (patch, reason) = match follow_up(&workload, trouble) {
        Decision::Done(result) => return Ok(result),
        Decision::Patch { patched, .. } => return Ok(JobResult::Patched(patched)),
        Decision::Revert { patch, reason } => (patch, reason),
    };
    match apply(&api, &key.name, &patch).await? {
        Ok(()) => {
            if key.kind == "StatefulSet" {
                delete_stuck_pods(client, namespace, &workload).await?;
            }
            Ok(JobResult::Reverted(reason))
        }
        // A concurrent change is seen by the next check.
        Err(JobResult::Waiting(_)) => Ok(JobResult::InProgress),
        Err(result) => Ok(result),
    }
}

async fn get(api: &Api<DynamicObject>, name: &str) -> Result<Option<Value>, kube::Error> {
    let workload = api.get_opt(name).await?;
    workload.map(|workload| serde_json::to_value(workload).map_err(kube::Error::SerdeError)).transpose()
}

/// Deletes the pods of the failed revision, which a StatefulSet otherwise waits for forever:
/// <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback>
async fn delete_stuck_pods(client: &Client, namespace: &str, workload: &Value) -> Result<(), kube::Error> {
    let Some(revision) = workload.pointer("/status/updateRevision").and_then(Value::as_str) else { return Ok(()) };
    if workload.pointer("/status/currentRevision").and_then(Value::as_str) == Some(revision) {
        return Ok(());
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = api.list(&ListParams::default().labels(&format!("controller-revision-hash={revision}"))).await?;
    let uid = workload["metadata"]["uid"].as_str().unwrap_or_default();
    for pod in pods.items {
        let is_ours = pod.owner_references().iter().any(|owner| owner.uid == uid);
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let is_ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        if is_ours && !is_ready {
            match api.delete(&pod.name_any(), &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                result => drop(result?),
            }
        }
    }
    Ok(())
}

/// The workload that creates the pods of a controller; `None` if it is not remediated.
async fn workload_of(
    client: &Client,
    namespace: &str,
    owner: &ObjectReference,
) -> Result<Option<WorkloadKey>, kube::Error> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (kind, name) = (text(&owner.kind), text(&owner.name));
    let Some(workload) = Workload::find(&text(&owner.api_version), &kind) else { return Ok(None) };
    if !is_replica_set(workload) {
        return Ok(workload.can_be_remediated.then_some(WorkloadKey { kind, name }));
    }
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let Some(set) = api.get_opt(&name).await? else { return Ok(None) };
    let controller = set.owner_references().iter().find(|owner| owner.controller == Some(true));
    let is_remediable = |owner: &&OwnerReference| {
        Workload::find(&owner.api_version, &owner.kind).is_some_and(|workload| workload.can_be_remediated)
    };
    let deployment = controller.filter(is_remediable);
    Ok(deployment.map(|owner| WorkloadKey { kind: owner.kind.clone(), name: owner.name.clone() }))
}

fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Applies a patch without force, so that fields of other managers remain theirs. The inner error is a result and no failure.
async fn apply(api: &Api<DynamicObject>, name: &str, patch: &Value) -> Result<Result<(), JobResult>, kube::Error> {
    match api.patch(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(patch)).await {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if status.is_conflict() && status.message.starts_with("Apply failed") => {
            Ok(Err(JobResult::Conflict(status.message.clone())))
        }
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            Ok(Err(JobResult::Waiting("it was changed at the same time".to_owned())))
        }
        Err(kube::Error::Api(status)) if status.is_invalid() => Ok(Err(JobResult::Skipped(status.message.clone()))),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Err(JobResult::Gone)),
        Err(error) => Err(error),
    }
}
