//! New violations, until they are told as events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube_devops_core::{Evaluation, Violation};

use super::writes::PendingEvent;

/// The most workloads that are told of their new violations at a time.
const MOST_WORKLOADS: usize = 10;

/// New violations, by the uid of the workload.
#[derive(Default)]
pub struct PendingEvents(BTreeMap<String, Entry>);

struct Entry {
    workload: Arc<ObjectReference>,
    lines: Vec<String>,
}

impl PendingEvents {
    /// Adds the violations of a pod of the workload that were not known.
    pub fn compare(&mut self, workload: &Arc<ObjectReference>, known: Option<&Evaluation>, evaluation: &Evaluation) {
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

    /// Forgets them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The events that tell of them, which they need no more: one about the policy, and one about each workload.
    pub fn take(&mut self, policy: ObjectReference) -> Vec<PendingEvent> {
        let events = std::mem::take(&mut self.0);
        let all = events.values().flat_map(|entry| entry.lines.iter().cloned()).collect();
        let of_workload = |Entry { workload, lines }| violations(ObjectReference::clone(&workload), lines);
        let workloads = events.into_values().take(MOST_WORKLOADS).map(of_workload);
        std::iter::once(violations(policy, all)).chain(workloads).collect()
    }
}

fn violations(reference: ObjectReference, lines: Vec<String>) -> PendingEvent {
    let violations = if lines.len() == 1 { "violation" } else { "violations" };
    let note = format!("{} new {violations}: {}", lines.len(), lines.join("; "));
    PendingEvent { reference, is_fine: false, reason: "Violation", note }
}
