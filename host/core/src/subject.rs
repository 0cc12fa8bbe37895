//! What is evaluated: a pod, or the pod template of a workload, as facts.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pod, or the pod template of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// `Pod`, or the kind of the workload whose template this is.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
    /// The labels of the pod, sorted by key.
    pub labels: Vec<(String, String)>,
    /// The object that controls the pod.
    pub controller: Option<Controller>,
    /// Whether containers are started again.
    pub restart_policy: RestartPolicy,
    /// App containers first, then init containers and sidecars, then ephemeral containers.
    pub containers: Vec<Container>,
    /// None for a manifest without status and for an admission request.
    pub status: Option<Status>,
    /// JSON Pointer from the object to the pod's spec: `/spec`, `/spec/template/spec`, ...
    pub spec_pointer: String,
    /// Where the object was read, when it came from a file.
    pub source: Option<Source>,
}

/// One container of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The name; may be empty in a manifest.
    pub name: String,
    /// What the container is for.
    pub kind: ContainerKind,
    /// The image reference as written; empty where none is given.
    pub image: String,
    /// Whether there is a liveness probe.
    pub has_liveness_probe: bool,
    /// Whether there is a readiness probe.
    pub has_readiness_probe: bool,
    /// Whether there is a startup probe.
    pub has_startup_probe: bool,
    /// Declared container ports, in their order.
    pub ports: Vec<u16>,
    /// Whether any resource request is set.
    pub has_resource_requests: bool,
    /// Whether any resource limit is set.
    pub has_resource_limits: bool,
    /// How often it was restarted; none where nothing has run yet.
    pub restart_count: Option<u32>,
    /// The place in its own list of the pod's spec.
    pub position: usize,
}

impl Container {
    /// JSON Pointer from the pod's spec to this container.
    pub fn pointer(&self) -> String {
        let list = match self.kind {
            ContainerKind::App => "containers",
            ContainerKind::Init | ContainerKind::Sidecar => "initContainers",
            ContainerKind::Ephemeral => "ephemeralContainers",
        };
        format!("/{list}/{}", self.position)
    }
}

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerKind {
    /// Runs for as long as the pod does.
    App,
    /// Runs to completion before the app containers start.
    Init,
    /// An init container that is always restarted, and so runs beside the app containers.
    Sidecar,
    /// Added to a running pod for debugging.
    Ephemeral,
}

/// Whether the containers of a pod are started again when they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum RestartPolicy {
    /// Always; the default of Kubernetes, which fills it in for an empty text too.
    #[default]
    #[serde(alias = "")]
    Always,
    /// When they failed.
    OnFailure,
    /// Never.
    Never,
}

/// The object that controls a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Controller {
    /// Its kind, such as `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Where a pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The phase.
    pub phase: Phase,
    /// Seconds since the pod was created, while it is pending.
    pub pending_seconds: Option<u64>,
}

/// The phase of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Accepted, not running yet.
    Pending,
    /// Bound to a node, containers created.
    Running,
    /// Every container ended well.
    Succeeded,
    /// Every container ended, one of them badly.
    Failed,
    /// The node does not say.
    Unknown,
}

impl Phase {
    /// The phase that Kubernetes writes so; anything it does not know is unknown.
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

/// The place in a file that an object was read from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The path as it was given or found; `-` for standard input.
    pub file: Arc<str>,
    /// The number of the document in the file, from 1.
    pub document: usize,
    /// The line in the file, from 1.
    pub line: usize,
    /// JSON Pointer from the document to the object; empty but for the items of a list.
    #[serde(skip)]
    pub pointer: String,
}
