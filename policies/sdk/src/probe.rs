//! The common code of checks for a probe.

use crate::{Container, ContainerKind, Edit, Findings, RestartPolicy, Subject};

/// A probe that app containers must have.
pub struct RequiredProbe {
    /// JSON Pointer from a container to the probe.
    pub field: &'static str,
    /// The message about a container without it.
    pub message: &'static str,
    /// Reports whether a container has it.
    pub is_set: fn(&Container<'_>) -> bool,
}

impl RequiredProbe {
    /// Adds a finding for each container without the probe.
    pub fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        for (index, _) in self.missing(subject) {
            findings.container(index, self.field, self.message);
        }
    }

    /// Returns the edits that add a TCP probe to each container without the probe.
    pub fn remediate(&self, subject: &Subject<'_>) -> Vec<Edit> {
        self.missing(subject).map(|(_, container)| tcp_probe(&container, self.field)).collect()
    }

    fn missing<'s>(&self, subject: &Subject<'s>) -> impl Iterator<Item = (usize, Container<'s>)> + use<'s> {
        let is_set = self.is_set;
        probed_containers(subject).filter(move |(_, container)| !is_set(container))
    }
}

/// Returns the containers that should have probes: the app containers of a subject that does not run to completion,
/// with their indices.
///
/// Subjects with a restart policy other than `Always` run to completion; they do not receive traffic, and do not need restarts
/// if they become unresponsive. The host derives the policy from the group and kind of a workload, such as that of Jobs: the
/// kind alone, and the name of a controller, are only what an author has written.
fn probed_containers<'s>(subject: &Subject<'s>) -> impl Iterator<Item = (usize, Container<'s>)> + use<'s> {
    let completes = subject.restart_policy() != RestartPolicy::Always;
    subject.containers().enumerate().filter(move |(_, container)| !completes && container.kind() == ContainerKind::App)
}

/// Returns the edit that adds a TCP probe to a container, on its first port, or on 8080 if it declares none.
///
/// The delay of 5 seconds and the period of 10 seconds are the defaults of `defaultProbe` of a policy.
fn tcp_probe(container: &Container<'_>, field: &str) -> Edit {
    let port = container.ports().next().unwrap_or(8080);
    Edit {
        container: Some(container.name().to_owned()),
        field: field.to_owned(),
        value: format!(r#"{{"tcpSocket":{{"port":{port}}},"initialDelaySeconds":5,"periodSeconds":10}}"#),
    }
}
