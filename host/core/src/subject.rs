//! What is evaluated: a pod, or the pod template of a workload, as facts.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lines::Lines;

/// A pod, or the pod template of a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The API group of the object; empty for the core group, and where it is not known.
    pub group: String,
    /// `Pod`, or the kind of the workload whose template this is.
    pub kind: Arc<str>,
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name of the object.
    pub name: Arc<str>,
    /// The labels of the pod, sorted by key.
    pub labels: Vec<(String, String)>,
    /// The object that controls the pod.
    pub controller: Option<Arc<Controller>>,
    /// Whether containers are started again.
    pub restart_policy: RestartPolicy,
    /// App containers first, then init containers and sidecars, then ephemeral containers.
    pub containers: Vec<Container>,
    /// None for a manifest without status and for an admission request.
    pub status: Option<Status>,
    /// JSON Pointer from the object to the pod's spec: `/spec`, `/spec/template/spec`, ...
    pub spec_pointer: Cow<'static, str>,
    /// Whether the pod template that the pod was made from is a subject of the same evaluation. Such a pod is evaluated for
    /// how it runs alone: what it was asked to run counts once, at the template.
    pub is_owned: bool,
    /// Where the object was read, when it came from a file.
    pub source: Option<Source>,
    /// The lines of the fields of the pod's spec, when it came from a file.
    pub lines: Lines,
}

impl Subject {
    /// The line of the field at a JSON Pointer into the object; of the closest value around it where it does not exist.
    pub fn line_of(&self, pointer: &str) -> Option<usize> {
        let field = pointer.strip_prefix(&*self.spec_pointer)?;
        self.lines.line_of(field)
    }
}

/// One container of a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// The name; may be empty in a manifest.
    pub name: Arc<str>,
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
    /// Where it is in the pod's spec.
    pub place: Place,
}

impl Container {
    /// JSON Pointer from the pod's spec to this container.
    pub fn pointer(&self) -> String {
        match self.place.index {
            Some(index) => format!("/{}/{index}", self.place.key),
            None => format!("/{}", self.place.key),
        }
    }

    /// The title, which shares the name.
    pub(crate) fn shared_title(&self) -> Arc<str> {
        if self.name.is_empty() { self.title().into() } else { self.name.clone() }
    }

    /// The name; the place in the pod's spec, such as `containers[0]`, of a container without one.
    pub fn title(&self) -> Cow<'_, str> {
        match self.place.index {
            _ if !self.name.is_empty() => Cow::Borrowed(&self.name),
            Some(index) => Cow::Owned(format!("{}[{index}]", self.place.key)),
            None => Cow::Borrowed(self.place.key),
        }
    }
}

/// The place of a container in the pod's spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The key of the list that it is in, or its own key.
    pub key: &'static str,
    /// The index in that list; none for a container that is in no list.
    pub index: Option<usize>,
}

impl Place {
    /// The place at an index of a list.
    pub fn in_list(key: &'static str, index: usize) -> Self {
        Self { key, index: Some(index) }
    }

    /// The place of a container that is in no list.
    pub fn alone(key: &'static str) -> Self {
        Self { key, index: None }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::in_list("containers", 0)
    }
}

/// What a container is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContainerKind {
    /// Runs for as long as the pod does.
    #[default]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Controller {
    /// Its API group; empty for the core group.
    #[serde(skip)]
    pub group: String,
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
    /// The path as it was given or found; `stdin` for standard input.
    pub file: Arc<str>,
    /// The number of the document in the file, from 1.
    pub document: usize,
    /// The line in the file, from 1.
    pub line: usize,
    /// The line of the object that the line belongs to, which tells objects of one document apart.
    #[serde(skip)]
    pub object_line: usize,
}

impl Source {
    /// What all places in one object have in common.
    pub fn object(&self) -> (&str, usize, usize) {
        (&self.file, self.document, self.object_line)
    }
}
