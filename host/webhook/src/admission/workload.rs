//! The evaluation of an object that may run pods.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use kube_devops_core::object::{Context, Extraction, Object, PodStatus, Revision, Templated};
use kube_devops_core::text::number;
use kube_devops_core::{Container, ContainerKind, Needs, Subject, Violation, complete_object, evaluations};
use kube_devops_engine::RuleSet;
use serde_json::value::RawValue;

use super::compare::{Change, WholeObjects, change};
use super::gate::is_of_controller;
use super::{Header, Reviewed};
use crate::index::{AppliedPolicy, NamespacePolicies};
use crate::response::{EvaluationFailure, PolicyViolation, Reason, Verdict};
use crate::review::Resource;

/// The most parts into which the remaining time is divided: a check of an added module gets some, also if there are many policies.
const MOST_SHARES: u32 = 4;

/// The time for an evaluation.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// The deadline.
    pub deadline: Instant,
    /// The number of places for slow evaluations of the namespace by added modules, if none of them is free.
    pub no_place: Option<usize>,
}

/// The verdict about an object, by the policies of its namespace.
pub fn verdict(
    request: &Header<'_>,
    objects: Reviewed,
    body: &[u8],
    policies: &NamespacePolicies,
    time: Time,
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
        verdict = verdict.and(changed(request, change, &now, before.as_ref(), policies, time));
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
    time: Time,
) -> Verdict {
    let (mut violations, mut failures) = evaluate(now, policies, time);
    let added = match request.sub_resource == "ephemeralcontainers" {
        true => Some(added_containers(before, now)),
        false => (change == Change::Rest).then(HashSet::new),
    };
    if let (Some(added), Some(before)) = (added, before)
        && !violations.iter().all(|found| is_in(found, &added))
    {
        let (known, failed) = evaluate(before, policies, time);
        retain_new(&mut violations, &known, &added);
        failures.extend(failed);
    }
    let name = if now.name.is_empty() { "(without a name)" } else { &now.name };
    let subject = format!("{} {name} in namespace {}", now.kind, now.namespace);
    Verdict::Evaluated { subject, violations, failures, is_controlled: is_of_controller(request) }
}

/// Evaluates a subject by every policy: first by the checks of the program, which take no time, then by those of added modules, which
/// may take all of it.
fn evaluate(
    subject: &Subject,
    policies: &NamespacePolicies,
    time: Time,
) -> (Vec<PolicyViolation>, Vec<EvaluationFailure>) {
    let mut found = Found::default();
    for policy in &policies.policies {
        found.failures.extend(policy.failures.iter().cloned());
        if let Some(rules) = &policy.rules {
            found.evaluate(subject, policy, rules, time.deadline);
        }
    }
    if let Some(most) = time.no_place {
        let text = format!("more than {} of the namespace at once", number(most, "slow request"));
        found.failures.push(EvaluationFailure { reason: Reason::Overload, text });
        return (found.violations.list, found.failures);
    }
    let mut left = policies.policies.iter().filter(|policy| policy.added.is_some()).count();
    for policy in &policies.policies {
        if let Some(rules) = &policy.added {
            let now = Instant::now();
            found.evaluate(subject, policy, rules, now + share(time.deadline.saturating_duration_since(now), left));
            left -= 1;
        }
    }
    (found.violations.list, found.failures)
}

/// The time for one of `left` policies: what it leaves is for the others.
fn share(time: Duration, left: usize) -> Duration {
    time / u32::try_from(left).unwrap_or(MOST_SHARES).clamp(1, MOST_SHARES)
}

/// What evaluations have found.
#[derive(Default)]
struct Found {
    violations: Violations,
    failures: Vec<EvaluationFailure>,
}

impl Found {
    fn evaluate(&mut self, subject: &Subject, policy: &AppliedPolicy, rules: &RuleSet, deadline: Instant) {
        let outcomes = rules.evaluate_until(&[subject], Some(deadline));
        for error in outcomes.iter().flat_map(|outcome| &outcome.errors) {
            let reason = if error.timed_out { Reason::Timeout } else { Reason::CheckFailed };
            self.failures.push(EvaluationFailure { reason, text: error.to_string() });
        }
        for violation in evaluations(&[subject], &outcomes).into_iter().flat_map(|found| found.violations) {
            self.violations.add(PolicyViolation { violation, policy: policy.name.clone() });
        }
    }
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

/// Keeps the violations of the existing object out: those count that it does not have, and those in `added` containers.
fn retain_new(violations: &mut Vec<PolicyViolation>, known: &[PolicyViolation], added: &HashSet<&str>) {
    let known: HashSet<Place> = known.iter().map(place).collect();
    violations.retain(|found| is_in(found, added) || !known.contains(&place(found)));
}

fn is_in(found: &PolicyViolation, containers: &HashSet<&str>) -> bool {
    found.violation.container.as_deref().is_some_and(|name| containers.contains(name))
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
mod tests;
