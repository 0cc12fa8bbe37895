//! Each workload counts once: what another object of the same input made is not evaluated for what it was asked to run.

use std::collections::HashSet;

use kube_devops_core::Subject;

/// Marks the subjects that another subject controls, and drops those that have not run. Gives the number of those.
pub(crate) fn mark(subjects: &mut Vec<Subject>) -> usize {
    if subjects.iter().all(|subject| subject.controller.is_none()) {
        return 0;
    }
    let owners: HashSet<[String; 4]> = subjects
        .iter()
        .map(|subject| [&subject.namespace, &subject.group, &subject.kind, &subject.name].map(String::clone))
        .collect();
    let before = subjects.len();
    subjects.retain_mut(|subject| {
        let owner = subject.controller.as_ref();
        subject.is_owned = owner.is_some_and(|owner| {
            owners.contains(&[&subject.namespace, &owner.group, &owner.kind, &owner.name].map(String::clone))
        });
        !subject.is_owned || subject.status.is_some()
    });
    before - subjects.len()
}

#[cfg(test)]
mod tests {
    use kube_devops_core::Controller;
    use kube_devops_core::subject::{Phase, Status};

    use super::*;

    fn subject(kind: &str, name: &str, owner: Option<(&str, &str)>) -> Subject {
        let controller = owner.map(|(kind, name)| Controller {
            kind: kind.to_owned(),
            name: name.to_owned(),
            ..Controller::default()
        });
        Subject { kind: kind.to_owned(), name: name.to_owned(), controller, ..Subject::default() }
    }

    #[test]
    fn the_pod_of_a_workload_in_the_input_is_owned() {
        let status = Some(Status { phase: Phase::Running, pending_seconds: None });
        let mut subjects = vec![
            subject("Deployment", "web", None),
            subject("ReplicaSet", "web-1", Some(("Deployment", "web"))),
            Subject { status: status.clone(), ..subject("Pod", "web-1-x", Some(("ReplicaSet", "web-1"))) },
            Subject { status, ..subject("Pod", "other", Some(("ReplicaSet", "gone"))) },
        ];
        assert_eq!(mark(&mut subjects), 1);
        let marked: Vec<_> = subjects.iter().map(|subject| (subject.name.as_str(), subject.is_owned)).collect();
        assert_eq!(marked, [("web", false), ("web-1-x", true), ("other", false)]);
    }
}
