//! The evaluation of an object that may run pods.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use kube_devops_core::object::{Context, Extraction, Object, PodStatus, Revision, Templated};
use kube_devops_core::{Container, ContainerKind, Needs, Subject, Violation, complete_object, evaluations};

use serde_json::value::RawValue;

use super::compare::{Change, WholeObjects, change};
use super::gate::is_of_controller;
use super::{Header, Reviewed};
use crate::index::NamespacePolicies;
use crate::response::{EvaluationFailure, PolicyViolation, Reason, Verdict};
use crate::review::Resource;

/// The verdict about an object, by the policies of its namespace.
pub fn verdict(
    request: &Header<'_>,
    objects: Reviewed,
    body: &[u8],
    policies: &NamespacePolicies,
    deadline: Instant,
) -> Verdict {
    let (object, before) = match objects {
        Ok((Some(object), before)) => (object, before),
        Ok((None, _)) => return Verdict::failed(Reason::Malformed, "the review has no object"),
        Err(error) => return Verdict::failed(Reason::Malformed, error),
    };
    let before = before.filter(|_| request.operation == "UPDATE");
    // The API server sets the time of deletion. A new object has none, regardless of what its manifest says.
    if before.as_ref().is_some_and(is_being_deleted) && is_being_deleted(&object) {
        return Verdict::Skipped;
    }
    let needs = policies.needs();
    let subjects = match subjects(request, object, needs) {
        Ok(subjects) if subjects.is_empty() => return Verdict::Skipped,
        Ok(subjects) => subjects,
        Err(error) => return Verdict::failed(Reason::Malformed, error),
    };
    // If the existing object cannot be evaluated, the new one is evaluated as a whole.
    let before = before.and_then(|object| self::subjects(request, object, needs).ok()).unwrap_or_default();
    let whole = needs.objects.then(|| WholeObjects::read(body));
    let changes: Vec<_> = subjects
        .into_iter()
        .map(|now| {
            let before = before.iter().find(|before| before.spec_pointer == now.spec_pointer);
            (change(before, &now, whole.as_ref(), body), now, before)
        })
        .filter(|(change, ..)| *change != Change::None)
        .collect();
    let whole = whole.and_then(Result::ok);
    let (object, object_before) = whole.map_or((None, None), |whole| (Some(whole.now), whole.before));
    let (object, object_before) = (object.map(complete_object), object_before.map(complete_object));
    let mut verdict = Verdict::Skipped;
    for (change, mut now, before) in changes {
        now.object.clone_from(&object);
        let mut before = before.cloned();
        if let Some(before) = &mut before {
            before.object.clone_from(&object_before);
        }
        verdict = verdict.and(changed(request, change, &now, before.as_ref(), policies, deadline));
    }
    verdict
}

/// The verdict about a subject of which something changes.
fn changed(
    request: &Header<'_>,
    change: Change,
    now: &Subject,
    before: Option<&Subject>,
    policies: &NamespacePolicies,
    deadline: Instant,
) -> Verdict {
    let (mut violations, mut failures) = evaluate(now, policies, deadline);
    if let (Change::Rest, Some(before)) = (change, before) {
        let (known, failed) = evaluate(before, policies, deadline);
        let known: HashSet<Place> = known.iter().map(place).collect();
        violations.retain(|found| !known.contains(&place(found)));
        failures.extend(failed);
    }
    if request.sub_resource == "ephemeralcontainers" {
        let added = added_containers(before, now);
        violations.retain(|found| found.violation.container.as_deref().is_some_and(|name| added.contains(&name)));
    }
    let name = if now.name.is_empty() { "(without a name)" } else { &now.name };
    let subject = format!("{} {name} in namespace {}", now.kind, now.namespace);
    Verdict::Evaluated { subject, violations, failures, is_controlled: is_of_controller(request) }
}

