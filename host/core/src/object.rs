//! API objects, as far as they are judged, and how they become subjects.
//!
//! The same types read manifests and the answers of an API server, so both give the same facts. What is not judged is
//! not read: reading stays fast, and nobody is told about mistakes in fields that do not matter here.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::subject::{Container, ContainerKind, Controller, Phase, RestartPolicy, Source, Status, Subject};

/// The deepest nesting of lists in lists that is followed.
const DEEPEST_LIST: usize = 4;

/// An API object of any kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    /// The kind; empty in the items of a typed list.
    #[serde(deserialize_with = "text")]
    pub kind: String,
    /// The metadata.
    #[serde(deserialize_with = "null_as_default")]
    pub metadata: Metadata,
    /// The spec of a pod or a workload.
    #[serde(deserialize_with = "null_as_default")]
    pub spec: Spec,
    /// The status of a pod.
    #[serde(deserialize_with = "null_as_default")]
    pub status: PodStatus,
    /// The items of a list.
    pub items: Option<Vec<Object>>,
}

/// The metadata of an object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// The start of the name, where the API server makes up the rest.
    #[serde(deserialize_with = "text")]
    pub generate_name: String,
    /// The namespace.
    #[serde(deserialize_with = "text")]
    pub namespace: String,
    /// The labels.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: Labels,
    /// The owners.
    #[serde(deserialize_with = "null_as_default")]
    pub owner_references: Vec<OwnerReference>,
    /// When the object was created, in RFC 3339.
    pub creation_timestamp: Option<DateTime<Utc>>,
    /// Set while the object is being deleted.
    pub deletion_timestamp: Option<IgnoredAny>,
}

/// One owner of an object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    /// The kind of the owner.
    pub kind: String,
    /// The name of the owner.
    pub name: String,
    /// Whether it is the managing controller.
    pub controller: Option<bool>,
}

/// The spec of a pod, or of a workload with a pod template.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    containers: Option<Vec<Fields<ContainerSpec>>>,
    init_containers: Option<Vec<Fields<ContainerSpec>>>,
    ephemeral_containers: Option<Vec<Fields<ContainerSpec>>>,
    restart_policy: Option<RestartPolicy>,
    /// The node that a pod is bound to.
    pub node_name: Option<String>,
    template: Option<Box<Template>>,
    job_template: Option<Box<JobTemplate>>,
}

/// A pod template.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Template {
    #[serde(deserialize_with = "null_as_default")]
    metadata: Metadata,
    #[serde(deserialize_with = "null_as_default")]
    spec: Spec,
}

/// The template of the jobs of a CronJob.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct JobTemplate {
    #[serde(deserialize_with = "null_as_default")]
    spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerSpec {
    #[serde(deserialize_with = "text")]
    name: String,
    #[serde(deserialize_with = "text")]
    image: String,
    restart_policy: Option<RestartPolicy>,
    liveness_probe: Option<IgnoredAny>,
    readiness_probe: Option<IgnoredAny>,
    startup_probe: Option<IgnoredAny>,
    #[serde(deserialize_with = "null_as_default")]
    ports: Vec<ContainerPort>,
    #[serde(deserialize_with = "null_as_default")]
    resources: Resources,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    container_port: Option<u16>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Option<Entries>,
    limits: Option<Entries>,
}

/// Whether a map has entries, whatever they are.
#[derive(Debug, Clone, Copy, Default)]
struct Entries(bool);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Entries(false);
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    entries = Entries(true);
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// The status of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// The phase, as written.
    pub phase: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_as_default")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_as_default")]
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    #[serde(deserialize_with = "text")]
    name: String,
    restart_count: Option<u32>,
}

/// Labels, sorted by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<(String, String)>);

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self(labels.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;

        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = Labels;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a map of labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Vec::new();
                while let Some((key, Text(value))) = map.next_entry::<String, Text>()? {
                    labels.push((key, value));
                }
                labels.sort();
                if let Some(twice) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    return Err(serde::de::Error::custom(format!("duplicate label {:?}", twice[0].0)));
                }
                Ok(Labels(labels))
            }
        }

        deserializer.deserialize_map(LabelsVisitor)
    }
}

/// Text, and nothing that merely could be written as text: YAML parsers would take `image: 5` for a string, and Kubernetes
/// does not. `null` stands for no text.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct TextVisitor;

    impl Visitor<'_> for TextVisitor {
        type Value = String;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a string")
        }

        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_string<E>(self, text: String) -> Result<String, E> {
            Ok(text)
        }

        fn visit_unit<E>(self) -> Result<String, E> {
            Ok(String::new())
        }
    }

    deserializer.deserialize_any(TextVisitor)
}

/// The value of a label.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text(#[serde(deserialize_with = "text")] String);

