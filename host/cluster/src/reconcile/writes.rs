//! What the operator writes to the API server.

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource, ResourceExt};
use kube_devops_core::text::{cut, escape_controls};
use serde_json::{Value, json};

use super::policy::Done;
use crate::crd::{DevOpsPolicy, DevOpsPolicyStatus, PolicyAuditResult};
use crate::enforce::{Outcome, RemediationJob, WorkloadKey, follow, remediate};
use crate::install::FIELD_MANAGER;

/// Keeps a policy until its audit results are gone.
pub const FINALIZER: &str = "devops.stochastic.io/cleanup";
/// How many audit results are removed at a time.
const AT_ONCE: usize = 4;
/// The longest note of an event, in bytes; the API server takes no longer one.
const LONGEST_NOTE: usize = 1000;

/// What is to be written.
pub enum Action {
    /// The finalizer is to be added.
    AddFinalizer {
        /// The policy.
        policy: Box<DevOpsPolicy>,
    },
    /// The status is to be written.
    WriteStatus {
        /// The policy.
        policy: Box<DevOpsPolicy>,
        /// Its new status.
        status: Box<DevOpsPolicyStatus>,
    },
    /// An audit result is to be written, and old ones are to be removed.
    Audit {
        /// The audit result.
        record: Box<PolicyAuditResult>,
        /// The fingerprint of what it says.
        fingerprint: String,
        /// The names of those to be removed.
        surplus: Vec<String>,
    },
    /// Events are to be sent.
    EmitEvents(Vec<PendingEvent>),
    /// A workload may lack something.
    Remediate(Box<RemediationJob>),
    /// A workload was changed, and is to be followed.
    Follow {
        /// The policy.
        policy: Box<DevOpsPolicy>,
        /// The workload.
        key: WorkloadKey,
        /// What speaks against the change.
        trouble: Option<String>,
    },
    /// The policy is being deleted, and what belongs to it has to go.
    CleanUp {
        /// The policy.
        policy: Box<DevOpsPolicy>,
        /// The names of its audit results.
        audits: Vec<String>,
    },
}

/// Something to be told to whoever looks at an object.
#[derive(Debug)]
pub struct PendingEvent {
    /// The object.
    pub reference: ObjectReference,
    /// Whether it is no reason to worry.
    pub is_fine: bool,
    /// What happened, in one word.
    pub reason: &'static str,
    /// What happened.
    pub note: String,
}

/// Does what is to be done. None: the object is gone, and there is nothing left to do.
pub async fn carry_out(client: Client, recorder: Recorder, action: Action) -> Result<Option<Done>, kube::Error> {
    match action {
        Action::AddFinalizer { policy } => gone_is_none(add_finalizer(&client, &policy).await),
        Action::WriteStatus { policy, status } => gone_is_none(write_status(&client, &policy, status).await),
        Action::Audit { record, fingerprint, surplus } => {
            let api: Api<PolicyAuditResult> = Api::namespaced(client, &record.namespace().unwrap_or_default());
            let name = record.name_any();
            match api.create(&PostParams::default(), &record).await {
                Ok(_) => {}
                // An earlier attempt was done, though nobody heard of it.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                // The namespace is being deleted, and takes no new objects.
                Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("being terminated") => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
            let removed = remove(&api, surplus).await;
            Ok(Some(Done::Audit { name, fingerprint, removed }))
        }
        Action::EmitEvents(events) => {
            for event in events {
                emit(&recorder, &event).await;
            }
            Ok(Some(Done::Emitted))
        }
        Action::Remediate(job) => {
            let (key, outcome) = remediate(&client, &job).await?;
            if let Some(key) = &key {
                tell_of_workload(&recorder, &job.namespace, key, &outcome).await;
            }
            Ok(Some(Done::Remediated { owner: job.owner, key, outcome }))
        }
        Action::Follow { policy, key, trouble } => {
            let namespace = policy.namespace().unwrap_or_default();
            let outcome = follow(&client, &namespace, &key, trouble).await?;
            tell_of_workload(&recorder, &namespace, &key, &outcome).await;
            Ok(Some(Done::Followed { key, outcome }))
        }
        Action::CleanUp { policy, audits } => {
            let namespace = policy.namespace().unwrap_or_default();
            // What stays is removed by the garbage collector, because it belongs to the policy. Deleting the policy, and
            // with it perhaps the whole namespace, must not wait for that.
            remove(&Api::namespaced(client.clone(), &namespace), audits).await;
            gone_is_none(remove_finalizer(&client, &policy).await)
        }
    }
}

fn gone_is_none(result: Result<Done, kube::Error>) -> Result<Option<Done>, kube::Error> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

async fn write_status(
    client: &Client,
    policy: &DevOpsPolicy,
    status: Box<DevOpsPolicyStatus>,
) -> Result<Done, kube::Error> {
    let api: Api<DevOpsPolicy> = Api::namespaced(client.clone(), &policy.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": DevOpsPolicy::api_version(&()),
        "kind": DevOpsPolicy::kind(&()),
        // The uid keeps the status of a deleted policy out of a new one with its name.
        "metadata": { "name": policy.name_any(), "uid": policy.uid() },
        "status": &status,
    });
    api.patch_status(&policy.name_any(), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(patch)).await?;
    Ok(Done::Status(status))
}