/// Evaluates a subject by every policy.
fn evaluate(
    subject: &Subject,
    policies: &NamespacePolicies,
    deadline: Instant,
) -> (Vec<PolicyViolation>, Vec<EvaluationFailure>) {
    let (mut violations, mut failures) = (Violations::default(), Vec::new());
    for policy in &policies.policies {
        failures.extend(policy.failures.iter().cloned());
        let Some(rules) = &policy.rules else { continue };
        let outcomes = rules.evaluate_until(&[subject], Some(deadline));
        for error in outcomes.iter().flat_map(|outcome| &outcome.errors) {
            let reason = if error.timed_out { Reason::Timeout } else { Reason::CheckFailed };
            failures.push(EvaluationFailure { reason, text: error.to_string() });
        }
        for violation in evaluations(&[subject], &outcomes).into_iter().flat_map(|found| found.violations) {
            violations.add(PolicyViolation { violation, policy: policy.name.clone() });
        }
    }
    (violations.list, failures)
}

/// Reads those objects of a review of which a pod would be malformed, and which are none: only their pod templates count. The error
/// is that of the new object; `None` for a pod.
pub fn templates(
    request: &Header<'_>,
    object: Option<&RawValue>,
    before: Option<&RawValue>,
) -> Result<(Option<Object>, Option<Object>), Option<serde_json::Error>> {
    if request.kind.kind == "Pod" && request.resource.group.is_empty() {
        return Err(None);
    }
    let read = |object: &RawValue| match is_revision(&request.resource) {
        true => serde_json::from_str::<Revision>(object.get()).map(Object::from),
        false => serde_json::from_str::<Templated>(object.get()).map(Object::from),
    };
    // Without the existing object, the new one is evaluated as a whole.
    Ok((object.map(read).transpose()?, before.and_then(|before| read(before).ok())))
}

/// Whether the objects of a resource are revisions, whose templates are in their data.
pub fn is_revision(resource: &Resource<'_>) -> bool {
    (&*resource.group, &*resource.resource) == ("apps", "controllerrevisions")
}

fn is_being_deleted(object: &Object) -> bool {
    object.metadata.deletion_timestamp.is_some()
}

/// The subjects of an object, one for each pod template.
fn subjects(request: &Header<'_>, object: Object, needs: Needs) -> Result<Vec<Subject>, String> {
    let subjects = object.by_template().into_iter().map(|object| subject(request, object, needs));
    subjects.filter_map(Result::transpose).collect()
}

/// The subject of an object; `None` if it runs no pods.
fn subject(request: &Header<'_>, mut object: Object, needs: Needs) -> Result<Option<Subject>, String> {
    if object.kind != request.kind.kind {
        return Err(format!("the review is about a {}, and its object is a {}", request.kind.kind, object.kind));
    }
    // The namespace of the request takes precedence over that of the object.
    object.metadata.namespace = request.namespace.clone().into_owned();
    // The status says nothing about what will run: who can write it can make a pod that has not started look finished, and undo that.
    object.status = PodStatus::default();
    object.metadata.deletion_timestamp = None;
    let context = Context { now: Utc::now(), default_namespace: String::new(), source: None, needs };
    object.extract(&context).map(Extraction::into_subject).map_err(|error| error.to_string())
}

/// The names of the new ephemeral containers.
fn added_containers<'a>(before: Option<&Subject>, now: &'a Subject) -> HashSet<&'a str> {
    let before = before.map_or(&[][..], |before| &before.containers);
    let before: HashMap<&str, &Container> = before.iter().map(|container| (&*container.name, container)).collect();
    let is_known = |container: &Container| before.get(&*container.name).is_some_and(|known| *known == container);
    let ephemeral = now.containers.iter().filter(|container| container.kind == ContainerKind::Ephemeral);
    ephemeral.filter(|container| !is_known(container)).map(|container| &*container.name).collect()
}

/// The check, the container, the field and the message of a violation.
type Place = (Arc<str>, Option<Arc<str>>, Option<Arc<str>>, Arc<str>);

fn place(found: &PolicyViolation) -> Place {
    let Violation { check, container, field, message, .. } = &found.violation;
    (check.clone(), container.clone(), field.clone(), message.clone())
}

/// The violations of all policies, each once.
#[derive(Default)]
struct Violations {
    list: Vec<PolicyViolation>,
    places: HashMap<Place, usize>,
}

