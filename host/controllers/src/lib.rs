//! The controllers on a live cluster: the operator, which reconciles policies, and the watch controller.
//!
//! ```text
//!   watch of pods --> pod_index --> evaluator --> reconcile --> statuses, audit results, events, remediation
//!                                        '------> watch ------> scores of namespaces
//! ```
//!
//! In come policies and pods of a cluster, and checks; out come requests about policies and workloads, and metrics. This crate must
//! not know the source of checks nor the criteria of any. Start reading at [`reconcile`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod evaluator;
mod pod_index;
pub mod reconcile;
pub mod watch;
