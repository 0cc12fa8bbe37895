//! The facts about pods that checks evaluate, and their packed layout: two values that contain a whole batch.
//!
//! ```text
//!   host:  facts --Writer--> words: list of u32, text: string --> component:  Batch --> Subject --> check
//! ```
//!
//! Passing a string or a list to a component costs an allocation in it, and a pod has about twenty. In this layout, all strings of a
//! batch are ranges of one text, and everything else is in one list of numbers, so that a batch costs two allocations.
//!
//! # Layout 1
//!
//! | words | content |
//! |---|---|
//! | 1, R | the number of rules, and their numbers |
//! | 1 | the number of subjects |
//! | per subject | a record that starts with its own length |
//!
//! A string is two words: the offset and the length of its bytes in the text. A 64-bit number is two words, the lower half first.
//! [`write`](mod@write) and [`read`](mod@read) list the words of a record. This crate must not know who calls it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod flags;
pub mod read;
pub mod write;

pub use read::{Batch, Container, Subject};
pub use write::Writer;

/// The layout of this crate.
pub const LAYOUT: u32 = 1;

/// The kind of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainerKind {
    /// Runs for as long as the pod does.
    #[default]
    App,
    /// Runs to completion before the app containers start.
    Init,
    /// An init container with the restart policy `Always`, which runs next to the app containers.
    Sidecar,
    /// Added to a running pod for debugging.
    Ephemeral,
}

/// Whether the containers of a pod are restarted when they exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
pub enum RestartPolicy {
    /// Always; the default of Kubernetes, which also applies to an empty string.
    #[default]
    #[cfg_attr(feature = "serde", serde(alias = ""))]
    Always,
    /// If they failed.
    OnFailure,
    /// Never.
    Never,
}

/// The phase of a pod, from its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The cluster has accepted the pod, but not all containers are running.
    Pending,
    /// The pod is bound to a node, and all containers have been created.
    Running,
    /// All containers have terminated in success.
    Succeeded,
    /// All containers have terminated, and at least one has terminated in failure.
    Failed,
    /// The state of the pod cannot be obtained from its node.
    Unknown,
}

impl Phase {
    /// Parses a phase; any other text is the phase `Unknown`.
    pub fn parse(text: &str) -> Self {
        match text {
            "Pending" => Self::Pending,
            "Running" => Self::Running,
            "Succeeded" => Self::Succeeded,
            "Failed" => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

/// The status of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The phase.
    pub phase: Phase,
    /// The number of seconds since the creation of a pending pod.
    pub pending_seconds: Option<u64>,
}

/// The controller of a pod, from its ownerReferences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Controller<'a> {
    /// Its kind, such as `ReplicaSet`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// The facts about a pod or a pod template, without lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubjectFacts<'a> {
    /// `Pod`, or the kind of the workload.
    pub kind: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// The controller.
    pub controller: Option<Controller<'a>>,
    /// Whether containers are restarted.
    pub restart_policy: RestartPolicy,
    /// The name of the ServiceAccount; empty if none is set, which means `default`.
    pub service_account: &'a str,
    /// Whether the pod uses the network of its node.
    pub host_network: bool,
    /// Whether the pod sees the processes of its node.
    pub host_pid: bool,
    /// Whether the pod uses the IPC namespace of its node.
    pub host_ipc: bool,
    /// The status; `None` for a manifest without status and for an admission request.
    pub status: Option<Status>,
}

/// Quantities of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantities {
    /// CPU in thousandths of a core, rounded up.
    pub cpu_millicores: Option<u64>,
    /// Memory in bytes, rounded up.
    pub memory_bytes: Option<u64>,
}

/// The security context of a container. Values of the pod apply to a container that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SecurityContext {
    /// Whether the container is privileged.
    pub privileged: bool,
    /// Whether a process can gain more privileges than its parent.
    pub allow_privilege_escalation: Option<bool>,
    /// Whether the root file system is read-only.
    pub read_only_root_filesystem: bool,
    /// Whether the user must not be root.
    pub run_as_non_root: Option<bool>,
    /// The user id.
    pub run_as_user: Option<i64>,
}

/// The facts about a container, without lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContainerFacts<'a> {
    /// The name.
    pub name: &'a str,
    /// The kind.
    pub kind: ContainerKind,
    /// The image reference as written; empty if there is none.
    pub image: &'a str,
    /// Whether there is a liveness probe.
    pub has_liveness_probe: bool,
    /// Whether there is a readiness probe.
    pub has_readiness_probe: bool,
    /// Whether there is a startup probe.
    pub has_startup_probe: bool,
    /// Whether any resource request is set.
    pub has_resource_requests: bool,
    /// Whether any resource limit is set.
    pub has_resource_limits: bool,
    /// The requests.
    pub requests: Quantities,
    /// The limits.
    pub limits: Quantities,
    /// The security context.
    pub security_context: SecurityContext,
    /// The number of restarts; `None` if the container has not run yet, in a manifest or an admission request.
    pub restart_count: Option<u32>,
}
