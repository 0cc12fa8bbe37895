//! Mending one workload, and taking that back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use kube_devops_core::Subject;
use kube_devops_core::object::{Context, Object};
use kube_devops_engine::RuleSet;
use serde_json::Value;

use super::plan::{self, Addition, IGNORE, PATCHED_BY, REVERTED, REVERTED_BECAUSE};
use super::rollout::{Rollout, deadline, objection, rollout};
use crate::crd::DevOpsPolicySpec;
use crate::install::FIELD_MANAGER;

/// The kinds that are mended.
pub const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// Which workload of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadKey {
    /// One of [`KINDS`].
    pub kind: String,
    /// The name.
    pub name: String,
}

/// What is to be done with a workload.
#[derive(Clone)]
pub struct RemediationJob {
    /// The namespace.
    pub namespace: String,
    /// What controls a pod that lacks something.
    pub owner: Arc<ObjectReference>,
    /// The name of the policy.
    pub policy: String,
    /// What the policy says.
    pub spec: Box<DevOpsPolicySpec>,
    /// The rules of the policy.
    pub rules: Arc<RuleSet>,
    /// Whether it is only said what would be done.
    pub dry_run: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It lacks nothing.
    Fine,
    /// It is to be left as it is.
    Ignored,
    /// It must not be changed, for this reason.
    Refused(String),
    /// This would have been added.
    WouldPatch(String),
    /// Not now, for this reason.
    Waiting(String),
    /// Somebody else owns what would have to be changed.
    Conflict(String),
    /// It was changed, and its pods are being replaced.
    Patched(Patched),
    /// All pods have been replaced, and run.
    RolledOut,
    /// The pods are still being replaced.
    Underway,
    /// What was added has been taken back, for this reason.
    Reverted(String),
    /// It is not there any more.
    Gone,
}

/// A workload that was changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    /// What was added, in words; nothing where the operator was restarted since.
    pub what: String,
    /// How long the workload itself gives a rollout.
    pub deadline: Option<Duration>,
    /// How long the new pods are looked at after that, for whether a liveness probe restarts them.
    pub settle: Duration,
    /// The labels of its pods.
    pub selector: BTreeMap<String, String>,
}

/// Adds what the workload lacks.
pub async fn remediate(client: &Client, job: &RemediationJob) -> Result<(Option<WorkloadKey>, Outcome), kube::Error> {
    let Some(key) = workload_of(client, &job.namespace, &job.owner).await? else {
        let kind = job.owner.kind.as_deref().unwrap_or_default();
        let name = job.owner.name.as_deref().unwrap_or_default();
        return Ok((None, Outcome::Refused(format!("{kind} {name} belongs to no Deployment"))));
    };
    let api = api(client, &job.namespace, &key.kind);
    let Some(workload) = api.get_opt(&key.name).await?.and_then(|workload| serde_json::to_value(workload).ok()) else {
        return Ok((Some(key), Outcome::Gone));
    };
    let outcome = match planned(&workload, job) {
        Planned::Outcome(outcome) => outcome,
        Planned::Additions(additions) => {
            let patch = plan::patch(&workload, &additions, &job.policy);
            match apply(&api, &key.name, &patch).await? {
                Ok(()) => Outcome::Patched(patched(&workload, &additions)),
                Err(outcome) => outcome,
            }
        }
    };
    Ok((Some(key), outcome))
}

enum Planned {
    Outcome(Outcome),
    Additions(Vec<Addition>),
}

/// What is to be done with the workload as it is.
fn planned(workload: &Value, job: &RemediationJob) -> Planned {
    let annotation = |name: &str| workload["metadata"]["annotations"][name].as_str();
    if annotation(IGNORE) == Some("true") {
        return Planned::Outcome(Outcome::Ignored);
    }
    if workload["metadata"].get("deletionTimestamp").is_some() {
        return Planned::Outcome(Outcome::Gone);
    }
    let edits = match subject(workload).map(|subject| job.rules.remediate(&subject)) {
        None => return Planned::Outcome(Outcome::Refused("its pod template cannot be read".to_owned())),
        Some(Err(error)) => {
            let reason = error.to_string();
            return Planned::Outcome(Outcome::Waiting(reason));
        }
        Some(Ok(edits)) => edits,
    };
    let additions = plan::additions(workload, &job.spec, &edits);
    let rollout = rollout(workload);
    if additions.is_empty() {
        // Its pods lack something and its template does not: they are being replaced, perhaps since before a restart.
        let ours = annotation(PATCHED_BY).is_some_and(|by| by.starts_with("kube-devops/"));
        let outcome =
            if ours && rollout != Rollout::Complete { Outcome::Patched(patched(workload, &[])) } else { Outcome::Fine };
        return Planned::Outcome(outcome);
    }
    if annotation(REVERTED) == Some(&plan::own_template(workload)) {
        let reason = annotation(REVERTED_BECAUSE).unwrap_or("the new pods did not run");
        return Planned::Outcome(Outcome::Reverted(reason.to_owned()));
    }
    if let Some(objection) = objection(workload) {
        return Planned::Outcome(Outcome::Refused(objection.to_owned()));
    }
    if rollout != Rollout::Complete {
        // Whether an addition does harm could not be told from what is wrong already.
        return Planned::Outcome(Outcome::Waiting("not all of its pods are up to date and available".to_owned()));
    }
    if job.dry_run {
        return Planned::Outcome(Outcome::WouldPatch(in_words(&additions)));
    }
    Planned::Additions(additions)
}

