//! The types of the table of kinds that run pods.

/// A kind of object that runs pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The name of the resource in URLs and rules.
    pub resource: &'static str,
    /// The locations of the pod templates.
    pub templates: &'static [Template],
    /// The lifetime of the pods.
    pub lifetime: Lifetime,
    /// Whether the kind is part of Kubernetes, so that an object without containers is invalid.
    pub is_builtin: bool,
    /// Whether missing fields can be added to its pod template, because it replaces its pods gradually.
    pub can_be_remediated: bool,
}

/// A location of pod templates in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// The path from the object: keys joined by dots; `*` matches every item of a list and every value of a map.
    pub path: &'static str,
    /// The structure of the value.
    pub form: Form,
}

/// The structure of a value that describes pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A pod template: `metadata` and `spec`, as in a Pod.
    PodTemplate,
    /// The spec of a pod, without metadata.
    PodSpec,
    /// A template of an Argo Workflow: `container`, `script`, `containerSet`, `sidecars`, `initContainers`.
    ArgoTemplate,
    /// The spec of a Tekton Task: `steps`, `sidecars` and `stepTemplate`.
    TektonTask,
    /// The spec of a Tekton Pipeline: the specs of its tasks, and of the pipelines in it.
    TektonPipeline,
    /// The spec of a Tekton StepAction, which is a container.
    TektonStep,
    /// An API object, which is evaluated as one of its own kind.
    Object,
}

/// The lifetime of the pods of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Depends on the `restartPolicy`.
    ByRestartPolicy,
    /// Until deletion: the API server, or the webhook of the kind, allows only the restart policy `Always`.
    Forever,
    /// Until completion, regardless of the `restartPolicy`.
    ToCompletion,
}

/// The location of the pod template in most workloads.
pub(super) const SPEC_TEMPLATE: &[Template] = &[pod_template("spec.template")];

pub(super) const fn pod_template(path: &'static str) -> Template {
    Template { path, form: Form::PodTemplate }
}

pub(super) const fn argo_template(path: &'static str) -> Template {
    Template { path, form: Form::ArgoTemplate }
}

pub(super) const fn object(path: &'static str) -> Template {
    Template { path, form: Form::Object }
}

pub(super) const fn builtin(
    group: &'static str,
    kind: &'static str,
    resource: &'static str,
    templates: &'static [Template],
    lifetime: Lifetime,
) -> Workload {
    Workload { group, kind, resource, templates, lifetime, is_builtin: true, can_be_remediated: false }
}

pub(super) const fn remediable(group: &'static str, kind: &'static str, resource: &'static str) -> Workload {
    Workload { can_be_remediated: true, ..builtin(group, kind, resource, SPEC_TEMPLATE, Lifetime::Forever) }
}

pub(super) const fn custom(
    group: &'static str,
    kind: &'static str,
    resource: &'static str,
    templates: &'static [Template],
    lifetime: Lifetime,
) -> Workload {
    Workload { is_builtin: false, ..builtin(group, kind, resource, templates, lifetime) }
}
