//! A real Kubernetes control plane for tests.
//!
//! Nothing in here imitates Kubernetes: etcd, the API server, the controller manager and the scheduler are the upstream
//! programs. Only the nodes are played, by [kwok](https://kwok.sigs.k8s.io): it sets the status of nodes and pods the way
//! kubelets would, so that a test can have ten thousand pods, or one that crashes all the time, in seconds.
//!
//! ```text
//!   go.mod ──── built once ────┐                       ┌── Kubeconfig (admin, user, ServiceAccount) ── kubectl, kube::Client
//!   KUBEBUILDER_ASSETS ────────┼──► ControlPlane ──────┼── Namespace (one per test, with a name of its own)
//!   stages/*.yaml (kwok) ──────┘     │  │  │           ├── nodes
//!                                    │  │  │           └── stop, kill, pause, resume, restart, log of a Component
//!            etcd ◄── API server ◄───┘  │  └──► watchdog: takes everything down when the test process ends, however it ends
//!                        ▲              │
//!                        └── controller manager, scheduler, kwok
//! ```
//!
//! In: the programs and the stage files. Out: a [`ControlPlane`] and handles that it gives out. A test needs little:
//!
//! ```no_run
//! # async fn a_test() -> anyhow::Result<()> {
//! use test_cluster::{ControlPlane, DEADLINE, eventually};
//!
//! let plane = ControlPlane::shared().await?;
//! let namespace = plane.namespace("example").await?;
//! namespace.apply(include_str!("../tests/manifests/deployment.yaml")).await?;
//! eventually(DEADLINE, "both replicas", async || {
//!     let ready = namespace.kubectl(["get", "deployment/web", "-o", "jsonpath={.status.readyReplicas}"]).await?;
//!     anyhow::ensure!(ready == "2", "{ready} replicas are ready");
//!     Ok(())
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Use [`ControlPlane::shared`] wherever a test only creates objects, and a plane of its own ([`ControlPlane::start`]) for a
//! test that breaks something. [`pods`] lists the labels that make a pod crash, stay pending or finish.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod apply;
mod builder;
mod certificates;
mod component;
mod eventually;
mod go_build;
mod kubeconfig;
mod namespace;
mod nodes;
mod plane;
pub mod pods;
mod port;
mod process;
mod supervisor;
mod tools;

pub use builder::Builder;
pub use component::Component;
pub use eventually::{DEADLINE, eventually};
pub use kubeconfig::Kubeconfig;
pub use namespace::Namespace;
pub use plane::ControlPlane;

/// The path of kubectl, which is built if it is not there. That can take minutes, and blocks.
pub fn kubectl() -> anyhow::Result<std::path::PathBuf> {
    tools::Tools::find(&[])?.path(tools::KUBECTL)
}

/// The path of helm, which is built if it is not there. That can take minutes, and blocks.
pub fn helm() -> anyhow::Result<std::path::PathBuf> {
    tools::Tools::find_program(tools::HELM)
}
