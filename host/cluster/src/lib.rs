//! Kubernetes: the custom resources, what the components may do, and reading a live cluster.
//!
//! ```text
//!   kubeconfig or ServiceAccount --> connection --> pods --> subjects
//!                                              '--> custom resources, permissions
//!   DevOpsPolicy, from a cluster or a file --> policy (core)
//! ```
//!
//! In come objects of an API server and custom resources; out come subjects and policies of the core. This crate must not
//! know how checks run nor how anything is shown.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod connection;
pub mod crd;
pub mod election;
pub mod enforce;
mod error;
pub mod install;
mod key;
mod metrics;
pub mod permissions;
pub mod pod_index;
pub mod pods;
pub mod policies;
pub mod policy_file;
mod quantity;
pub mod reconcile;
mod relist;
pub mod selector;
mod serve;
pub mod watch;
pub mod webhook;

pub use error::ClusterError;
pub use kube::Client;
