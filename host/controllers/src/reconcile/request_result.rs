//! The results of requests, as the event loop receives them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_cluster::key::ObjectKey;

use super::availability::Answer;
use super::executor::ExecuteError;
use super::write::{Enforced, KnownAudit, WriteResult};

/// The result of a request.
pub enum RequestResult {
    /// The result of a write of a policy.
    Write(ObjectKey, Result<Option<WriteResult>, ExecuteError>),
    /// The result of a job of a policy, with the controller of the pods if the job remediates.
    Job(ObjectKey, Option<Arc<ObjectReference>>, Result<Enforced, ExecuteError>),
    /// An event about a workload was emitted, or could not be, which changes nothing.
    Emitted,
    /// The existing audit results.
    Audits(Result<BTreeMap<ObjectKey, Vec<KnownAudit>>, ExecuteError>),
}

impl RequestResult {
    /// What the result says about the API server.
    pub fn answer(&self) -> Answer {
        let error = match self {
            Self::Write(_, result) => result.as_ref().err(),
            Self::Job(_, _, result) => result.as_ref().err(),
            Self::Audits(result) => result.as_ref().err(),
            // Whether it was emitted is not known.
            Self::Emitted => return Answer::Rejection,
        };
        match error {
            None => Answer::Success,
            Some(error) if error.is_unavailability() => Answer::Unavailable,
            Some(_) => Answer::Rejection,
        }
    }
}
