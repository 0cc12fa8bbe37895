//! New violations, until events about them are emitted.
//!
//! Events are about workloads: the pods of a new template, and those that replace others, repeat no violation that the workload
//! had already.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_core::text::number;
use kube_devops_core::{Evaluation, Violation};

use super::write::PendingEvent;
use crate::pod_index::WorkloadRoot;

/// The most workloads that get an event at a time.
const MAX_WORKLOADS: usize = 10;
/// The most workloads whose violations are remembered. Beyond that, the oldest ones are forgotten.
const MAX_REMEMBERED: usize = 10_000;

/// The check, the container and the field of a violation.
type Place = (Arc<str>, Option<Arc<str>>, Option<Arc<str>>);

/// New violations by workload, and the known ones.
#[derive(Debug, Default)]
pub struct PendingEvents {
    pending: BTreeMap<WorkloadRoot, Entry>,
    /// A workload has few violations: a list takes less memory than a set.
    known: BTreeMap<WorkloadRoot, Vec<Place>>,
    order: VecDeque<WorkloadRoot>,
    /// The number of new violations of further workloads.
    more: usize,
}

#[derive(Debug)]
struct Entry {
    controller: Arc<ObjectReference>,
    lines: Vec<String>,
}

impl PendingEvents {
    /// A pod was evaluated. `controller` is its direct controller, and `before` its previous evaluation. Violations that the
    /// workload did not have are pending if `emits`.
    pub fn evaluated(
        &mut self,
        root: &WorkloadRoot,
        controller: &Arc<ObjectReference>,
        before: Option<&Evaluation>,
        evaluation: &Evaluation,
        emits: bool,
    ) {
        let places = |evaluation: &Evaluation| evaluation.violations.iter().map(place).collect::<BTreeSet<_>>();
        let now = places(evaluation);
        if !self.known.contains_key(root) {
            if now.is_empty() {
                return;
            }
            self.remember(root);
        }
        let known = self.known.entry(root.clone()).or_default();
        let before = before.map(places);
        // A new pod shows what its template has; a known one, what has changed. The order of the first evaluation says nothing.
        match &before {
            Some(before) => known.retain(|place| !before.contains(place) || now.contains(place)),
            None if emits => known.retain(|place| now.contains(place)),
            None => {}
        }
        let mut seen: BTreeSet<Place> = known.iter().cloned().collect();
        let mut is_new = |place: Place| {
            let had = before.as_ref().is_some_and(|before| before.contains(&place));
            let is_first = seen.insert(place.clone());
            if is_first {
                known.push(place);
            }
            is_first && !had
        };
        let new = evaluation.violations.iter().filter(|violation| is_new(place(violation)));
        let lines: Vec<String> = new.map(|violation| format!("{} ({})", violation.line(), violation.check)).collect();
        // While the status cannot be written, no events are taken.
        if emits && self.pending.len() >= MAX_REMEMBERED && !self.pending.contains_key(root) {
            self.more += lines.len();
        } else if emits && !lines.is_empty() {
            let entry = self.pending.entry(root.clone());
            entry.or_insert_with(|| Entry { controller: controller.clone(), lines: Vec::new() }).lines.extend(lines);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Removes all, and forgets the known violations.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Removes all, and returns the events about them: one about the policy, and one about each workload.
    pub fn take(&mut self, policy: ObjectReference) -> Vec<PendingEvent> {
        let entries = std::mem::take(&mut self.pending);
        let more = std::mem::take(&mut self.more);
        let all = entries.values().flat_map(|entry| entry.lines.iter().cloned()).collect();
        let of_workload = |Entry { controller, lines }| event(ObjectReference::clone(&controller), lines, 0);
        let workloads = entries.into_values().take(MAX_WORKLOADS).map(of_workload);
        std::iter::once(event(policy, all, more)).chain(workloads).collect()
    }

    fn remember(&mut self, root: &WorkloadRoot) {
        self.order.push_back(root.clone());
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

fn place(violation: &Violation) -> Place {
    (violation.check.clone(), violation.container.clone(), violation.field.clone())
}

/// An event about these violations, and `more` that are not listed.
fn event(reference: ObjectReference, lines: Vec<String>, more: usize) -> PendingEvent {
    let note = format!("{}: {}", number(lines.len() + more, "new violation"), lines.join("; "));
    PendingEvent { reference, is_normal: false, reason: "Violation", note }
}

#[cfg(test)]
mod tests {
    use kube_devops_core::{Severity, testing};

    use super::*;

    fn root(name: &str) -> WorkloadRoot {
        WorkloadRoot { kind: "Deployment".into(), name: name.into() }
    }

    fn evaluation(checks: &[&str]) -> Evaluation {
        let violations = checks.iter().map(|check| testing::violation(check, Severity::High, "web-0")).collect();
        Evaluation { violations, ..Evaluation::default() }
    }

    /// A pod of a workload was evaluated. Returns the number of lines that are pending then.
    fn evaluate(events: &mut PendingEvents, name: &str, before: Option<&[&str]>, checks: &[&str]) -> usize {
        let controller = Arc::new(ObjectReference { name: Some(name.to_owned()), ..ObjectReference::default() });
        let before = before.map(evaluation);
        events.evaluated(&root(name), &controller, before.as_ref(), &evaluation(checks), true);
        events.pending.values().map(|entry| entry.lines.len()).sum()
    }

    #[test]
    fn the_pods_of_a_workload_repeat_no_violation() {
        let mut events = PendingEvents::default();
        assert_eq!(evaluate(&mut events, "web", None, &["a"]), 1);
        assert_eq!(evaluate(&mut events, "web", None, &["a"]), 1, "another pod");
        assert_eq!(evaluate(&mut events, "web", Some(&["a"]), &["a", "b"]), 2, "a new violation of a known pod");
        assert_eq!(evaluate(&mut events, "other", None, &["a"]), 3, "another workload");
        let emitted = events.take(ObjectReference::default());
        assert_eq!(emitted.len(), 3);
        assert!(emitted[0].note.starts_with("3 new violations: "), "{emitted:?}");
        assert!(emitted.iter().all(|event| !event.is_normal && event.reason == "Violation"));
        assert!(events.is_empty());
        assert_eq!(evaluate(&mut events, "web", None, &["a", "b"]), 0, "a rollout with the same violations");
    }

    #[test]
    fn a_violation_that_was_fixed_is_new_again() {
        let mut events = PendingEvents::default();
        evaluate(&mut events, "web", None, &["a"]);
        events.take(ObjectReference::default());
        assert_eq!(evaluate(&mut events, "web", None, &[]), 0, "the pod of a fixed template");
        assert_eq!(evaluate(&mut events, "web", None, &["a"]), 1);
        assert_eq!(evaluate(&mut events, "web", Some(&["a"]), &[]), 1, "the pod itself is fine again");
        assert_eq!(evaluate(&mut events, "web", Some(&[]), &["a"]), 2);
    }

    #[test]
    fn the_first_evaluation_emits_nothing_and_is_remembered() {
        let mut events = PendingEvents::default();
        events.evaluated(&root("web"), &Arc::default(), None, &evaluation(&["a"]), false);
        assert!(events.is_empty());
        // The other pod of a rollout has no violation.
        events.evaluated(&root("web"), &Arc::default(), None, &evaluation(&[]), false);
        assert_eq!(evaluate(&mut events, "web", None, &["a"]), 0);
        assert_eq!(evaluate(&mut events, "web", None, &[]), 0);
        assert_eq!(evaluate(&mut events, "web", Some(&["a"]), &["a"]), 0, "an edit of the policy");
        events.clear();
        assert_eq!(evaluate(&mut events, "web", None, &["a"]), 1);
    }

    #[test]
    fn a_limited_number_of_workloads_gets_an_event_and_is_remembered() {
        let mut events = PendingEvents::default();
        for index in 0..MAX_REMEMBERED + 20 {
            evaluate(&mut events, &format!("web-{index:05}"), None, &["a"]);
        }
        assert_eq!((events.known.len(), events.order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        let emitted = events.take(ObjectReference::default());
        assert_eq!(emitted.len(), 1 + MAX_WORKLOADS);
        assert!(emitted[0].note.starts_with("10020 new violations: "));
    }
}
