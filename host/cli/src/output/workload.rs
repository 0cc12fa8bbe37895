//! Violations grouped by workload, which is the unit to fix.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use kube_devops_core::{Severity, Source, Violation};

/// The file, document and line of an object.
type Object<'a> = (&'a str, usize, usize);

/// A workload, or a pod without a controller, and its violations.
pub struct Workload<'a> {
    /// `None` in the report on manifests or on one cluster.
    pub cluster: Option<&'a str>,
    pub namespace: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    /// The number of pods of the workload that have violations; `None` if the object itself was evaluated.
    pub pods: Option<usize>,
    /// The total penalty of the violations.
    pub penalty: u64,
    /// The highest severity of the violations.
    severity: Severity,
    violations: Vec<&'a Violation>,
}

/// A violation, which the pods of a workload usually share.
pub struct Line<'a> {
    pub violation: &'a Violation,
    /// The number of objects with this violation: pods, unless there is only one.
    pub pods: usize,
}

/// Returns the workloads, sorted by the severity of their worst violation and by penalty. Violations that fail a gate on
/// severity are therefore never listed after less severe ones with a higher total penalty.
pub fn most_severe_first(violations: &[Violation]) -> Vec<Workload<'_>> {
    // Manifests of several environments can contain the same object: the place in the file distinguishes them.
    type Key<'a> = (Option<&'a str>, &'a str, &'a str, &'a str, Option<Object<'a>>);
    let mut found: BTreeMap<Key, usize> = BTreeMap::new();
    let mut workloads: Vec<Workload> = Vec::new();
    let mut last: Option<(Key, usize)> = None;
    for violation in violations {
        let (kind, name, source) = match &violation.controller {
            Some(controller) => (controller.kind.as_str(), controller.name.as_str(), None),
            None => (&*violation.kind, &*violation.name, violation.source.as_ref().map(Source::object)),
        };
        let namespace = &*violation.namespace;
        let cluster = violation.cluster.as_deref();
        let key = (cluster, namespace, kind, name, source);
        let index = match last {
            // The violations of an object are consecutive.
            Some((last, index)) if last == key => index,
            _ => *found.entry(key).or_insert_with(|| {
                let severity = violation.severity;
                workloads.push(Workload {
                    cluster,
                    namespace,
                    kind,
                    name,
                    pods: None,
                    penalty: 0,
                    severity,
                    violations: Vec::new(),
                });
                workloads.len() - 1
            }),
        };
        last = Some((key, index));
        let workload = &mut workloads[index];
        workload.penalty += violation.penalty();
        workload.severity = workload.severity.max(violation.severity);
        if violation.controller.is_some() && workload.violations.last().is_none_or(|last| last.name != violation.name) {
            *workload.pods.get_or_insert(0) += 1;
        }
        workload.violations.push(violation);
    }
    workloads.sort_by_cached_key(|workload| {
        let Workload { cluster, namespace, kind, name, penalty, severity, .. } = workload;
        (Reverse(*severity), Reverse(*penalty), *cluster, *namespace, *kind, *name)
    });
    workloads
}

impl<'a> Workload<'a> {
    /// Returns the violations, the most severe first.
    pub fn lines(&self) -> Vec<Line<'a>> {
        type Key<'a> = (&'a str, Option<&'a str>, Option<&'a str>, &'a str, Option<Object<'a>>);
        let mut found: BTreeMap<Key, usize> = BTreeMap::new();
        let mut lines: Vec<Line> = Vec::new();
        // A check may report the same twice. The violations of an object are consecutive.
        let mut last: Vec<Option<&str>> = Vec::new();
        for violation in &self.violations {
            let Violation { check, container, field, message, source, .. } = violation;
            let source = source.as_ref().map(Source::object);
            let key = (&**check, container.as_deref(), field.as_deref(), &**message, source);
            let index = *found.entry(key).or_insert_with(|| {
                lines.push(Line { violation, pods: 0 });
                last.push(None);
                lines.len() - 1
            });
            let before = last[index].replace(&violation.name);
            lines[index].pods += usize::from(before != Some(&*violation.name));
        }
        lines.sort_by_key(|line| (Reverse(line.violation.severity), Reverse(line.violation.penalty())));
        lines
    }
}

#[cfg(test)]
mod tests {
    use kube_devops_core::{Controller, testing};

    use super::*;

    #[test]
    fn a_line_counts_each_pod_once() {
        let controller =
            Some(Controller { group: "apps".to_owned(), kind: "ReplicaSet".to_owned(), name: "web".to_owned() }.into());
        let found = |name: &str, message: &str| Violation {
            controller: controller.clone(),
            message: message.into(),
            ..testing::violation("own", Severity::Low, name)
        };
        let violations = [found("a", "x"), found("a", "y"), found("a", "x"), found("b", "x")];
        let workloads = most_severe_first(&violations);
        let lines: Vec<_> =
            workloads[0].lines().iter().map(|line| (line.violation.message.to_string(), line.pods)).collect();
        assert_eq!(lines, [("x".to_owned(), 2), ("y".to_owned(), 1)]);
    }
}
