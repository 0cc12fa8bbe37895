//! Each workload is counted once: the spec of an object that another object of the input created is not evaluated
//! again.
//!
//! The author of a manifest writes the owners, and the API server does not verify them. So an object is left out only if its
//! kind is one that controllers create from a template, if it runs what the template of its owner contains, and if the chain of its
//! owners ends at an object that is evaluated. During a rollout, the old ReplicaSet runs something else than its Deployment.

use std::collections::HashMap;

use kube_devops_core::{Container, Controller, Subject};

/// Marks the subjects that another subject controls, and removes those without status. Returns the number of removed
/// subjects.
///
/// The subjects must be those that are evaluated: a subject that is filtered out must not hide those that it controls.
pub fn leave_out_owned(subjects: &mut Vec<Subject>) -> usize {
    if subjects.iter().all(|subject| subject.controller.is_none()) {
        return 0;
    }
    let chains = Chains::of(subjects);
    let before = subjects.len();
    for (position, subject) in subjects.iter_mut().enumerate() {
        subject.workload = chains.end(position);
    }
    subjects.retain(|subject| subject.workload.is_none() || subject.status.is_some());
    before - subjects.len()
}

/// Limits the time for many objects with the same name. No kind has more pod templates in practice.
const MAX_TEMPLATES: usize = 16;

/// The owners of subjects.
struct Chains {
    /// The position of the owner of each subject; `None` if the subject is evaluated regardless of its owners.
    owners: Vec<Option<usize>>,
    /// Whether the chain of the owners of each subject ends. It does not if it contains a cycle.
    ends: Vec<bool>,
}

impl Chains {
    fn of(subjects: &[Subject]) -> Self {
        let mut positions: HashMap<_, Vec<usize>> = HashMap::with_capacity(subjects.len());
        let mut first_of_name = Vec::with_capacity(subjects.len());
        for (position, Subject { namespace, group, kind, name, .. }) in subjects.iter().enumerate() {
            // A pod creates no pods.
            if is_pod(group, kind) {
                first_of_name.push(position);
                continue;
            }
            let same = positions.entry((&**namespace, group.as_str(), &**kind, &**name)).or_default();
            if same.len() < MAX_TEMPLATES {
                same.push(position);
            }
            first_of_name.push(same[0]);
        }
        let owner = |subject: &Subject| {
            let Controller { group, kind, name } = subject.controller.as_deref()?;
            let is_created = is_created_from_a_template(&subject.group, &subject.kind);
            let key = (&*subject.namespace, group.as_str(), kind.as_str(), name.as_str());
            let mut owners = positions.get(&key).filter(|_| is_created)?.iter().copied();
            owners.find(|&owner| runs_the_template_of(subject, &subjects[owner]))
        };
        let owners: Vec<_> = subjects.iter().map(owner).collect();
        let mut ends = vec![None; subjects.len()];
        // Which of several objects with the same name and different owners runs is not known.
        for (position, first) in first_of_name.into_iter().enumerate() {
            if owners[position] != owners[first] {
                (ends[position], ends[first]) = (Some(false), Some(false));
            }
        }
        Self { ends: follow(&owners, ends), owners }
    }

    /// The end of the chain of the owners of a subject, if it has an owner and the chain ends.
    fn end(&self, position: usize) -> Option<usize> {
        let owner = self.owners[position].filter(|_| self.ends[position])?;
        // The chain has no cycle.
        std::iter::successors(Some(owner), |owner| self.owners[*owner]).last()
    }
}

/// Reports for each position whether the chain of its owners ends. Some of the answers can be known before.
fn follow(owners: &[Option<usize>], mut ends: Vec<Option<bool>>) -> Vec<bool> {
    let mut chain = Vec::new();
    for start in 0..owners.len() {
        let mut position = start;
        let end = loop {
            if let Some(known) = ends[position] {
                break known;
            }
            // The chain has a cycle if it returns here.
            ends[position] = Some(false);
            chain.push(position);
            match owners[position] {
                Some(owner) => position = owner,
                None => break true,
            }
        };
        for position in chain.drain(..) {
            ends[position] = Some(end);
        }
    }
    ends.into_iter().map(|ends| ends == Some(true)).collect()
}