/// The facts of the pod template.
fn subject(workload: &Value) -> Option<Subject> {
    let object: Object = serde_json::from_value(workload.clone()).ok()?;
    let context = Context { now: Utc::now(), default_namespace: String::new(), source: None };
    object.extract(&context).ok()?.into_subject()
}

fn patched(workload: &Value, additions: &[Addition]) -> Patched {
    const FAILURES: u64 = 3;
    const MARGIN: u64 = 5;
    let liveness = additions.iter().filter(|addition| addition.field == "/livenessProbe").map(|addition| {
        let seconds = |field: &str, otherwise: u64| addition.value[field].as_u64().unwrap_or(otherwise);
        seconds("initialDelaySeconds", 0) + FAILURES * seconds("periodSeconds", 10) + MARGIN
    });
    let labels = workload.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    Patched {
        what: in_words(additions),
        deadline: deadline(workload),
        settle: Duration::from_secs(liveness.max().unwrap_or(0)),
        selector: labels.into_iter().flatten().filter_map(label).collect(),
    }
}

fn in_words(additions: &[Addition]) -> String {
    let mut by_container: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for addition in additions {
        by_container.entry(&addition.container).or_default().push(addition.field.trim_start_matches('/'));
    }
    let parts =
        by_container.into_iter().map(|(container, fields)| format!("container {container}: {}", fields.join(", ")));
    parts.collect::<Vec<_>>().join("; ")
}

/// Looks how far a workload has come that was changed. `trouble` is what else speaks against the change.
pub async fn follow(
    client: &Client,
    namespace: &str,
    key: &WorkloadKey,
    trouble: Option<String>,
) -> Result<Outcome, kube::Error> {
    let api = api(client, namespace, &key.kind);
    let Some(workload) = api.get_opt(&key.name).await?.and_then(|workload| serde_json::to_value(workload).ok()) else {
        return Ok(Outcome::Gone);
    };
    let reason = match (trouble, rollout(&workload)) {
        (_, Rollout::Failed(reason)) | (Some(reason), _) => reason,
        (None, Rollout::Complete) => return Ok(Outcome::RolledOut),
        (None, Rollout::Underway) => return Ok(Outcome::Underway),
    };
    match apply(&api, &key.name, &plan::revert(&workload, &reason)).await? {
        Ok(()) => {
            if key.kind == "StatefulSet" {
                remove_stuck_pods(client, namespace, &workload).await?;
            }
            Ok(Outcome::Reverted(reason))
        }
        // Whoever changed it meanwhile is looked at next time.
        Err(Outcome::Waiting(_)) => Ok(Outcome::Underway),
        Err(outcome) => Ok(outcome),
    }
}

/// A StatefulSet waits for a pod of a template that is gone already, and for ever:
/// <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback>
async fn remove_stuck_pods(client: &Client, namespace: &str, workload: &Value) -> Result<(), kube::Error> {
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
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                result => drop(result?),
            }
        }
    }
    Ok(())
}

/// The workload that makes the pods which `owner` controls.
async fn workload_of(
    client: &Client,
    namespace: &str,
    owner: &ObjectReference,
) -> Result<Option<WorkloadKey>, kube::Error> {
    let (kind, name) = (owner.kind.clone().unwrap_or_default(), owner.name.clone().unwrap_or_default());
    if kind != "ReplicaSet" {
        return Ok(KINDS.contains(&kind.as_str()).then_some(WorkloadKey { kind, name }));
    }
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let Some(set) = api.get_opt(&name).await? else { return Ok(None) };
    let controller = set.owner_references().iter().find(|owner| owner.controller == Some(true));
    let deployment = controller.filter(|owner| owner.kind == "Deployment");
    Ok(deployment.map(|owner| WorkloadKey { kind: owner.kind.clone(), name: owner.name.clone() }))
}

fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Applies a patch without force, so that what others own stays theirs. The inner error is no failure but an outcome.
async fn apply(api: &Api<DynamicObject>, name: &str, patch: &Value) -> Result<Result<(), Outcome>, kube::Error> {
    match api.patch(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(patch)).await {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if status.code == 409 && status.message.starts_with("Apply failed") => {
            Ok(Err(Outcome::Conflict(status.message.clone())))
        }
        Err(kube::Error::Api(status)) if status.code == 409 => {
            Ok(Err(Outcome::Waiting("it is being changed".to_owned())))
        }
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(Err(Outcome::Refused(status.message.clone()))),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Err(Outcome::Gone)),
        Err(error) => Err(error),
    }
}
