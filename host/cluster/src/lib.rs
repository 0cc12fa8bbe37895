//! Kubernetes: the custom resources, the permissions, and the controllers on a live cluster.
//!
//! ```text
//!   kubeconfig or ServiceAccount --> connection --> pods --> subjects (CLI)
//!                                        |
//!                                        '--> runtime --> pod_index --> evaluator --> reconcile, watch
//!   DevOpsPolicy, from a cluster or a file --> policies --> policy (core)
//!                '--> gitops: export, server-side apply, comparison
//! ```
//!
//! In come objects of an API server and custom resources; out come subjects and policies of the core, and writes to the API
//! server. This crate must not know how checks run nor how anything is shown. Start reading at [`reconcile`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cleanup;
pub mod clock;
pub mod connection;
pub mod crd;
pub mod enforce;
mod error;
pub mod evaluator;
mod finalizer;
pub mod gitops;
pub mod install;
pub mod installation;
pub mod key;
pub mod lenient;
mod metadata;
pub mod modules;
mod owner;
pub mod permissions;
pub mod pod_index;
pub mod pods;
pub mod policies;
pub mod policy_file;
pub mod reconcile;
pub mod runtime;
pub mod selector;
pub mod watch;

pub use error::ClusterError;
pub use kube::Client;
