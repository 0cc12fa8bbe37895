//! The requests of the operator: the only file that talks to the API server about policies.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, ResourceExt};
use kube_devops_cluster::crd::{DevOpsPolicy, DevOpsPolicyStatus, PolicyAuditResult};
use kube_devops_cluster::finalizer::{self, FINALIZER};
use kube_devops_cluster::key::ObjectKey;
use kube_devops_cluster::metadata;
use kube_devops_cluster::owner;
use kube_devops_cluster::pages::{self, is_expired};
use kube_devops_cluster::status;
use kube_devops_cluster::{is_unavailability, request_failure};
use kube_devops_core::text::{cut, escape_controls};
use kube_devops_remediation::{Ended, JobResult, check, follow, remediate};
use tokio::time::timeout;

use super::audit::FINGERPRINT;
use super::write::{Enforced, EnforcementJob, EnforcementResult, KnownAudit, PendingEvent, Write, WriteResult};

/// The most audit results that are deleted at a time.
const AT_ONCE: usize = 4;
/// The longest note of an event, in bytes. The API server rejects notes of more than 1,024.
const MAX_NOTE_LENGTH: usize = 1000;

/// The timeout of a write or a job, which may be several requests.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The reason why a write or a job failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// A request failed.
    #[error("{}", request_failure(.0))]
    Request(#[from] kube::Error),
    /// A request was not answered.
    #[error("the API server did not respond within {} seconds", TIMEOUT.as_secs())]
    Timeout,
}

impl ExecuteError {
    /// Whether another replica may have more success: the API server did not respond, or not properly.
    pub fn is_unavailability(&self) -> bool {
        match self {
            Self::Timeout => true,
            Self::Request(error) => is_unavailability(error),
        }
    }
}

async fn in_time<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ExecuteError> {
    match timeout(TIMEOUT, request).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ExecuteError::Timeout),
    }
}

/// Sends requests and emits events.
#[derive(Clone)]
pub struct Executor {
    /// The client.
    pub client: Client,
    /// The recorder of events.
    pub recorder: Recorder,
}

impl Executor {
    /// Executes a write. `None` if the object does not exist any more, so that there is nothing left to do.
    ///
    /// # Errors
    ///
    /// If a request fails, or is not answered in time.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn write(&self, write: Write) -> Result<Option<WriteResult>, ExecuteError> {
        in_time(self.send(write)).await
    }

    async fn send(&self, write: Write) -> Result<Option<WriteResult>, kube::Error> {
        match write {
            Write::AddFinalizer { policy } => none_if_gone(self.add_finalizer(&policy).await),
            Write::RemoveFinalizer { policy } => none_if_gone(self.remove_finalizer(&policy).await),
            Write::Status { policy, status } => none_if_gone(self.write_status(&policy, status).await),
            Write::Audit { record, fingerprint, surplus } => self.create_audit(&record, fingerprint, surplus).await,
            Write::Events(events) => {
                for mut event in events {
                    event.reference = self.resolve(event.reference).await;
                    self.emit(&event).await;
                }
                Ok(Some(WriteResult::Events))
            }
        }
    }

    /// Executes a job of the remediation. Returns its result, and the event about the workload if there is one to emit.
    ///
    /// # Errors
    ///
    /// If a request fails, or is not answered in time.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn enforce(&self, job: EnforcementJob) -> Result<Enforced, ExecuteError> {
        in_time(self.run(job)).await
    }

    async fn run(&self, job: EnforcementJob) -> Result<Enforced, kube::Error> {
        Ok(match job {
            EnforcementJob::Remediate(job) => {
                let ended = remediate(&self.client, &job).await?;
                let event = workload_event(&job.namespace, &ended).map(Box::new);
                let result = EnforcementResult::Remediated { owner: job.owner, key: ended.key, result: ended.result };
                Enforced { result, event }
            }
            EnforcementJob::Follow { namespace, policy, key, failure, step } => {
                let ended = follow(&self.client, &namespace, &policy, key.clone(), failure, step).await?;
                let event = workload_event(&namespace, &ended).map(Box::new);
                Enforced { result: EnforcementResult::Followed { key, result: ended.result }, event }
            }
            EnforcementJob::Check { namespace, key, over } => {
                let existence = check(&self.client, &namespace, &key, over.as_deref()).await?;
                Enforced { result: EnforcementResult::Checked { key, existence }, event: None }
            }
        })
    }

    /// Lists the audit results of each policy, the oldest first. Only their metadata is read.
    ///
    /// # Errors
    ///
    /// If a request fails, or a page is not sent in time.
    pub async fn audits(&self) -> Result<BTreeMap<ObjectKey, Vec<KnownAudit>>, ExecuteError> {
        let api: Api<PolicyAuditResult> = Api::all(self.client.clone());
        let is_expired = |error: &ExecuteError| matches!(error, ExecuteError::Request(error) if is_expired(error));
        // The API server reads whole objects for their metadata, so that all pages together may take long.
        let request = async |parameters| in_time(metadata::page(&api, &parameters)).await;
        let mut known: BTreeMap<ObjectKey, Vec<KnownAudit>> = BTreeMap::new();
        for audit in pages::list(&ListParams::default(), request, is_expired, |_| ()).await? {
            add(&audit.metadata, &mut known);
        }
        known.values_mut().for_each(|audits| audits.sort());
        Ok(known)
    }

    async fn create_audit(
        &self,
        record: &PolicyAuditResult,
        fingerprint: String,
        surplus: Vec<String>,
    ) -> Result<Option<WriteResult>, kube::Error> {
        let api: Api<PolicyAuditResult> = Api::namespaced(self.client.clone(), &record.namespace().unwrap_or_default());
        match api.create(&PostParams::default(), record).await {
            Ok(_) => {}
            // An earlier attempt succeeded, but its response was lost.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            // A namespace that is being deleted accepts no new objects.
            Err(kube::Error::Api(status)) if status.is_forbidden() && status.message.contains("being terminated") => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let removed = delete(&api, surplus).await;
        Ok(Some(WriteResult::Audit { name: record.name_any(), fingerprint, removed }))
    }

    async fn write_status(
        &self,
        policy: &DevOpsPolicy,
        status: Box<DevOpsPolicyStatus>,
    ) -> Result<WriteResult, kube::Error> {
        status::write(self.client.clone(), policy, &*status).await?;
        Ok(WriteResult::Status(status))
    }

    async fn add_finalizer(&self, policy: &DevOpsPolicy) -> Result<WriteResult, kube::Error> {
        let mut finalizers = policy.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        self.replace_finalizers(policy, finalizers).await
    }

    async fn remove_finalizer(&self, policy: &DevOpsPolicy) -> Result<WriteResult, kube::Error> {
        self.replace_finalizers(policy, finalizer::others(&policy.metadata)).await
    }

    async fn replace_finalizers(
        &self,
        policy: &DevOpsPolicy,
        finalizers: Vec<String>,
    ) -> Result<WriteResult, kube::Error> {
        finalizer::replace(&self.client, &policy.metadata, &finalizers).await?;
        Ok(WriteResult::Finalizers(finalizers))
    }

    /// Returns the Deployment of a ReplicaSet, and every other object itself. `kubectl describe deployment` shows the events with
    /// the uid of the Deployment.
    async fn resolve(&self, reference: ObjectReference) -> ObjectReference {
        // Without the ReplicaSet, the event is about the ReplicaSet itself.
        owner::of_pods(&self.client, &reference).await.ok().flatten().unwrap_or(reference)
    }

    /// Emits an event. Nothing depends on it, so a failure is only logged.
    async fn emit(&self, event: &PendingEvent) {
        let published = Event {
            type_: if event.is_normal { EventType::Normal } else { EventType::Warning },
            reason: event.reason.to_owned(),
            note: Some(cut(&escape_controls(&event.note), MAX_NOTE_LENGTH)),
            action: "Evaluate".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&published, &event.reference).await {
            tracing::debug!(reason = event.reason, "failed to emit an event: {}", request_failure(&error));
        }
    }
}

