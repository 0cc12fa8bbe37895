//! The requests of remediation.

use std::fmt::Debug;

use chrono::Utc;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};
use kube_devops_cluster::apply_patch::apply_patch;
use kube_devops_cluster::install::FIELD_MANAGER;
use kube_devops_cluster::metadata;
use kube_devops_cluster::owner;
use kube_devops_cluster::{is_too_large, is_webhook_failure};
use kube_devops_core::workload::Workload;
use serde::Serialize;
use serde_json::Value;
use tokio::task::block_in_place;

use super::added::ADDED_FIELDS;
use super::decide::{Decision, follow_up, remediation};
use super::job::{Existence, JobResult, Rejection, RemediationJob, RolloutFailure, Step, WorkloadKey};
use super::plan::{OF_PATCH, ROLLING_OUT, removal_hint};
use super::stuck::delete_stuck_pods;
use super::{plan, removal, restored};

/// The workload of a job, and the result.
#[derive(Debug)]
pub struct Ended {
    /// The workload, if there is one.
    pub key: Option<WorkloadKey>,
    /// Its uid.
    pub uid: Option<String>,
    /// The result.
    pub result: JobResult,
}

/// Adds the missing fields to the workload of a pod.
#[tracing::instrument(skip_all, fields(namespace = job.namespace, policy = job.policy))]
pub async fn remediate(client: &Client, job: &RemediationJob) -> Result<Ended, kube::Error> {
    let (key, expected) = match workload_of(client, &job.owner).await? {
        Owner::Workload(key, uid) => (key, uid),
        Owner::Denied(reason) => return Ok(Ended { key: None, uid: None, result: JobResult::Denied(reason) }),
        Owner::Gone => return Ok(Ended { key: None, uid: None, result: JobResult::Gone }),
        Owner::Other => {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let (kind, name) = (text(&job.owner.kind), text(&job.owner.name));
            let result = JobResult::Skipped(format!("{kind} {name} is not controlled by a Deployment"));
            return Ok(Ended { key: None, uid: None, result });
        }
    };
    let api = api(client, &job.namespace, &key.kind);
    let workload = match read(&api, &key.name).await? {
        Ok(workload) => workload,
        Err(result) => return Ok(Ended { key: Some(key), uid: None, result }),
    };
    // Another workload of the same name is not that of the pod.
    if uid(&workload) != expected {
        return Ok(Ended { key: None, uid: None, result: JobResult::Gone });
    }
    // The checks are called, each of which may take a second.
    let decision = block_in_place(|| remediation(&workload, job, job.patches.get(&key), Utc::now()));
    let result = carry_out(client, &job.namespace, &api, &key, &workload, decision).await?;
    Ok(Ended { key: Some(key), uid: uid(&workload), result })
}

/// Checks the rollout of a patched workload, and reverts the patch if the rollout fails or there is `failure`.
#[tracing::instrument(skip_all, fields(namespace, kind = key.kind, name = key.name))]
pub async fn follow(
    client: &Client,
    namespace: &str,
    policy: &str,
    key: WorkloadKey,
    failure: Option<RolloutFailure>,
    step: Step,
) -> Result<Ended, kube::Error> {
    let api = api(client, namespace, &key.kind);
    let workload = match read(&api, &key.name).await? {
        Ok(workload) => workload,
        Err(result) => return Ok(Ended { key: Some(key), uid: None, result }),
    };
    let decision = follow_up(&workload, policy, failure, step);
    let result = match carry_out(client, namespace, &api, &key, &workload, decision).await? {
        // The next check sees the concurrent change.
        JobResult::Waiting(_) => JobResult::Reverting,
        result => result,
    };
    Ok(Ended { key: Some(key), uid: uid(&workload), result })
}

/// Checks whether a workload exists. If `over` is a policy that follows no rollout of it, an annotation of a rollout that another client
/// has restored is removed.
pub async fn check(
    client: &Client,
    namespace: &str,
    key: &WorkloadKey,
    over: Option<&str>,
) -> Result<Existence, kube::Error> {
    let api = api(client, namespace, &key.kind);
    let Some(found) = metadata::get(&api, &key.name).await? else { return Ok(Existence::Gone) };
    let is_rolling_out = found.annotations.is_some_and(|annotations| annotations.contains_key(ROLLING_OUT));
    if over.is_some()
        && is_rolling_out
        && let Ok(workload) = read(&api, &key.name).await?
        && let Some(patch) = restored::removal(&workload, over)
        && let Err(rejection) = merge(&api, &key.name, &patch).await?
    {
        tracing::warn!(name = key.name, "failed to remove the annotation {ROLLING_OUT}, retrying: {rejection:?}");
    }
    Ok(Existence::Exists)
}

