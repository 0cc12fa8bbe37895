//! Each workload is counted once: the spec of an object that another object of the input created is not evaluated
//! again.

use std::collections::HashSet;
use std::sync::Arc;

use kube_devops_core::{Controller, Subject};

/// Marks the subjects that another subject controls, and removes those without status. Returns the number of removed
/// subjects.
pub(crate) fn mark(subjects: &mut Vec<Subject>) -> usize {
    if subjects.iter().all(|subject| subject.controller.is_none()) {
        return 0;
    }
    let owners: HashSet<[Arc<str>; 4]> = subjects
        .iter()
        .map(|subject| {
            let Subject { namespace, group, kind, name, .. } = subject;
            [namespace.clone(), group.as_str().into(), kind.clone(), name.clone()]
        })
        .collect();
    let before = subjects.len();
    subjects.retain_mut(|subject| {
        let owner = subject.controller.as_ref();
        subject.is_owned = owner.is_some_and(|owner| {
            let Controller { group, kind, name } = &**owner;
            owners.contains(&[
                subject.namespace.clone(),
                group.as_str().into(),
                kind.as_str().into(),
                name.as_str().into(),
            ])
        });
        !subject.is_owned || subject.status.is_some()
    });
    before - subjects.len()
}

#[cfg(test)]
mod tests {
    use kube_devops_core::subject::{Phase, Status};

    use super::*;

    fn subject(kind: &str, name: &str, owner: Option<(&str, &str)>) -> Subject {
        let controller = owner.map(|(kind, name)| {
            Arc::new(Controller { kind: kind.to_owned(), name: name.to_owned(), ..Controller::default() })
        });
        Subject { kind: kind.into(), name: name.into(), controller, ..Subject::default() }
    }

    #[test]
    fn the_pod_of_a_workload_in_the_input_is_owned() {
        let status = Some(Status { phase: Phase::Running, pending_seconds: None });
        let mut subjects = vec![
            subject("Deployment", "web", None),
            subject("ReplicaSet", "web-1", Some(("Deployment", "web"))),
            Subject { status, ..subject("Pod", "web-1-x", Some(("ReplicaSet", "web-1"))) },
            Subject { status, ..subject("Pod", "other", Some(("ReplicaSet", "gone"))) },
        ];
        assert_eq!(mark(&mut subjects), 1);
        let marked: Vec<_> = subjects.iter().map(|subject| (&*subject.name, subject.is_owned)).collect();
        assert_eq!(marked, [("web", false), ("web-1-x", true), ("other", false)]);
    }
}
