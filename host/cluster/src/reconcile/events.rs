//! New violations, until events about them are emitted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_core::{Evaluation, Violation};

use super::write::PendingEvent;

/// The most workloads that get an event at a time.
const MOST_WORKLOADS: usize = 10;

/// New violations, by the uid of the workload.
#[derive(Debug, Default)]
pub struct PendingEvents(BTreeMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    workload: Arc<ObjectReference>,
    lines: Vec<String>,
}

impl PendingEvents {
    /// Adds the violations of a pod of the workload that were not known.
    pub fn add_new(&mut self, workload: &Arc<ObjectReference>, known: Option<&Evaluation>, evaluation: &Evaluation) {
        let place =
            |violation: &Violation| (violation.check.clone(), violation.container.clone(), violation.field.clone());
        let known: BTreeSet<_> = known.iter().flat_map(|known| known.violations.iter().map(place)).collect();
        let new = evaluation.violations.iter().filter(|violation| !known.contains(&place(violation)));
        let lines: Vec<String> = new.map(|violation| format!("{} ({})", violation.line(), violation.check)).collect();
        if !lines.is_empty() {
            let entry = self.0.entry(workload.uid.clone().unwrap_or_default());
            entry.or_insert_with(|| Entry { workload: workload.clone(), lines: Vec::new() }).lines.extend(lines);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes all, and returns the events about them: one about the policy, and one about each workload.
    pub fn take(&mut self, policy: ObjectReference) -> Vec<PendingEvent> {
        let entries = std::mem::take(&mut self.0);
        let all = entries.values().flat_map(|entry| entry.lines.iter().cloned()).collect();
        let of_workload = |Entry { workload, lines }| event(ObjectReference::clone(&workload), lines);
        let workloads = entries.into_values().take(MOST_WORKLOADS).map(of_workload);
        std::iter::once(event(policy, all)).chain(workloads).collect()
    }
}

fn event(reference: ObjectReference, lines: Vec<String>) -> PendingEvent {
    let violations = if lines.len() == 1 { "violation" } else { "violations" };
    let note = format!("{} new {violations}: {}", lines.len(), lines.join("; "));
    PendingEvent { reference, is_normal: false, reason: "Violation", note }
}

#[cfg(test)]
mod tests {
    use kube_devops_core::{Severity, testing};

    use super::*;

    fn workload(name: &str) -> Arc<ObjectReference> {
        Arc::new(ObjectReference {
            name: Some(name.to_owned()),
            uid: Some(name.to_owned()),
            ..ObjectReference::default()
        })
    }

    fn evaluation(checks: &[&str]) -> Evaluation {
        let violations = checks.iter().map(|check| testing::violation(check, Severity::High, "web-0")).collect();
        Evaluation { violations, ..Evaluation::default() }
    }

    #[test]
    fn only_new_violations_are_emitted_and_only_once() {
        let mut events = PendingEvents::default();
        events.add_new(&workload("web"), Some(&evaluation(&["a"])), &evaluation(&["a"]));
        assert!(events.is_empty());
        events.add_new(&workload("web"), Some(&evaluation(&["a"])), &evaluation(&["a", "b"]));
        events.add_new(&workload("web"), None, &evaluation(&["c"]));
        let emitted = events.take(ObjectReference::default());
        let notes: Vec<&str> = emitted.iter().map(|event| event.note.as_str()).collect();
        let expected = "2 new violations: pod/web-0: container app: image nginx has no tag (b); \
            pod/web-0: container app: image nginx has no tag (c)";
        assert_eq!(notes, [expected, expected]);
        assert_eq!(emitted[1].reference.name.as_deref(), Some("web"));
        assert!(emitted.iter().all(|event| !event.is_normal && event.reason == "Violation"));
        assert!(events.is_empty());
    }

    #[test]
    fn a_limited_number_of_workloads_gets_an_event() {
        let mut events = PendingEvents::default();
        for index in 0..20 {
            events.add_new(&workload(&format!("web-{index}")), None, &evaluation(&["a"]));
        }
        let emitted = events.take(ObjectReference::default());
        assert_eq!(emitted.len(), 1 + MOST_WORKLOADS);
        assert!(emitted[0].note.starts_with("20 new violations: "));
        events.add_new(&workload("web"), None, &evaluation(&["a"]));
        events.clear();
        assert!(events.is_empty());
    }
}
