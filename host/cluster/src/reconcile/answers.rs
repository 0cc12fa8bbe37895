//! What the operator learns from its requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;

use super::audit_list::Known;
use super::policy::Done;
use super::{AuditList, Operator};
use crate::enforce::Outcome;
use crate::key::ObjectKey;

/// What came of a request.
pub enum Answer {
    Write(ObjectKey, Result<Option<Done>, kube::Error>),
    /// With what controls the pods, where that is what was looked at.
    RemediationJob(ObjectKey, Option<Arc<ObjectReference>>, Result<Option<Done>, kube::Error>),
    Audits(Result<BTreeMap<ObjectKey, Vec<Known>>, kube::Error>),
}

impl Operator {
    /// Takes in what came of a request.
    pub fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Write(key, result) => {
                let Some(policy) = self.policies.get_mut(&key) else { return };
                match result {
                    Ok(Some(done)) => {
                        if matches!(done, Done::Audit { .. }) {
                            self.metrics.audits.inc();
                        }
                        policy.written(done);
                    }
                    // Gone: the watch is about to say so.
                    Ok(None) => policy.not_written(),
                    Err(error) => {
                        self.metrics.errors.inc();
                        tracing::warn!(policy = %key, "a write failed and is tried again: {error}");
                        policy.not_written();
                    }
                }
            }
            Answer::RemediationJob(key, owner, result) => self.remediated(&key, owner, result),
            Answer::Audits(Ok(audits)) => {
                self.audits = AuditList::Known;
                self.set_audits(audits);
            }
            Answer::Audits(Err(error)) => {
                tracing::warn!("the audit results cannot be listed: {error}");
                self.audits = AuditList::Unknown;
            }
        }
    }

    fn remediated(
        &mut self,
        key: &ObjectKey,
        owner: Option<Arc<ObjectReference>>,
        result: Result<Option<Done>, kube::Error>,
    ) {
        let Some(policy) = self.policies.get_mut(key) else { return };
        match result {
            Ok(done) => {
                let Some(done) = done else { return policy.not_remediated(owner.as_deref()) };
                if let Done::Remediated { outcome, .. } | Done::Followed { outcome, .. } = &done {
                    match outcome {
                        Outcome::Patched(patched) if !patched.what.is_empty() => self.metrics.applied.inc(),
                        // A workload that was reverted before is looked at again and again, and fails once.
                        Outcome::Reverted(_) if owner.is_none() => self.metrics.failed.inc(),
                        Outcome::Conflict(_) => self.metrics.failed.inc(),
                        _ => {}
                    }
                }
                policy.remediated(done, &self.options);
            }
            Err(error) => {
                self.metrics.failed.inc();
                tracing::warn!(policy = %key, "a workload cannot be looked at: {error}");
                policy.not_remediated(owner.as_deref());
            }
        }
    }

    fn set_audits(&mut self, mut known: BTreeMap<ObjectKey, Vec<Known>>) {
        for (key, policy) in &mut self.policies {
            policy.set_audits(known.remove(key).unwrap_or_default());
        }
    }
}