/// Something with named fields. Serde would also take a list of their values, and Kubernetes does not.
#[derive(Debug, Clone, Default)]
struct Fields<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Fields<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldsVisitor<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(FieldsVisitor(PhantomData)).map(Fields)
    }
}

/// `null` stands for nothing wherever Kubernetes reads an object.
fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What the extraction of subjects needs to know beside the object.
#[derive(Debug, Clone)]
pub struct Context {
    /// The time that ages are counted to.
    pub now: DateTime<Utc>,
    /// The namespace of objects that name none.
    pub default_namespace: String,
    /// Where the object was read.
    pub source: Option<Source>,
}

/// What was found in an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// The subjects, in the order of the object.
    pub subjects: Vec<Subject>,
    /// Pods that have finished or are being deleted, which nobody judges.
    pub finished: usize,
    /// How many objects of each kind were left out, because they carry no pod template.
    pub ignored: BTreeMap<String, usize>,
}

/// Why an object could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// Something that must run containers has none.
    #[error("{kind} {namespace}/{name} has no containers: {pointer}/containers is missing or empty")]
    NoContainers {
        /// The kind of the object.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// JSON Pointer to the pod's spec.
        pointer: &'static str,
    },
    /// Lists in lists in lists.
    #[error("lists are nested more than {DEEPEST_LIST} deep")]
    TooDeep,
}

/// Whether the kind is one that Kubernetes itself runs pods from, so that one without containers is a mistake.
pub fn is_builtin_workload(kind: &str) -> bool {
    matches!(
        kind,
        "Pod" | "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" | "CronJob"
    )
}

impl Object {
    /// Adds the subjects of the object, or of the items of a list, to `extracted`. The errors are those of single
    /// objects; the others are extracted all the same.
    pub fn extract(self, context: &Context, extracted: &mut Extracted) -> Vec<ExtractError> {
        let mut errors = Vec::new();
        self.extract_at(context, "", extracted, &mut errors);
        errors
    }

    /// `at` is the JSON Pointer from the document to this object.
    fn extract_at(mut self, context: &Context, at: &str, extracted: &mut Extracted, errors: &mut Vec<ExtractError>) {
        if let Some(items) = self.items.take_if(|_| self.kind.ends_with("List")) {
            if at.matches("/items/").count() == DEEPEST_LIST {
                errors.push(ExtractError::TooDeep);
                return;
            }
            let item_kind = self.kind.trim_end_matches("List");
            for (index, mut item) in items.into_iter().enumerate() {
                if item.kind.is_empty() {
                    item.kind = item_kind.to_owned();
                }
                item.extract_at(context, &format!("{at}/items/{index}"), extracted, errors);
            }
            return;
        }
        match Place::of(&self.kind, &self.spec) {
            Some(place) if place.spec(&self.spec).is_some_and(Spec::has_containers) => {
                if self.is_finished() {
                    extracted.finished += 1;
                } else {
                    extracted.subjects.push(self.into_subject(place, context, at));
                }
            }
            _ if is_builtin_workload(&self.kind) => errors.push(ExtractError::NoContainers {
                pointer: Place::usual(&self.kind).pointer(),
                namespace: self.namespace(context),
                name: self.name(),
                kind: self.kind,
            }),
            _ => *extracted.ignored.entry(self.kind).or_default() += 1,
        }
    }

    /// Finished pods and those being deleted are not judged: nothing can be mended there.
    fn is_finished(&self) -> bool {
        let phase = self.status.phase.as_deref().filter(|_| self.kind == "Pod");
        self.metadata.deletion_timestamp.is_some() || phase.is_some_and(has_finished)
    }

    /// Leaves nothing of the status but whether the pod has finished: for a request to run something, which has not run yet.
    pub fn forget_status(&mut self) {
        let status = std::mem::take(&mut self.status);
        self.status.phase = status.phase.filter(|phase| has_finished(phase));
    }

    /// The name; the start of it where the API server makes up the rest.
    pub fn name(&self) -> String {
        let metadata = &self.metadata;
        if metadata.name.is_empty() { metadata.generate_name.clone() } else { metadata.name.clone() }
    }

    fn namespace(&self, context: &Context) -> String {
        let namespace = &self.metadata.namespace;
        if namespace.is_empty() { context.default_namespace.clone() } else { namespace.clone() }
    }

