//! Extraction of the pods of an object, as subjects.

use std::borrow::Cow;
use std::collections::HashSet;

use kube_devops_core::object::{ContainerSpec, Context, Header, PodFacts, PodSpec, PodStatus, PodTemplate};
use kube_devops_core::workload::{Form, Lifetime, Template, USUAL_TEMPLATES, Workload, group};
use kube_devops_core::{Container, ContainerKind, Place, Subject, complete_object};
use serde_json::Value;

use crate::explain::TEMPLATE_HINT;
use crate::problem::Problem;
use crate::tree::Item;
use crate::values;

/// The pods of an object.
#[derive(Debug)]
pub(crate) enum Pods {
    /// Pods to evaluate, and whether the object has containers elsewhere, which are not evaluated.
    Subjects { subjects: Vec<Subject>, has_others: bool },
    /// A ReplicaSet with 0 replicas, such as the revision history of a Deployment.
    ScaledToZero,
    /// No pods.
    None,
}

/// Returns the pods of an object, or the problem of an object with invalid or missing pods.
pub(crate) fn of(object: Item<'_>, header: Header, context: &Context) -> Result<Pods, Problem> {
    let workload = Workload::find(&header.api_version, &header.kind);
    let (templates, lifetime) = match workload {
        Some(workload) => (workload.templates, workload.lifetime),
        None => (USUAL_TEMPLATES, Lifetime::ByRestartPolicy),
    };
    let status: PodStatus = match object.get("status").filter(|_| header.is_pod()) {
        Some(status) if !status.is_null() => {
            values::read(status).map_err(|error| invalid(&header, &error, "/status"))?
        }
        _ => PodStatus::default(),
    };
    let mut described = Vec::new();
    let mut evaluated = Vec::new();
    for place in templates.iter().flat_map(|template| places(object, template)) {
        let (item, at) = (place.item, place.pointer.clone());
        let Some((mut facts, spec, pointer)) = place.facts(&header, workload, &status)? else { continue };
        reject_placeholders(&header, &facts, spec)?;
        fill_in_images(object, &header, &mut facts.containers);
        described.push((facts, spec, pointer));
        evaluated.push((item, at));
    }
    let Some(last) = described.pop() else {
        return match workload.filter(|workload| workload.is_builtin) {
            Some(workload) => {
                let error = header.no_containers(workload.spec_pointer(), context);
                Err(Problem::at(object.line(), error.to_string()))
            }
            None => Ok(Pods::None),
        };
    };
    // A pod that has finished or is being deleted is not left out. The API server creates an object from any manifest, including
    // one with a resource version, without its status and deletion timestamp, so that the pod runs.
    if workload.is_some_and(|workload| workload.is_builtin && workload.kind == "ReplicaSet") {
        let replicas: Option<u32> = object.at("spec.replicas").and_then(|replicas| values::read(replicas).ok());
        if replicas == Some(0) {
            return Ok(Pods::ScaledToZero);
        }
    }
    let complete = match context.needs.objects {
        true => {
            let value: Value = values::read(object).map_err(|error| invalid(&header, &error, ""))?;
            Some(complete_object(value))
        }
        false => None,
    };
    let subject = |header: Header, (facts, spec, pointer): Facts<'_>| Subject {
        object: complete.clone(),
        ..header.subject(facts, lifetime, &status, pointer, spec.lines(), context)
    };
    let mut subjects: Vec<_> = described.into_iter().map(|facts| subject(header.clone(), facts)).collect();
    subjects.push(subject(header, last));
    // The API server drops or rejects the fields that a built-in kind does not have.
    let has_others = !workload.is_some_and(|workload| workload.is_builtin) && has_other_containers(object, &evaluated);
    Ok(Pods::Subjects { subjects, has_others })
}

/// Reports whether an object has containers outside of the values at these JSON Pointers.
pub(crate) fn has_other_containers(object: Item<'_>, evaluated: &[(Item<'_>, String)]) -> bool {
    let pointers: HashSet<&str> = evaluated.iter().map(|(_, pointer)| pointer.as_str()).collect();
    let is_within_another =
        |pointer: &str| pointer.rmatch_indices('/').any(|(end, _)| pointers.contains(&pointer[..end]));
    let outermost = evaluated.iter().filter(|(_, pointer)| !is_within_another(pointer));
    let known: usize = outermost.map(|(item, _)| item.with_containers().count()).sum();
    object.with_containers().nth(known).is_some()
}