async fn carry_out(
    client: &Client,
    namespace: &str,
    api: &Api<DynamicObject>,
    key: &WorkloadKey,
    workload: &Value,
    decision: Decision,
) -> Result<JobResult, kube::Error> {
    match decision {
        Decision::Done(result) => Ok(result),
        Decision::Patch { patch, result } => {
            let applied = match result {
                JobResult::Patched(_) => apply_as_admitted(api, &key.name, patch).await?,
                _ => apply(api, &key.name, &patch).await?,
            };
            Ok(applied.map_or_else(JobResult::from, |_| result))
        }
        Decision::GiveUp { patch, result } => {
            Ok(match (merge(api, &key.name, &patch).await?, result) {
                // The rollout is monitored nevertheless. The fields are given up at the latest before it is completed.
                (Err(Rejection::Denied(reason) | Rejection::Invalid(reason)), JobResult::InProgress(progress)) => {
                    tracing::warn!(name = key.name, "failed to give up added fields, retrying: {reason}");
                    JobResult::NotGivenUp(progress)
                }
                (Err(Rejection::Denied(reason) | Rejection::Invalid(reason)), result @ JobResult::Reverted(_)) => {
                    tracing::warn!(name = key.name, "failed to give up reverted fields, retrying: {reason}");
                    result
                }
                (Err(rejection), _) => rejection.into(),
                (Ok(_), result) => result,
            })
        }
        Decision::Revert(reason) => {
            Ok(revert(api, &key.name, workload, &reason).await?.map_or_else(JobResult::from, |()| JobResult::Reverting))
        }
        Decision::DeleteStuckPods(reason) => {
            delete_stuck_pods(client, namespace, &uid(workload).unwrap_or_default(), workload).await?;
            Ok(JobResult::Reverted(reason))
        }
    }
}

fn uid(workload: &Value) -> Option<String> {
    workload["metadata"]["uid"].as_str().map(str::to_owned)
}

/// The workload, or a result without it. That one workload cannot be read, or none, says nothing about the API server.
async fn read(api: &Api<DynamicObject>, name: &str) -> Result<Result<Value, JobResult>, kube::Error> {
    match get(api, name).await {
        Ok(workload) => Ok(workload.ok_or(JobResult::Gone)),
        Err(kube::Error::SerdeError(error)) => Ok(Err(unreadable(&error).into())),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Err(JobResult::Denied(status.message.clone()))),
        Err(error) => Err(error),
    }
}

/// The reason of a conflict. The cause comes first, because a status contains only the start of a long reason.
fn conflict(message: &str) -> Rejection {
    let own: Vec<&str> = OF_PATCH.into_iter().filter(|name| message.contains(name)).collect();
    let hint = match own.as_slice() {
        [] => return Rejection::Conflict(message.to_owned()),
        // Without this annotation, the added fields would remain when the client sets others.
        own if own.contains(&ADDED_FIELDS) => {
            format!("run `kube-devops release` for the workload, and remove {} from its manifest", own.join(", "))
        }
        own => removal_hint(own),
    };
    Rejection::Conflict(format!("{hint}. {message}"))
}

fn unreadable(error: &serde_json::Error) -> Rejection {
    Rejection::Invalid(format!("it cannot be read: {error}"))
}

pub async fn get(api: &Api<DynamicObject>, name: &str) -> Result<Option<Value>, kube::Error> {
    let workload = api.get_opt(name).await?;
    workload.map(|workload| serde_json::to_value(workload).map_err(kube::Error::SerdeError)).transpose()
}

/// The workload of a controller of pods.
enum Owner {
    /// Its key and uid.
    Workload(WorkloadKey, Option<String>),
    /// It does not exist any more.
    Gone,
    /// It is not remediated.
    Other,
    /// It cannot be read, because a request is denied, with the reason.
    Denied(String),
}

impl Owner {
    /// The workload that a reference names.
    fn of(reference: &ObjectReference) -> Self {
        let ObjectReference { api_version: Some(api_version), kind: Some(kind), name: Some(name), uid, .. } = reference
        else {
            return Self::Other;
        };
        match Workload::find(api_version, kind) {
            Some(workload) if workload.can_be_remediated => {
                Self::Workload(WorkloadKey { kind: kind.clone(), name: name.clone() }, uid.clone())
            }
            _ => Self::Other,
        }
    }
}

/// The workload that creates the pods of a controller.
async fn workload_of(client: &Client, owner: &ObjectReference) -> Result<Owner, kube::Error> {
    match owner::of_pods(client, owner).await {
        Ok(Some(root)) => Ok(Owner::of(&root)),
        Ok(None) => Ok(Owner::Gone),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Owner::Denied(status.message.clone())),
        Err(error) => Err(error),
    }
}

pub fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Removes the added fields of a workload. The inner error is a result and no failure.
pub async fn revert(
    api: &Api<DynamicObject>,
    name: &str,
    workload: &Value,
    reason: &str,
) -> Result<Result<(), Rejection>, kube::Error> {
    let patch = removal::revert(workload, reason);
    Ok(match write(api, name, &by_operator(), &Patch::Strategic(&patch)).await? {
        // It may be accepted after a change of the workload, and is reported until then.
        Err(Rejection::Invalid(reason)) => Err(Rejection::Denied(reason)),
        result => result.map(|_| ()),
    })
}

