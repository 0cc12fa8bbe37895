//! Violations by workload: what one person has to mend in one place.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use kube_devops_core::{Severity, Source, Violation};

/// File, document and line of an object.
type Object<'a> = (&'a str, usize, usize);

/// A workload, or a pod that nothing controls, and what is wrong with it.
pub struct Workload<'a> {
    pub namespace: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    /// How many pods of the workload have violations; none where the object itself was judged.
    pub pods: Option<usize>,
    /// What the violations cost together.
    pub penalty: u64,
    /// The highest severity of the violations.
    severity: Severity,
    violations: Vec<&'a Violation>,
}

/// A violation, which all pods of a workload usually share.
pub struct Line<'a> {
    pub violation: &'a Violation,
    /// How many pods have it.
    pub times: usize,
}

/// The workloads, the worst first: those with the most severe violations, and among these those that cost the most. So
/// what fails a gate on severities is never behind what merely adds up.
pub fn worst_first(violations: &[Violation]) -> Vec<Workload<'_>> {
    // Manifests of several environments name the same object: the place in the file tells them apart.
    type Key<'a> = (&'a str, &'a str, &'a str, Option<Object<'a>>);
    let mut found: BTreeMap<Key, usize> = BTreeMap::new();
    let mut workloads: Vec<Workload> = Vec::new();
    let mut last: Option<(Key, usize)> = None;
    for violation in violations {
        let (kind, name, source) = match &violation.controller {
            Some(controller) => (controller.kind.as_str(), controller.name.as_str(), None),
            None => (&*violation.kind, &*violation.name, violation.source.as_ref().map(Source::object)),
        };
        let namespace = &*violation.namespace;
        let key = (namespace, kind, name, source);
        let index = match last {
            // Violations of one object follow one another.
            Some((last, index)) if last == key => index,
            _ => *found.entry(key).or_insert_with(|| {
                let severity = violation.severity;
                workloads.push(Workload {
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
        let Workload { namespace, kind, name, penalty, severity, .. } = workload;
        (Reverse(*severity), Reverse(*penalty), *namespace, *kind, *name)
    });
    workloads
}

impl<'a> Workload<'a> {
    /// The violations, the most severe first.
    pub fn lines(&self) -> Vec<Line<'a>> {
        type Key<'a> = (&'a str, Option<&'a str>, Option<&'a str>, &'a str, Option<Object<'a>>);
        let mut found: BTreeMap<Key, usize> = BTreeMap::new();
        let mut lines: Vec<Line> = Vec::new();
        for violation in &self.violations {
            let Violation { check, container, field, message, source, .. } = violation;
            let source = source.as_ref().map(Source::object);
            let key = (&**check, container.as_deref(), field.as_deref(), &**message, source);
            let index = *found.entry(key).or_insert_with(|| {
                lines.push(Line { violation, times: 0 });
                lines.len() - 1
            });
            lines[index].times += 1;
        }
        lines.sort_by_key(|line| (Reverse(line.violation.severity), Reverse(line.violation.penalty())));
        lines
    }
}
