//! Conversion of an object to the facts about its pods.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kube_devops_facts::{Quantities, SecurityContext};

use super::{
    ContainerSpec, ContainerStatus, Fields, Header, Labels, Metadata, Object, PodSpec, PodStatus, PodTemplate,
    SecuritySpec, TemplateMetadata, VolumeType,
};
use crate::lines::Lines;
use crate::names::is_owner;
use crate::subject::{
    Container, ContainerKind, Controller, Needs, Phase, Place, PodContext, RestartPolicy, Source, Status, Subject,
};
use crate::workload::{Lifetime, REVISION_TEMPLATE, Template, USUAL_TEMPLATES, Workload, group};

/// The parameters of the extraction of a subject from an object.
#[derive(Debug, Clone)]
pub struct Context {
    /// The current time, for the ages of pods.
    pub now: DateTime<Utc>,
    /// The namespace of objects without a namespace.
    pub default_namespace: String,
    /// The file that the object was read from.
    pub source: Option<Source>,
    /// What checks need. Complete objects are added by the caller, which has them.
    pub needs: Needs,
}

/// The result of an extraction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extraction {
    /// A pod, or a pod template.
    Subject(Box<Subject>),
    /// A pod or workload that has finished or is being deleted. It is not evaluated, because it can no longer be fixed.
    Finished,
    /// An object that runs no pods.
    NoPods,
}

impl Extraction {
    /// Returns the subject, if there is one.
    pub fn into_subject(self) -> Option<Subject> {
        match self {
            Self::Subject(subject) => Some(*subject),
            Self::Finished | Self::NoPods => None,
        }
    }
}