    fn into_subject(self, place: Place, context: &Context, at: &str) -> Subject {
        let name = self.name();
        let namespace = self.namespace(context);
        let status =
            self.status.phase.as_deref().filter(|phase| self.kind == "Pod" && !phase.is_empty()).map(|phase| {
                let phase = Phase::parse(phase);
                let created = self.metadata.creation_timestamp.filter(|_| phase == Phase::Pending);
                let age = created.map(|created| (context.now - created).num_seconds());
                Status { phase, pending_seconds: age.map(|seconds| seconds.try_into().unwrap_or(0)) }
            });
        let controller = self.metadata.owner_references.into_iter().find(|owner| owner.controller == Some(true));
        let (spec, labels) = place.take(self.spec, self.metadata.labels);
        let restart_policy = spec.restart_policy.unwrap_or_default();
        let statuses = status.is_some().then_some(&self.status);
        Subject {
            kind: self.kind,
            namespace,
            name,
            labels: labels.0,
            controller: controller.map(|owner| Controller { kind: owner.kind, name: owner.name }),
            restart_policy,
            containers: spec.into_containers(statuses),
            status,
            spec_pointer: place.pointer().to_owned(),
            source: context.source.clone().map(|source| Source { pointer: at.to_owned(), ..source }),
        }
    }
}

/// Whether nothing of a pod in this phase will run again.
fn has_finished(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// Where in an object the pod's spec is.
#[derive(Debug, Clone, Copy)]
enum Place {
    Pod,
    Template,
    JobTemplate,
}

impl Place {
    /// The place in an object of this kind, or none where it makes no pods.
    fn of(kind: &str, spec: &Spec) -> Option<Self> {
        match kind {
            "Pod" => Some(Self::Pod),
            _ if spec.template.is_some() => Some(Self::Template),
            _ if spec.job_template.is_some() => Some(Self::JobTemplate),
            _ => None,
        }
    }

    /// The place where Kubernetes has it in a built-in kind.
    fn usual(kind: &str) -> Self {
        match kind {
            "Pod" => Self::Pod,
            "CronJob" => Self::JobTemplate,
            _ => Self::Template,
        }
    }

    fn pointer(self) -> &'static str {
        match self {
            Self::Pod => "/spec",
            Self::Template => "/spec/template/spec",
            Self::JobTemplate => "/spec/jobTemplate/spec/template/spec",
        }
    }

    fn spec(self, spec: &Spec) -> Option<&Spec> {
        match self {
            Self::Pod => Some(spec),
            Self::Template => spec.template.as_ref().map(|template| &template.spec),
            Self::JobTemplate => Self::Template.spec(&spec.job_template.as_ref()?.spec),
        }
    }

    /// The pod's spec and labels.
    fn take(self, spec: Spec, labels: Labels) -> (Spec, Labels) {
        match self {
            Self::Pod => (spec, labels),
            Self::Template => {
                spec.template.map(|template| (template.spec, template.metadata.labels)).unwrap_or_default()
            }
            Self::JobTemplate => Self::Template.take(spec.job_template.unwrap_or_default().spec, labels),
        }
    }
}

impl Spec {
    fn has_containers(&self) -> bool {
        self.containers.as_ref().is_some_and(|containers| !containers.is_empty())
    }

    fn into_containers(self, status: Option<&PodStatus>) -> Vec<Container> {
        let statuses = |list: fn(&PodStatus) -> &Vec<ContainerStatus>| status.map(list).map_or(&[][..], Vec::as_slice);
        let app = convert(self.containers, statuses(|status| &status.container_statuses), |_| ContainerKind::App);
        let init = convert(self.init_containers, statuses(|status| &status.init_container_statuses), |container| {
            match container.restart_policy {
                Some(RestartPolicy::Always) => ContainerKind::Sidecar,
                _ => ContainerKind::Init,
            }
        });
        let ephemeral =
            convert(self.ephemeral_containers, statuses(|status| &status.ephemeral_container_statuses), |_| {
                ContainerKind::Ephemeral
            });
        app.chain(init).chain(ephemeral).collect()
    }
}

fn convert<'a>(
    containers: Option<Vec<Fields<ContainerSpec>>>,
    statuses: &'a [ContainerStatus],
    kind: impl Fn(&ContainerSpec) -> ContainerKind + 'a,
) -> impl Iterator<Item = Container> + 'a {
    let has_entries = |map: Option<Entries>| map.is_some_and(|Entries(has)| has);
    containers.unwrap_or_default().into_iter().enumerate().map(move |(position, Fields(container))| Container {
        kind: kind(&container),
        restart_count: restart_count(statuses, position, &container.name),
        name: container.name,
        image: container.image,
        has_liveness_probe: container.liveness_probe.is_some(),
        has_readiness_probe: container.readiness_probe.is_some(),
        has_startup_probe: container.startup_probe.is_some(),
        ports: container.ports.into_iter().filter_map(|port| port.container_port).collect(),
        has_resource_requests: has_entries(container.resources.requests),
        has_resource_limits: has_entries(container.resources.limits),
        position,
    })
}

/// The restarts of a container by its name. Statuses mostly stand in the order of the spec, so that place is tried first:
/// a pod with thousands of containers must not cost their square.
fn restart_count(statuses: &[ContainerStatus], position: usize, name: &str) -> Option<u32> {
    let in_place = statuses.get(position).filter(|status| status.name == name);
    in_place.or_else(|| statuses.iter().find(|status| status.name == name))?.restart_count
}