/// Reports whether the facts about an object are those about the template of its owner, as far as the API server and the controllers
/// of Kubernetes do not change them: they add labels, the default ServiceAccount and the volume of its token.
fn runs_the_template_of(owned: &Subject, owner: &Subject) -> bool {
    // The history of an owner runs nothing by itself, and the pods of an old revision differ from the template.
    if &*owned.kind == "ControllerRevision" {
        return true;
    }
    let (pod, template) = (&owned.pod, &owner.pod);
    // Exports are often reduced to the fields that matter to their reader, so that labels can be missing.
    let agree = |pairs: &[(String, String)], template: &[(String, String)]| {
        template.iter().all(|(key, value)| {
            pairs.binary_search_by(|(other, _)| other.cmp(key)).map_or(true, |place| pairs[place].1 == *value)
        })
    };
    // Checks that read complete objects can find differences that the facts do not have.
    owned.object.is_none()
        && owned.restart_policy == owner.restart_policy
        && owned.containers.len() == owner.containers.len()
        && owned.containers.iter().zip(&owner.containers).all(|(one, other)| is_same_container(one, other))
        && agree(&owned.labels, &owner.labels)
        && agree(&owned.annotations, &owner.annotations)
        && account(&pod.service_account) == account(&template.service_account)
        && (pod.host_network, pod.host_pid, pod.host_ipc)
            == (template.host_network, template.host_pid, template.host_ipc)
        && template.volume_types.iter().all(|volume_type| pod.volume_types.contains(volume_type))
        && pod
            .volume_types
            .iter()
            .all(|volume_type| template.volume_types.contains(volume_type) || is_added_volume(volume_type, &owner.kind))
}

/// Whether a controller adds volumes of a type to the pods of a kind: the token of the ServiceAccount, and the volumes of the claims that a
/// StatefulSet creates.
fn is_added_volume(volume_type: &str, kind: &str) -> bool {
    let has_claims = matches!(kind, "StatefulSet" | "CloneSet");
    volume_type == "projected" || has_claims && volume_type == "persistentVolumeClaim"
}

/// Compares containers without their state, and without their places in the object.
fn is_same_container(one: &Container, other: &Container) -> bool {
    Container { restart_count: one.restart_count, place: one.place, ..other.clone() } == *one
}

fn account(name: &str) -> &str {
    if name.is_empty() { "default" } else { name }
}

fn is_pod(group: &str, kind: &str) -> bool {
    (group, kind) == ("", "Pod")
}