fn add(audit: &ObjectMeta, known: &mut BTreeMap<ObjectKey, Vec<KnownAudit>>) {
    let Some(owner) = audit.owner_references.iter().flatten().next() else { return };
    let key = ObjectKey { name: owner.name.as_str().into(), ..ObjectKey::of(audit) };
    let fingerprint = audit.annotations.as_ref().and_then(|annotations| annotations.get(FINGERPRINT)).cloned();
    known.entry(key).or_default().push(KnownAudit { name: audit.name.clone().unwrap_or_default(), fingerprint });
}

fn none_if_gone(result: Result<WriteResult, kube::Error>) -> Result<Option<WriteResult>, kube::Error> {
    match result {
        Ok(result) => Ok(Some(result)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes audit results. Returns the names of those that do not exist any more.
async fn delete(api: &Api<PolicyAuditResult>, names: Vec<String>) -> Vec<String> {
    let deletions = stream::iter(names).map(|name| async move {
        let is_gone = match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) => status.is_not_found(),
            Err(_) => false,
        };
        is_gone.then_some(name)
    });
    let deleted: Vec<Option<String>> = deletions.buffer_unordered(AT_ONCE).collect().await;
    deleted.into_iter().flatten().collect()
}

/// The event about a workload after a job; `None` if the result is of no interest to its owner.
fn workload_event(namespace: &str, ended: &Ended) -> Option<PendingEvent> {
    let key = ended.key.as_ref()?;
    let (is_normal, reason, note) = match &ended.result {
        JobResult::Patched(patched) if !patched.what.is_empty() => {
            (true, "Patched", format!("added to {}", patched.what))
        }
        JobResult::Reverted(reason) => (false, "Reverted", format!("reverted the patch: {reason}")),
        JobResult::Conflict(reason) => (false, "Conflict", reason.clone()),
        JobResult::Denied(reason) => (false, "Denied", reason.clone()),
        _ => return None,
    };
    let reference = ObjectReference {
        api_version: Some("apps/v1".to_owned()),
        kind: Some(key.kind.clone()),
        name: Some(key.name.clone()),
        namespace: Some(namespace.to_owned()),
        // kubectl describe selects the events of an object by its uid.
        uid: ended.uid.clone(),
        ..ObjectReference::default()
    };
    Some(PendingEvent { reference, is_normal, reason, note })
}
