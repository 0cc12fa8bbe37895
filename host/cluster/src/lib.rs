//! Kubernetes: the custom resources, the permissions, and the objects of a live cluster.
//!
//! ```text
//!   kubeconfig or ServiceAccount --> connection --> pods --> subjects (core)
//!   DevOpsPolicy, from a cluster or a file --> policies --> policy (core)
//!                '--> gitops: export, server-side apply, comparison
//! ```
//!
//! In come objects of an API server and custom resources; out come subjects and policies of the core, and single requests to the API
//! server. This crate must not know how checks run, how anything is shown, nor when a controller acts. Start reading at
//! [`connection`] and [`crd`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod apply_patch;
pub mod cleanup;
pub mod connection;
pub mod crd;
mod error;
mod field_path;
pub mod finalizer;
pub mod gitops;
pub mod install;
pub mod installation;
pub mod key;
pub mod lenient;
pub mod managed_fields;
pub mod metadata;
mod outdated;
pub mod owner;
pub mod pages;
pub mod permissions;
pub mod pods;
pub mod policies;
pub mod policy_file;
pub mod rules;
pub mod selector;
pub mod status;
pub mod watch;

pub use error::{
    ClusterError, is_mistyped, is_not_served, is_too_large, is_unavailability, is_webhook_failure, request_failure,
};
pub use kube::Client;