impl Violations {
    /// Adds a violation. If several policies have the same, the most severe one counts.
    fn add(&mut self, found: PolicyViolation) {
        match self.places.entry(place(&found)) {
            Entry::Vacant(entry) => {
                entry.insert(self.list.len());
                self.list.push(found);
            }
            Entry::Occupied(entry) => {
                let known = self.list.get_mut(*entry.get());
                if let Some(known) = known.filter(|known| known.violation.severity < found.violation.severity) {
                    *known = found;
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kube_devops_core::{Severity, testing};
    use serde_json::{Value, json};

    use super::*;
    use crate::index::AppliedPolicy;
    use crate::review::{Kind, UserInfo};

    fn request(operation: &'static str) -> Header<'static> {
        Header {
            uid: "1".into(),
            kind: Kind { kind: "Pod".into() },
            resource: crate::review::Resource::default(),
            sub_resource: "".into(),
            namespace: "shop".into(),
            operation: operation.into(),
            user_info: UserInfo::default(),
            object: None,
            old_object: None,
        }
    }

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    fn finished() -> Object {
        object(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "web", "namespace": "elsewhere", "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "containers": [{ "name": "app", "image": "nginx" }] },
            "status": { "phase": "Succeeded" },
        }))
    }

    #[test]
    fn the_namespace_of_the_request_counts_and_a_pod_cannot_claim_to_be_finished() {
        for operation in ["CREATE", "UPDATE"] {
            let subject = subject(&request(operation), finished(), Needs::default()).unwrap().unwrap();
            assert_eq!((&*subject.namespace, subject.status), ("shop", None), "{operation}");
        }
    }

    #[test]
    fn an_update_is_skipped_if_the_object_is_being_deleted_before_and_after() {
        let policies = NamespacePolicies::default();
        let pod = |is_deleted: bool, image: &str| {
            let time = is_deleted.then_some("2026-01-01T00:00:00Z");
            object(json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "name": "web", "deletionTimestamp": time },
                "spec": { "containers": [{ "name": "app", "image": image }] },
                "status": { "phase": "Succeeded" },
            }))
        };
        let verdict = |operation, now, before| {
            let objects = Ok((Some(pod(now, "nginx")), Some(pod(before, "nginx:1"))));
            verdict(&request(operation), objects, b"", &policies, Instant::now())
        };
        assert_eq!(verdict("UPDATE", true, true), Verdict::Skipped);
        for (operation, now, before) in [("UPDATE", true, false), ("UPDATE", false, false), ("CREATE", true, true)] {
            let verdict = verdict(operation, now, before);
            assert!(matches!(verdict, Verdict::Evaluated { .. }), "{operation} {now} {before}: {verdict:?}");
        }
    }