/// Returns the places of a template in an object.
fn places<'t>(object: Item<'t>, template: &'static Template) -> Vec<Described<'t>> {
    let mut places = Vec::new();
    object.each_at(template.path, "", &mut |item, pointer| match template.form {
        Form::TektonPipeline => add_tasks(object, item, &pointer, &mut places),
        form => places.push(Described { object, item, pointer, path: template.path, form }),
    });
    places
}

/// Adds the specs of the tasks of a Tekton pipeline, and of the pipelines in it.
/// <https://tekton.dev/docs/pipelines/pipelines-in-pipelines/>
fn add_tasks<'t>(object: Item<'t>, pipeline: Item<'t>, pointer: &str, places: &mut Vec<Described<'t>>) {
    for path in ["tasks.*", "finally.*"] {
        pipeline.each_at(path, pointer, &mut |task, pointer| {
            if let Some(item) = task.get("taskSpec") {
                let pointer = format!("{pointer}/taskSpec");
                places.push(Described { object, item, pointer, path, form: Form::TektonTask });
            }
            if let Some(pipeline) = task.get("pipelineSpec") {
                add_tasks(object, pipeline, &format!("{pointer}/pipelineSpec"), places);
            }
        });
    }
}

/// Returns the problem of an invalid value at `pointer` in an object.
pub(crate) fn invalid(header: &Header, error: &values::ValueError, pointer: &str) -> Problem {
    let title = title(&header.kind, &header.metadata.namespace, header.metadata.name());
    Problem::at(error.line(), format!("invalid {title}: {}", error.message(pointer)))
}

/// Returns the name of an object in messages.
pub(crate) fn title(kind: &str, namespace: &str, name: &str) -> String {
    match (namespace, name) {
        (_, "") => kind.to_owned(),
        ("", name) => format!("{kind} {name}"),
        (namespace, name) => format!("{kind} {namespace}/{name}"),
    }
}

/// A location in an object that can contain a pod template.
struct Described<'t> {
    object: Item<'t>,
    item: Item<'t>,
    /// The JSON Pointer from the object.
    pointer: String,
    /// The path in the table of kinds.
    path: &'static str,
    form: Form,
}

type Facts<'t> = (PodFacts, Item<'t>, Cow<'static, str>);

impl<'t> Described<'t> {
    /// Returns the facts, the value with the containers, and the JSON Pointer to it, or `None` if there are no
    /// containers.
    fn facts(
        self,
        header: &Header,
        workload: Option<&Workload>,
        status: &PodStatus,
    ) -> Result<Option<Facts<'t>>, Problem> {
        let Self { object, item, pointer, path, form } = self;
        match form {
            Form::PodTemplate => {
                let Some(spec) = item.get("spec") else {
                    // A missing template is only an error if the kind requires one, which the caller checks.
                    return Ok(None);
                };
                if workload.is_none() && spec.get("containers").is_none() {
                    return Ok(None);
                }
                let read: PodTemplate = values::read(item).map_err(|error| invalid(header, &error, &pointer))?;
                if !read.has_containers() {
                    return Ok(None);
                }
                let facts = read.facts(Some(status).filter(|_| header.is_pod()));
                Ok(Some((facts, spec, spec_pointer(path, &pointer))))
            }
            Form::PodSpec => {
                let read: PodSpec = values::read(item).map_err(|error| invalid(header, &error, &pointer))?;
                let facts = read.facts(None);
                Ok((!facts.containers.is_empty()).then_some((facts, item, pointer.into())))
            }
            Form::ArgoTemplate => {
                let mut found = Containers { header, item, pointer: &pointer, containers: Vec::new() };
                found.alone("container", ContainerKind::App)?;
                found.alone("script", ContainerKind::App)?;
                found.list("containerSet.containers", "containerSet/containers", ContainerKind::App)?;
                found.list("initContainers", "initContainers", ContainerKind::Init)?;
                found.list("sidecars", "sidecars", ContainerKind::Sidecar)?;
                Ok(found.facts().map(|facts| (facts, item, pointer.into())))
            }
            Form::TektonTask => {
                let mut found = Containers { header, item, pointer: &pointer, containers: Vec::new() };
                found.list("steps", "steps", ContainerKind::App)?;
                found.list("sidecars", "sidecars", ContainerKind::Sidecar)?;
                Ok(found.facts().map(|facts| (facts, item, pointer.into())))
            }
            Form::TektonStep => {
                let read: ContainerSpec = values::read(item).map_err(|error| invalid(header, &error, &pointer))?;
                if read.image().is_empty() {
                    return Ok(None);
                }
                let container = read.container(ContainerKind::App, Place::alone("spec"));
                let facts = PodFacts { containers: vec![container], ..PodFacts::default() };
                Ok(Some((facts, object, "".into())))
            }
            // Its places are those of its tasks, and the objects in an object are read on their own.
            Form::TektonPipeline | Form::Object => Ok(None),
        }
    }
}