/// The reason why an object cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// An object that must have containers has none.
    #[error("{kind} {namespace}/{name} has no containers: {pointer}/containers is missing or empty")]
    NoContainers {
        /// The kind of the object.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The JSON Pointer to the spec of the pod.
        pointer: String,
    },
    /// The pod templates of the kind are in a place that is only supported in manifests.
    #[error(
        "the pod templates of {kind} {namespace}/{name} are only evaluated in manifests; evaluate the pods that it creates"
    )]
    OtherPlace {
        /// The kind of the object.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// The facts about the pods of a template.
#[derive(Debug, Clone, Default)]
pub struct PodFacts {
    /// The labels of the pods.
    pub labels: Labels,
    /// The annotations of the pods.
    pub annotations: Labels,
    /// The restart policy, as written.
    pub restart_policy: RestartPolicy,
    /// The other facts about the whole pod.
    pub pod: PodContext,
    /// The containers, in the order of [`Subject::containers`].
    pub containers: Vec<Container>,
}

impl Object {
    /// Extracts the subject of a pod, or of an object with its pod template in the same place as a built-in workload.
    pub fn extract(self, context: &Context) -> Result<Extraction, ExtractError> {
        let Self { api_version, kind, metadata, mut spec, status } = self;
        let workload = Workload::find(&api_version, &kind);
        let header = Header { api_version, kind, metadata };
        if let Some(workload) = workload.filter(|workload| !workload.has_usual_template()) {
            let (namespace, name) = (header.namespace(context), header.metadata.name().to_owned());
            return Err(ExtractError::OtherPlace { kind: workload.kind.to_owned(), namespace, name });
        }
        let is_pod = header.is_pod();
        // Fields of a known kind in the places of other kinds mean something else.
        let is_place = |place: &Template| workload.is_none_or(|workload| workload.templates.contains(place));
        let is_revision = workload.is_some_and(|workload| workload.templates == REVISION_TEMPLATE);
        let template = spec.template.take().filter(|_| is_revision || is_place(&USUAL_TEMPLATES[0]));
        let job_template = spec.job_template.take().filter(|_| is_place(&USUAL_TEMPLATES[1]));
        // A revision is a patch of its workload, which can change the pod without naming a container.
        let is_patch = is_revision && template.is_some();
        let (template, pointer) = match (template, job_template) {
            _ if is_pod => (PodTemplate { spec: spec.into_pod(), ..PodTemplate::default() }, "/spec"),
            (Some(template), _) if is_revision => (*template, "/data/spec/template/spec"),
            (Some(template), _) => (*template, "/spec/template/spec"),
            (None, Some(jobs)) => (
                jobs.spec.template.map(|template| *template).unwrap_or_default(),
                "/spec/jobTemplate/spec/template/spec",
            ),
            (None, None) => (PodTemplate::default(), ""),
        };
        if !is_patch && !template.has_containers() {
            return match workload {
                Some(workload) if workload.is_builtin => Err(header.no_containers(workload.spec_pointer(), context)),
                _ => Ok(Extraction::NoPods),
            };
        }
        if header.is_finished(&status) {
            return Ok(Extraction::Finished);
        }
        let facts = template.facts(is_pod.then_some(&status));
        let lifetime = workload.map_or(Lifetime::ByRestartPolicy, |workload| workload.lifetime);
        let subject = header.subject(facts, lifetime, &status, pointer.into(), Lines::default(), context);
        Ok(Extraction::Subject(Box::new(subject)))
    }
}

impl Metadata {
    /// Returns the name, or the prefix of a name that the API server generates.
    pub fn name(&self) -> &str {
        if self.name.is_empty() { &self.generate_name } else { &self.name }
    }
}

impl Header {
    /// Reports whether the object is a pod.
    pub fn is_pod(&self) -> bool {
        self.kind == "Pod" && group(&self.api_version).is_empty()
    }

    /// Reports whether the object has finished or is being deleted.
    pub fn is_finished(&self, status: &PodStatus) -> bool {
        let phase = status.phase.as_deref().filter(|_| self.is_pod());
        self.metadata.deletion_timestamp.is_some() || phase.is_some_and(has_finished)
    }

    /// Returns the namespace of the object.
    pub fn namespace(&self, context: &Context) -> String {
        let namespace = &self.metadata.namespace;
        if namespace.is_empty() { context.default_namespace.clone() } else { namespace.clone() }
    }

    /// Returns the error for an object that must have containers at `pointer`.
    pub fn no_containers(&self, pointer: String, context: &Context) -> ExtractError {
        let (namespace, name) = (self.namespace(context), self.metadata.name().to_owned());
        ExtractError::NoContainers { kind: self.kind.clone(), namespace, name, pointer }
    }

    /// Returns the subject of a pod template of the object. `status` only applies to pods.
    pub fn subject(
        self,
        facts: PodFacts,
        lifetime: Lifetime,
        status: &PodStatus,
        spec_pointer: Cow<'static, str>,
        lines: Lines,
        context: &Context,
    ) -> Subject {
        let is_pod = self.is_pod();
        let phase = status.phase.as_deref().filter(|phase| is_pod && !phase.is_empty());
        let status = phase.map(|phase| {
            let phase = Phase::parse(phase);
            let created = self.metadata.creation_timestamp.filter(|_| phase == Phase::Pending);
            let age = created.map(|created| (context.now - created).num_seconds());
            Status { phase, pending_seconds: age.map(|seconds| seconds.try_into().unwrap_or(0)) }
        });
        let namespace = self.namespace(context);
        let Metadata { name, generate_name, labels, annotations, owner_references, .. } = self.metadata;
        let controller = owner_references.into_iter().find(|owner| owner.controller == Some(true));
        let controller = controller.filter(|owner| is_owner(&owner.api_version, &owner.kind, &owner.name));
        let (labels, annotations) = if is_pod { (labels, annotations) } else { (facts.labels, facts.annotations) };
        let mut annotations = if context.needs.annotations { annotations.0 } else { Vec::new() };
        // They are kept for the lifetime of the subject, and most pods have few.
        annotations.shrink_to_fit();
        let restart_policy = match (lifetime, facts.restart_policy) {
            (Lifetime::ByRestartPolicy, policy) => policy,
            (Lifetime::Forever, _) => RestartPolicy::Always,
            (Lifetime::ToCompletion, RestartPolicy::Never) => RestartPolicy::Never,
            (Lifetime::ToCompletion, _) => RestartPolicy::OnFailure,
        };
        Subject {
            group: group(&self.api_version).to_owned(),
            kind: self.kind.into(),
            namespace: namespace.into(),
            name: if name.is_empty() { generate_name } else { name }.into(),
            labels: labels.0.into(),
            annotations,
            controller: controller.map(|owner| {
                let group = group(&owner.api_version).to_owned();
                Arc::new(Controller { group, kind: owner.kind, name: owner.name })
            }),
            restart_policy,
            pod: facts.pod,
            containers: facts.containers,
            status,
            spec_pointer,
            workload: None,
            source: context.source.clone(),
            lines,
            object: None,
            unreadable: None,
        }
    }
}

/// Reports whether no container of a pod in this phase will run again.
fn has_finished(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

impl PodTemplate {
    /// Reports whether there are any containers.
    pub fn has_containers(&self) -> bool {
        self.spec.has_containers()
    }

    /// Returns the facts about the pods. `status` is the status of the pod, if the template is a pod.
    pub fn facts(self, status: Option<&PodStatus>) -> PodFacts {
        let TemplateMetadata { labels, annotations } = self.metadata;
        PodFacts { labels, annotations, ..self.spec.facts(status) }
    }
}

impl PodSpec {
    /// Reports whether there are any containers.
    pub fn has_containers(&self) -> bool {
        self.containers.as_ref().is_some_and(|containers| !containers.is_empty())
    }

    /// Returns the facts about the pods.
    pub fn facts(self, status: Option<&PodStatus>) -> PodFacts {
        let status = status.filter(|status| status.phase.as_deref().is_some_and(|phase| !phase.is_empty()));
        let security = self.security_context.map(|Fields(context)| context).unwrap_or_default();
        let restart_policy =
            effective_restart_policy(self.restart_policy.unwrap_or_default(), self.containers.as_deref());
        let statuses = |list: fn(&PodStatus) -> &Vec<ContainerStatus>| status.map(list).map_or(&[][..], Vec::as_slice);
        let app = convert(self.containers, "containers", statuses(|status| &status.container_statuses), |_| {
            ContainerKind::App
        });
        let init = convert(
            self.init_containers,
            "initContainers",
            statuses(|status| &status.init_container_statuses),
            |container| match container.restart_policy {
                Some(RestartPolicy::Always) => ContainerKind::Sidecar,
                _ => ContainerKind::Init,
            },
        );
        let ephemeral = convert(
            self.ephemeral_containers,
            "ephemeralContainers",
            statuses(|status| &status.ephemeral_container_statuses),
            |_| ContainerKind::Ephemeral,
        );
        let mut containers: Vec<Container> = app.chain(init).chain(ephemeral).collect();
        for Container { security_context: context, .. } in &mut containers {
            context.run_as_non_root = context.run_as_non_root.or(security.run_as_non_root);
            context.run_as_user = context.run_as_user.or(security.run_as_user);
        }
        let account = [self.service_account_name, self.service_account].into_iter().find(|name| !name.is_empty());
        PodFacts {
            labels: Labels::default(),
            annotations: Labels::default(),
            restart_policy,
            pod: PodContext {
                service_account: account.unwrap_or_default().into(),
                host_network: self.host_network.unwrap_or_default(),
                host_pid: self.host_pid.unwrap_or_default(),
                host_ipc: self.host_ipc.unwrap_or_default(),
                volume_types: volume_types(self.volumes.unwrap_or_default()),
            },
            containers,
        }
    }
}

/// Returns the restart policy of a pod whose app containers can have their own: `Always` if any of them is always restarted, so that
/// a container that runs forever is not regarded as one that completes.
fn effective_restart_policy(of_pod: RestartPolicy, app: Option<&[Fields<ContainerSpec>]>) -> RestartPolicy {
    let policies = app.into_iter().flatten().map(|Fields(container)| container.restart_policy.unwrap_or(of_pod));
    policies.min_by_key(|policy| *policy as u8).unwrap_or(of_pod)
}

/// The types of volumes, sorted and without duplicates.
fn volume_types(volumes: Vec<VolumeType>) -> Vec<Cow<'static, str>> {
    let mut types: Vec<_> = volumes.into_iter().filter_map(|VolumeType(volume_type)| volume_type).collect();
    types.sort_unstable();
    types.dedup();
    types.shrink_to_fit();
    types
}

fn convert<'a>(
    containers: Option<Vec<Fields<ContainerSpec>>>,
    key: &'static str,
    statuses: &'a [ContainerStatus],
    kind: impl Fn(&ContainerSpec) -> ContainerKind + 'a,
) -> impl Iterator<Item = Container> + 'a {
    containers.unwrap_or_default().into_iter().enumerate().map(move |(index, Fields(container))| {
        let restart_count = restart_count(statuses, index, &container.name);
        let kind = kind(&container);
        Container { restart_count, ..container.container(kind, Place::in_list(key, index)) }
    })
}