    #[test]
    fn an_object_of_another_kind_is_an_error() {
        let deployment = object(json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "a" } }));
        let error = subject(&request("CREATE"), deployment, Needs::default()).unwrap_err();
        assert!(error.contains("about a Pod") && error.contains("a Deployment"), "{error}");
        let unreadable =
            verdict(&request("CREATE"), Err("bad".to_owned()), b"", &NamespacePolicies::default(), Instant::now());
        assert_eq!(unreadable.reason(), Some(Reason::Malformed));
        let empty = Ok((None, None));
        let verdict = verdict(&request("CREATE"), empty, b"", &NamespacePolicies::default(), Instant::now());
        assert_eq!(verdict.reason(), Some(Reason::Malformed));
    }

    #[test]
    fn an_update_of_metadata_alone_is_skipped() {
        let pod = |label: &str, image: &str| {
            object(json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "name": "web", "labels": { "a": label } },
                "spec": { "containers": [{ "name": "app", "image": image }] },
            }))
        };
        let policies = NamespacePolicies::default();
        let update = |now: Object| {
            let objects = Ok((Some(now), Some(pod("1", "nginx:1"))));
            verdict(&request("UPDATE"), objects, b"", &policies, Instant::now())
        };
        assert_eq!(update(pod("2", "nginx:1")), Verdict::Skipped);
        assert!(matches!(update(pod("1", "nginx:2")), Verdict::Evaluated { .. }));
        let created =
            verdict(&request("CREATE"), Ok((Some(pod("1", "nginx:1")), None)), b"", &policies, Instant::now());
        let Verdict::Evaluated { subject, .. } = created else { panic!("{created:?}") };
        assert_eq!(subject, "Pod web in namespace shop");
    }

    #[test]
    fn only_new_ephemeral_containers_count() {
        let ephemeral = |name: &str| Container { kind: ContainerKind::Ephemeral, ..testing::container(name) };
        let pod = |containers: Vec<Container>| Subject { containers, ..testing::pod("web") };
        let before = pod(vec![testing::container("app"), ephemeral("old")]);
        let now = pod(vec![testing::container("app"), ephemeral("old"), ephemeral("new")]);
        assert_eq!(added_containers(Some(&before), &now), ["new"].into());
        assert_eq!(added_containers(None, &now), ["old", "new"].into());
    }

    #[test]
    fn the_most_severe_of_equal_violations_counts() {
        let found = |severity, policy: &str| PolicyViolation {
            violation: testing::violation("latest-tag", severity, "web"),
            policy: policy.into(),
        };
        let mut violations = Violations::default();
        for (severity, policy) in [(Severity::Low, "a"), (Severity::High, "b"), (Severity::Medium, "c")] {
            violations.add(found(severity, policy));
        }
        assert_eq!(violations.list, [found(Severity::High, "b")]);
        let mut other = found(Severity::Low, "a");
        other.violation.check = "missing-liveness".into();
        violations.add(other);
        assert_eq!(violations.list.len(), 2);
    }

    fn invalid() -> AppliedPolicy {
        let failure = EvaluationFailure { reason: Reason::InvalidPolicy, text: "no such check".to_owned() };
        AppliedPolicy { name: "strict".into(), rules: None, failures: vec![failure] }
    }

    #[test]
    fn an_invalid_policy_is_a_failure_of_the_evaluation() {
        let policies = NamespacePolicies::from_iter([invalid(), invalid()]);
        let pod = object(json!({
            "apiVersion": "v1", "kind": "Pod", "spec": { "containers": [{ "name": "app", "image": "nginx" }] },
        }));
        let found = verdict(&request("CREATE"), Ok((Some(pod), None)), b"", &policies, Instant::now());
        let Verdict::Evaluated { subject, failures, .. } = &found else { panic!("{found:?}") };
        assert_eq!(subject, "Pod (without a name) in namespace shop");
        assert_eq!((failures.len(), found.reason()), (2, Some(Reason::InvalidPolicy)));
        assert_eq!(failures[0].text, "no such check");
    }

    #[test]
    fn objects_without_pods_are_skipped() {
        let config = object(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } }));
        let request = Header { kind: Kind { kind: "ConfigMap".into() }, ..request("CREATE") };
        let policies = NamespacePolicies::default();
        assert_eq!(verdict(&request, Ok((Some(config), None)), b"", &policies, Instant::now()), Verdict::Skipped);
    }

    #[test]
    fn every_template_of_an_unknown_kind_is_evaluated() {
        let request = Header { kind: Kind { kind: "Any".into() }, ..request("CREATE") };
        let policies = NamespacePolicies::from_iter([invalid()]);
        let template = json!({ "spec": { "containers": [{ "name": "app", "image": "nginx" }] } });
        let failures = |spec: Value| {
            let any = object(json!({ "apiVersion": "example.com/v1", "kind": "Any", "spec": spec }));
            match verdict(&request, Ok((Some(any), None)), b"", &policies, Instant::now()) {
                Verdict::Evaluated { failures, .. } => failures.len(),
                verdict => panic!("{verdict:?}"),
            }
        };
        let jobs = json!({ "spec": { "template": template } });
        assert_eq!(failures(json!({ "template": template, "jobTemplate": jobs })), 2);
        assert_eq!(failures(json!({ "template": {}, "jobTemplate": jobs })), 1);
    }

    #[test]
    fn only_the_templates_of_an_object_that_is_no_pod_must_be_readable() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let odd = raw(
            r#"{"kind":"Any","spec":{"containers":5,"template":{"spec":{"containers":[{"image":"nginx"}]}}},"status":"ok"}"#,
        );
        let any = Header { kind: Kind { kind: "Any".into() }, ..request("UPDATE") };
        let read = |request, now, before| templates(request, now, before);
        assert!(matches!(read(&any, Some(&odd), Some(&odd)), Ok((Some(_), Some(_)))));
        let bad = raw(r#"{"kind":"Any","spec":{"template":5}}"#);
        assert!(matches!(read(&any, Some(&odd), Some(&bad)), Ok((Some(_), None))));
        assert!(matches!(read(&any, Some(&bad), None), Err(Some(_))));
        assert!(matches!(read(&request("UPDATE"), Some(&odd), None), Err(None)));
    }
}