/// Returns the pointer to the spec of a template, without an allocation for the usual ones.
fn spec_pointer(path: &str, pointer: &str) -> Cow<'static, str> {
    match path {
        "" => "/spec".into(),
        "spec.template" => "/spec/template/spec".into(),
        "spec.jobTemplate.spec.template" => "/spec/jobTemplate/spec/template/spec".into(),
        _ => format!("{pointer}/spec").into(),
    }
}

/// The containers of kinds that do not have them in the same place as a pod.
struct Containers<'a, 't> {
    header: &'a Header,
    item: Item<'t>,
    pointer: &'a str,
    containers: Vec<Container>,
}

impl Containers<'_, '_> {
    fn alone(&mut self, key: &'static str, kind: ContainerKind) -> Result<(), Problem> {
        match self.item.get(key) {
            Some(item) if !item.is_null() => self.add(item, kind, Place::alone(key)),
            _ => Ok(()),
        }
    }

    fn list(&mut self, path: &str, key: &'static str, kind: ContainerKind) -> Result<(), Problem> {
        let list = self.item.at(path);
        for (index, item) in list.into_iter().flat_map(Item::items).enumerate() {
            // A step with a reference to a StepAction has its container there.
            if item.get("ref").is_none() {
                self.add(item, kind, Place::in_list(key, index))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, item: Item<'_>, kind: ContainerKind, place: Place) -> Result<(), Problem> {
        let pointer = match place.index {
            Some(index) => format!("{}/{}/{index}", self.pointer, place.key),
            None => format!("{}/{}", self.pointer, place.key),
        };
        let read: ContainerSpec = values::read(item).map_err(|error| invalid(self.header, &error, &pointer))?;
        let mut container = read.container(kind, place);
        if container.image.is_empty() {
            // The defaults of all steps: https://tekton.dev/docs/pipelines/tasks/#specifying-a-step-template
            container.image = self.item.at("stepTemplate.image").and_then(Item::text).unwrap_or_default().into();
        }
        self.containers.push(container);
        Ok(())
    }

    fn facts(self) -> Option<PodFacts> {
        let containers = self.containers;
        (!containers.is_empty()).then(|| PodFacts { containers, ..PodFacts::default() })
    }
}

/// Rejects unrendered images. Argo replaces `{{...}}` when it runs a workflow, so its images are left to the checks.
fn reject_placeholders(header: &Header, facts: &PodFacts, spec: Item<'_>) -> Result<(), Problem> {
    let is_argo = group(&header.api_version) == "argoproj.io";
    let Some(container) = facts.containers.iter().find(|container| !is_argo && container.image.contains("{{")) else {
        return Ok(());
    };
    let line = spec.lines().line_of(&format!("{}/image", container.pointer())).unwrap_or(spec.line());
    let title = title(&header.kind, &header.metadata.namespace, header.metadata.name());
    let message = format!(
        "invalid {title}: the image {} of container {} is not rendered{TEMPLATE_HINT}",
        kube_devops_core::text::cut(&container.image, 100),
        container.title()
    );
    Err(Problem::at(line, message))
}

/// Sets the images that a trigger of a DeploymentConfig sets in OpenShift, with a placeholder for the digest of the image
/// stream tag, which the manifest does not contain.
/// <https://docs.openshift.com/container-platform/latest/openshift_images/triggering-updates-on-imagestream-changes.html>
fn fill_in_images(object: Item<'_>, header: &Header, containers: &mut [Container]) {
    const UNKNOWN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    // The group was empty before OpenShift 3.7.
    if header.kind != "DeploymentConfig" || !matches!(group(&header.api_version), "apps.openshift.io" | "") {
        return;
    }
    for trigger in object.at("spec.triggers").into_iter().flat_map(Item::items) {
        let Some(parameters) = trigger.get("imageChangeParams") else { continue };
        let from = parameters.at("from.name").and_then(Item::text).unwrap_or_default();
        let name = from.split([':', '@']).next().unwrap_or_default();
        let names: Vec<&str> =
            parameters.get("containerNames").into_iter().flat_map(Item::items).filter_map(Item::text).collect();
        for container in containers.iter_mut().filter(|container| names.contains(&&*container.name)) {
            container.image = format!("{name}@{UNKNOWN}").into();
        }
    }
}