impl ContainerSpec {
    /// Returns the image, as written.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// Returns the facts about the container.
    pub fn container(self, kind: ContainerKind, place: Place) -> Container {
        let (requests, limits) =
            (self.resources.requests.unwrap_or_default(), self.resources.limits.unwrap_or_default());
        let context: SecuritySpec = self.security_context.map(|Fields(context)| context).unwrap_or_default();
        Container {
            kind,
            restart_count: None,
            name: self.name.into(),
            image: self.image.into(),
            has_liveness_probe: self.liveness_probe.is_some_and(|Fields(probe)| probe.has_handler()),
            has_readiness_probe: self.readiness_probe.is_some_and(|Fields(probe)| probe.has_handler()),
            has_startup_probe: self.startup_probe.is_some_and(|Fields(probe)| probe.has_handler()),
            ports: self.ports.into_iter().filter_map(|port| port.container_port).collect(),
            // The API server sets the missing requests of a pod to its limits.
            has_resource_requests: requests.has_entries || limits.has_entries,
            has_resource_limits: limits.has_entries,
            requests: Quantities {
                cpu_millicores: requests.quantities.cpu_millicores.or(limits.quantities.cpu_millicores),
                memory_bytes: requests.quantities.memory_bytes.or(limits.quantities.memory_bytes),
            },
            limits: limits.quantities,
            security_context: SecurityContext {
                privileged: context.privileged.unwrap_or_default(),
                allow_privilege_escalation: context.allow_privilege_escalation,
                read_only_root_filesystem: context.read_only_root_filesystem.unwrap_or_default(),
                run_as_non_root: context.run_as_non_root,
                run_as_user: context.run_as_user,
            },
            place,
        }
    }
}

/// Returns the restart count of a container by name. Most statuses have the order of the spec, so that position is
/// tried first: the time for a pod with thousands of containers must not be quadratic.
fn restart_count(statuses: &[ContainerStatus], position: usize, name: &str) -> Option<u32> {
    let at_position = statuses.get(position).filter(|status| status.name == name);
    let count = at_position.or_else(|| statuses.iter().find(|status| status.name == name))?.restart_count?;
    Some(u32::try_from(count.max(0)).unwrap_or(u32::MAX))
}