async fn add_finalizer(client: &Client, policy: &DevOpsPolicy) -> Result<Done, kube::Error> {
    let finalizers: Vec<String> = policy.finalizers().iter().cloned().chain([FINALIZER.to_owned()]).collect();
    patch_finalizers(client, policy, finalizers).await
}

async fn remove_finalizer(client: &Client, policy: &DevOpsPolicy) -> Result<Done, kube::Error> {
    let finalizers = policy.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    patch_finalizers(client, policy, finalizers).await
}

/// Sets the finalizers, unless somebody else has changed the policy meanwhile.
async fn patch_finalizers(
    client: &Client,
    policy: &DevOpsPolicy,
    finalizers: Vec<String>,
) -> Result<Done, kube::Error> {
    let api: Api<DevOpsPolicy> = Api::namespaced(client.clone(), &policy.namespace().unwrap_or_default());
    let metadata: Value =
        json!({ "uid": policy.uid(), "resourceVersion": policy.resource_version(), "finalizers": &finalizers });
    let patch = json!({ "metadata": metadata });
    api.patch(&policy.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(Done::Finalizer(finalizers))
}

/// Removes audit results, and answers with the names of those that are gone.
async fn remove(api: &Api<PolicyAuditResult>, names: Vec<String>) -> Vec<String> {
    let removals = stream::iter(names).map(|name| async move {
        let gone = match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) => status.code == 404,
            Err(_) => false,
        };
        gone.then_some(name)
    });
    let removed: Vec<Option<String>> = removals.buffer_unordered(AT_ONCE).collect().await;
    removed.into_iter().flatten().collect()
}

fn event_of(event: &PendingEvent) -> Event {
    Event {
        type_: if event.is_fine { EventType::Normal } else { EventType::Warning },
        reason: event.reason.to_owned(),
        note: Some(cut(&escape_controls(&event.note), LONGEST_NOTE)),
        action: "Evaluate".to_owned(),
        secondary: None,
    }
}

/// Tells whoever looks at a workload that it was changed, or was to be.
async fn tell_of_workload(recorder: &Recorder, namespace: &str, key: &WorkloadKey, outcome: &Outcome) {
    let (is_fine, reason, note) = match outcome {
        Outcome::Patched(patched) if !patched.what.is_empty() => {
            (true, "Patched", format!("added to {}", patched.what))
        }
        Outcome::Reverted(reason) => (false, "Reverted", format!("what was added is taken back: {reason}")),
        Outcome::Conflict(reason) => (false, "Conflict", reason.clone()),
        _ => return,
    };
    let reference = ObjectReference {
        api_version: Some("apps/v1".to_owned()),
        kind: Some(key.kind.clone()),
        name: Some(key.name.clone()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    };
    emit(recorder, &PendingEvent { reference, is_fine, reason, note }).await;
}

/// Sends an event. It is for people, and nothing depends on it, so that a failure is only logged.
async fn emit(recorder: &Recorder, event: &PendingEvent) {
    if let Err(error) = recorder.publish(&event_of(event), &event.reference).await {
        tracing::debug!("an event could not be sent: {error}");
    }
}
