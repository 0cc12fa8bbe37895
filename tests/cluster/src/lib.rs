//! A real Kubernetes control plane for tests.
//!
//! etcd, the API server, the controller manager and the scheduler are the upstream programs. Only the nodes are simulated,
//! by [kwok](https://kwok.sigs.k8s.io): it sets the status of nodes and pods as kubelets would, so that a test can have ten
//! thousand pods, or one in a crash loop, within seconds.
//!
//! ```text
//!   go.mod ──── built once ────┐                       ┌── Kubeconfig (admin, user, ServiceAccount) ── kubectl, kube::Client
//!   KUBEBUILDER_ASSETS ────────┼──► ControlPlane ──────┼── Namespace (one per test, with a unique name)
//!   stages/*.yaml (kwok) ──────┘     │  │  │           ├── nodes
//!                                    │  │  │           └── stop, kill, pause, resume, restart, log of a Component
//!            etcd ◄── API server ◄───┘  │  └──► watchdog: stops everything when the test process ends, for any reason
//!                        ▲              │
//!                        └── controller manager, scheduler, kwok
//! ```
//!
//! Input: the programs and the stage files. Output: a [`ControlPlane`] and its handles. A minimal test:
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
//! Use [`ControlPlane::shared`] for tests that only create objects, and a separate control plane ([`ControlPlane::start`])
//! for tests that break something. [`pods`] lists the labels that make a pod crash, stay pending or finish. [`registry`] starts
//! an OCI registry, which needs no control plane.

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
pub mod real_node;
pub mod registry;
mod supervisor;
mod tools;

pub use builder::Builder;
pub use component::Component;
pub use eventually::{DEADLINE, eventually};
pub use kubeconfig::Kubeconfig;
pub use namespace::Namespace;
pub use plane::ControlPlane;

/// Returns the path of kubectl, which is built if missing. Blocks, possibly for minutes.
pub fn kubectl() -> anyhow::Result<std::path::PathBuf> {
    tools::Tools::find(&[])?.path(tools::KUBECTL)
}

/// Returns the path of helm, which is built if missing. Blocks, possibly for minutes.
pub fn helm() -> anyhow::Result<std::path::PathBuf> {
    tools::Tools::find_programs(&go_build::CONTROL_PLANE, &[tools::HELM])?.path(tools::HELM)
}
