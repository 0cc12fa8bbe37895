//! The next patch, which is recorded in the status of the policy before it is applied: a leader that ends right after a patch could not
//! write the status any more, and the rollout would not be monitored.

use chrono::{DateTime, Utc};
use kube_devops_cluster::crd::{WorkloadState, WorkloadStatus};
use kube_devops_core::text::{cut, escape_controls};

use super::EnforceOptions;
use super::job::WorkloadKey;
use super::state::MAX_MESSAGE_LENGTH;

/// A patch that waits until the policy has its finalizer, and its status lists the workload.
#[derive(Debug)]
pub struct Pending {
    /// The uid of the controller of the pods.
    pub uid: String,
    /// The workload.
    pub key: WorkloadKey,
    /// The fields to add, for people.
    what: String,
    /// When it was planned.
    pub time: DateTime<Utc>,
    /// Whether a status lists it.
    pub is_recorded: bool,
    /// The limits of its rollout.
    pub options: EnforceOptions,
}

impl Pending {
    /// A patch that was planned. `before` is the pending patch of the same pods.
    pub fn new(
        uid: &str,
        key: WorkloadKey,
        what: &str,
        before: Option<Self>,
        options: &EnforceOptions,
        time: DateTime<Utc>,
    ) -> Self {
        let what = cut(&escape_controls(what), MAX_MESSAGE_LENGTH);
        before.filter(|before| (&before.key, &before.what) == (&key, &what)).unwrap_or_else(|| Self {
            uid: uid.to_owned(),
            key,
            what,
            time,
            is_recorded: false,
            options: options.clone(),
        })
    }

    /// The entry in the status: it is that of the patched workload, so that the patch needs no second write.
    pub fn status(&self) -> WorkloadStatus {
        WorkloadStatus {
            kind: self.key.kind.clone(),
            name: self.key.name.clone(),
            state: WorkloadState::RollingOut,
            message: self.what.clone(),
            time: self.time,
        }
    }
}