/// Sends a JSON merge patch. Returns the workload; the inner error is a result and no failure.
pub async fn merge(
    api: &Api<DynamicObject>,
    name: &str,
    patch: &Value,
) -> Result<Result<Value, Rejection>, kube::Error> {
    write(api, name, &by_operator(), &Patch::Merge(patch)).await
}

/// The parameters of a patch that is no apply.
fn by_operator() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// Applies a patch without force, so that fields of other managers remain theirs. Returns the workload; the inner error is a
/// result and no failure.
async fn apply(api: &Api<DynamicObject>, name: &str, patch: &Value) -> Result<Result<Value, Rejection>, kube::Error> {
    write(api, name, &PatchParams::apply(FIELD_MANAGER), &apply_patch(patch)?).await
}

/// Starts a rollout, with the fingerprint of the admitted pod template: a mutating webhook or policy may change the template in this
/// request, which would look like the change of another client. A dry run shows the template. With a correction after the patch, a
/// leader that ends in between would leave a rollout that is not monitored.
async fn apply_as_admitted(
    api: &Api<DynamicObject>,
    name: &str,
    mut patch: Value,
) -> Result<Result<Value, Rejection>, kube::Error> {
    let dry_run = PatchParams { dry_run: true, ..PatchParams::apply(FIELD_MANAGER) };
    // The second attempt shows whether the template that admission makes is always the same.
    for _ in 0..2 {
        let admitted = match write(api, name, &dry_run, &apply_patch(&patch)?).await? {
            Ok(admitted) => admitted,
            Err(rejection) => return Ok(Err(rejection)),
        };
        match plan::with_template(&patch, &admitted) {
            None => return apply(api, name, &patch).await,
            Some(corrected) => patch = corrected,
        }
    }
    let reason =
        "a mutating webhook or policy changes its pod template in each update, so that its rollout cannot be monitored";
    Ok(Err(Rejection::Invalid(reason.to_owned())))
}

/// Patches a workload. Returns it; the inner error is a result and no failure.
async fn write(
    api: &Api<DynamicObject>,
    name: &str,
    parameters: &PatchParams,
    patch: &Patch<impl Serialize + Debug>,
) -> Result<Result<Value, Rejection>, kube::Error> {
    match api.patch(name, parameters, patch).await {
        Ok(applied) => Ok(Ok(serde_json::to_value(applied).map_err(kube::Error::SerdeError)?)),
        Err(kube::Error::SerdeError(error)) => Ok(Err(unreadable(&error))),
        Err(kube::Error::Api(status)) if status.is_conflict() && status.message.starts_with("Apply failed") => {
            Ok(Err(conflict(&status.message)))
        }
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Err(Rejection::Changed)),
        Err(kube::Error::Api(status)) if status.is_invalid() => Ok(Err(Rejection::Invalid(status.message.clone()))),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Err(Rejection::Gone)),
        Err(kube::Error::Api(status))
            if matches!(status.code, 400 | 403) || is_webhook_failure(&status) || is_too_large(&status) =>
        {
            Ok(Err(Rejection::Denied(status.message.clone())))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_workloads_of_kubernetes_are_remediated() {
        let of = |api_version: &str, kind: &str| {
            let text = |text: &str| Some(text.to_owned());
            let (name, uid) = (text("web"), text("1"));
            match Owner::of(&ObjectReference {
                api_version: text(api_version),
                kind: text(kind),
                name,
                uid,
                ..ObjectReference::default()
            }) {
                Owner::Workload(key, uid) => Some((key.kind, uid)),
                _ => None,
            }
        };
        assert_eq!(of("apps/v1", "Deployment"), Some(("Deployment".to_owned(), Some("1".to_owned()))));
        assert_eq!(of("example.com/v1", "Deployment"), None);
        assert_eq!(of("apps/v1", "ReplicaSet"), None);
        assert_eq!(of("v1", "Pod"), None);
    }

    #[test]
    fn a_conflict_about_annotations_of_the_operator_names_them_first() {
        let of = |annotation: &str| {
            format!("Apply failed with 1 conflict: conflict with \"helm\": .metadata.annotations.{annotation}")
        };
        let Rejection::Conflict(reason) = conflict(&of(ROLLING_OUT)) else { panic!("no conflict") };
        let hint = "remove devops.stochastic.io/rolling-out from the annotations of the workload and of its manifest";
        assert!(reason.starts_with(hint) && reason.ends_with(&of(ROLLING_OUT)), "{reason}");
        let Rejection::Conflict(reason) = conflict(&of(ADDED_FIELDS)) else { panic!("no conflict") };
        assert!(reason.starts_with("run `kube-devops release`"), "the added fields must not be forgotten: {reason}");
        assert_eq!(conflict(&of("team")), Rejection::Conflict(of("team")));
    }
}