/// Reports whether controllers create objects of a kind from the template of another object. Everything else, such as the
/// Deployment of a custom resource, can have another spec than its owner.
fn is_created_from_a_template(group: &str, kind: &str) -> bool {
    is_pod(group, kind)
        || matches!(
            (group, kind),
            ("", "ReplicationController") | ("apps", "ReplicaSet" | "ControllerRevision") | ("batch", "Job")
        )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube_devops_core::subject::{Phase, Status};

    use super::*;

    fn group(kind: &str) -> String {
        match kind {
            "Pod" => "",
            "Job" | "CronJob" => "batch",
            "Deployment" | "ReplicaSet" | "StatefulSet" | "ControllerRevision" => "apps",
            _ => "example.com",
        }
        .to_owned()
    }

    fn subject(kind: &str, name: &str, owner: Option<(&str, &str)>) -> Subject {
        let controller = owner
            .map(|(kind, name)| Controller { group: group(kind), kind: kind.to_owned(), name: name.to_owned() }.into());
        Subject { group: group(kind), kind: kind.into(), name: name.into(), controller, ..Subject::default() }
    }

    /// Returns the names of the subjects whose spec is evaluated.
    fn evaluated(mut subjects: Vec<Subject>) -> Vec<String> {
        leave_out_owned(&mut subjects);
        subjects.iter().filter(|subject| subject.workload.is_none()).map(|subject| subject.name.to_string()).collect()
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
        assert_eq!(leave_out_owned(&mut subjects), 1);
        let marked: Vec<_> = subjects.iter().map(|subject| (&*subject.name, subject.workload)).collect();
        assert_eq!(marked, [("web", None), ("web-1-x", Some(0)), ("other", None)]);
    }

    #[test]
    fn objects_with_a_spec_of_their_own_are_evaluated_regardless_of_their_owners() {
        let subjects = vec![
            subject("Deployment", "itself", Some(("Deployment", "itself"))),
            subject("Deployment", "other", Some(("Deployment", "itself"))),
            subject("Deployment", "of-a-custom-resource", Some(("Database", "db"))),
            subject("Database", "db", None),
            subject("Pod", "of-a-pod", Some(("Pod", "of-nothing"))),
            subject("Pod", "of-nothing", None),
            subject("CronJob", "nightly", None),
            subject("Job", "nightly-1", Some(("CronJob", "nightly"))),
            subject("Pod", "nightly-1-x", Some(("Job", "nightly-1"))),
            subject("ControllerRevision", "gone-1", Some(("StatefulSet", "gone"))),
            subject("StatefulSet", "store", None),
            subject("ControllerRevision", "store-1", Some(("StatefulSet", "store"))),
        ];
        let expected =
            ["itself", "other", "of-a-custom-resource", "db", "of-a-pod", "of-nothing", "nightly", "gone-1", "store"];
        assert_eq!(evaluated(subjects), expected);
    }

    #[test]
    fn objects_that_own_each_other_are_evaluated_and_so_are_their_pods() {
        let subjects = vec![
            subject("Pod", "a-x", Some(("ReplicaSet", "a"))),
            subject("ReplicaSet", "a", Some(("ReplicaSet", "b"))),
            subject("ReplicaSet", "b", Some(("ReplicaSet", "a"))),
            subject("ReplicaSet", "itself", Some(("ReplicaSet", "itself"))),
            subject("Pod", "itself-x", Some(("ReplicaSet", "itself"))),
            subject("Deployment", "web", None),
            subject("ReplicaSet", "web-1", Some(("Deployment", "web"))),
            subject("Pod", "web-1-x", Some(("ReplicaSet", "web-1"))),
        ];
        assert_eq!(evaluated(subjects), ["a-x", "a", "b", "itself", "itself-x", "web"]);
    }

    #[test]
    fn another_object_with_the_same_name_does_not_hide_a_cycle() {
        let subjects = vec![
            subject("ReplicaSet", "a", None),
            subject("ReplicaSet", "a", Some(("ReplicaSet", "b"))),
            subject("ReplicaSet", "b", Some(("ReplicaSet", "a"))),
            subject("ReplicaSet", "c", None),
            subject("ReplicaSet", "c", Some(("ReplicaSet", "c"))),
        ];
        assert_eq!(evaluated(subjects), ["a", "a", "b", "c", "c"]);
        let twice = || subject("ReplicaSet", "web-1", Some(("Deployment", "web")));
        assert_eq!(evaluated(vec![twice(), subject("Deployment", "web", None), twice()]), ["web"]);
    }

    fn container(image: &str) -> Container {
        Container { name: "web".into(), image: image.into(), ..Container::default() }
    }

    #[test]
    fn objects_that_differ_from_the_template_of_their_owner_are_evaluated() {
        let owner = || Subject {
            containers: vec![container("nginx:1")],
            labels: [("app".to_owned(), "web".to_owned())].into(),
            ..subject("ReplicaSet", "web-1", None)
        };
        let owned = || Subject {
            labels: [("app", "web"), ("pod-template-hash", "1")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            kind: "Pod".into(),
            group: String::new(),
            name: "web-1-x".into(),
            controller: subject("Pod", "", Some(("ReplicaSet", "web-1"))).controller,
            ..owner()
        };
        let mut with_token = owned();
        with_token.pod.volume_types = vec!["projected".into()];
        with_token.pod.service_account = "default".into();
        with_token.containers[0].restart_count = Some(3);
        for same in [owned(), with_token] {
            assert_eq!(evaluated(vec![same, owner()]), ["web-1"]);
        }
        let changes: [fn(&mut Subject); 10] = [
            |subject| subject.containers[0].image = "nginx:latest".into(),
            |subject| subject.containers[0].security_context.privileged = true,
            |subject| subject.containers.push(container("nginx:1")),
            |subject| subject.containers.clear(),
            |subject| Arc::make_mut(&mut subject.labels)[0].1 = "other".to_owned(),
            |subject| subject.pod.host_network = true,
            |subject| subject.pod.service_account = "admin".into(),
            |subject| subject.pod.volume_types = vec!["hostPath".into()],
            |subject| subject.pod.volume_types = vec!["persistentVolumeClaim".into()],
            |subject| subject.object = Some(Default::default()),
        ];
        for change in changes {
            let mut other = owned();
            change(&mut other);
            assert_eq!(evaluated(vec![other, owner()]), ["web-1-x", "web-1"]);
        }
    }

    #[test]
    fn the_claims_and_the_history_of_a_stateful_set_are_no_difference() {
        let set = || Subject { containers: vec![container("db:2")], ..subject("StatefulSet", "db", None) };
        let owned = |kind: &str, name: &str, image: &str| Subject {
            containers: vec![container(image)],
            ..subject(kind, name, Some(("StatefulSet", "db")))
        };
        let mut pod = owned("Pod", "db-0", "db:2");
        pod.pod.volume_types = vec!["persistentVolumeClaim".into(), "projected".into()];
        let revision = || owned("ControllerRevision", "db-1", "db:1");
        assert_eq!(evaluated(vec![set(), pod, revision()]), ["db"]);
        assert_eq!(evaluated(vec![set(), owned("Pod", "db-0", "db:1")]), ["db", "db-0"]);
        assert_eq!(evaluated(vec![revision()]), ["db-1"]);
    }

    #[test]
    fn an_object_is_compared_with_all_templates_of_its_owner() {
        let template = |image| Subject { containers: vec![container(image)], ..subject("Database", "db", None) };
        let job =
            |image| Subject { containers: vec![container(image)], ..subject("Job", "db-1", Some(("Database", "db"))) };
        assert_eq!(evaluated(vec![template("a:1"), template("b:1"), job("b:1")]), ["db", "db"]);
        assert_eq!(evaluated(vec![template("a:1"), template("b:1"), job("c:1")]), ["db", "db", "db-1"]);
    }

    #[test]
    fn a_workload_that_is_filtered_out_does_not_hide_its_pods() {
        let mut subjects = vec![
            subject("Deployment", "web", None),
            subject("ReplicaSet", "web-1", Some(("Deployment", "web"))),
            subject("Pod", "web-1-x", Some(("ReplicaSet", "web-1"))),
        ];
        assert_eq!(evaluated(subjects.clone()), ["web"]);
        subjects.remove(0);
        assert_eq!(evaluated(subjects), ["web-1"]);
    }

    #[test]
    fn the_time_for_long_chains_is_linear() {
        let subjects = (0..50_000_usize).map(|index| {
            let before = index.checked_sub(1).map(|before| format!("r{before}"));
            subject("ReplicaSet", &format!("r{index}"), before.as_deref().map(|before| ("ReplicaSet", before)))
        });
        assert_eq!(evaluated(subjects.rev().collect()), ["r0"]);
    }
}
