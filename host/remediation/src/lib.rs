//! Enforcement: adds missing probes and resources to workloads, and reverts a patch whose rollout fails.
//!
//! ```text
//!   pods with violations --> Remediations --> NextJob::Remediate --> decide, plan --> server-side apply, never forced
//!                                |   ^
//!                                |   '-- JobResult
//!                                '--> NextJob::Follow --> decide, rollout --> done, or revert
//! ```
//!
//! `state` and `follow` decide when, `decide` whether and `plan` what, as functions of data and time; `requests` talks to the API
//! server. One job of a policy runs at a time, and a limited number of workloads is patched per minute.
//!
//! In come violations of workloads, by policy; out come patches, and the results of their rollouts. This crate must not know when a
//! controller evaluates, nor how it shows the results. Start reading at [`Remediations`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod added;
mod decide;
mod due;
mod follow;
mod job;
mod left;
mod pending;
mod plan;
mod progress;
mod recent;
mod release;
mod removal;
mod requests;
mod restored;
mod rollout;
mod state;
mod stuck;
#[cfg(test)]
mod tests;
mod yielding;

use std::time::Duration;

pub use job::{Existence, JobResult, NextJob, Patched, RemediationJob, RolloutFailure, Step, WorkloadKey};
pub use left::{PatchedWorkload, patched_workloads};
pub use plan::PATCHED_BY;
pub use release::{Released, release};
pub use requests::{Ended, check, follow, remediate};
pub use state::Remediations;
pub use yielding::{Yielded, yielded};

/// The limits of remediation.
#[derive(Debug, Clone)]
pub struct EnforceOptions {
    /// The most workloads of a policy that are patched per minute.
    pub patches_a_minute: usize,
    /// The deadline of a rollout if the workload has none itself.
    pub rollout_deadline: Duration,
    /// Whether to report patches instead of applying them.
    pub dry_run: bool,
}
