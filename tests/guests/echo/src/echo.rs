//! The check.

use std::fmt::Write;

use kube_devops_sdk::{Check, Edit, Findings, Info, NoSettings, Subject};

/// The check.
pub struct Echo;

impl Check for Echo {
    type Settings = NoSettings;

    fn info() -> Info {
        Info { needs_annotations: true, remediates: true, ..guest_support::info("echo") }
    }

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        for (index, line) in lines(subject).into_iter().enumerate() {
            match index {
                0 => findings.pod(line),
                _ => findings.container(index - 1, "/name", line),
            }
        }
    }

    fn remediate(&self, subject: &Subject<'_>) -> Vec<Edit> {
        let edit = |value| Edit { container: None, field: "/echo".to_owned(), value };
        lines(subject).into_iter().map(edit).collect()
    }
}

/// The facts about the pod, and about each container.
pub fn lines(subject: &Subject<'_>) -> Vec<String> {
    let mut pod = format!("{:?}", subject.facts());
    let (labels, annotations) = (subject.labels().collect::<Vec<_>>(), subject.annotations().collect::<Vec<_>>());
    let _ = write!(pod, " {labels:?} {annotations:?} {:?}", subject.volume_types().collect::<Vec<_>>());
    let containers = subject.containers().map(|container| {
        let ports: Vec<u16> = container.ports().collect();
        format!("{:?} {ports:?}", container.facts())
    });
    std::iter::once(pod).chain(containers).collect()
}
