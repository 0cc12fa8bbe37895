//! Builders of subjects, for the unit tests of checks.

use crate::{Check, Container, ContainerKind, Controller, Findings, Phase, RestartPolicy, Status, Subject};

/// A pod `web` in the namespace `default` with these containers, always restarted, without a status.
pub fn pod(containers: Vec<Container>) -> Subject {
    Subject {
        kind: "Pod".to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        labels: Vec::new(),
        controller: None,
        restart_policy: RestartPolicy::Always,
        containers,
        status: None,
    }
}

/// The same subject with a controller.
pub fn owned_by(subject: Subject, kind: &str) -> Subject {
    Subject { controller: Some(Controller { kind: kind.to_owned(), name: "owner".to_owned() }), ..subject }
}

/// The same subject with a status.
pub fn with_status(subject: Subject, phase: Phase, pending_seconds: Option<u64>) -> Subject {
    Subject { status: Some(Status { phase, pending_seconds }), ..subject }
}

/// A container `app` of a kind and with an image, without probes, ports and resources.
pub fn container(kind: ContainerKind, image: &str) -> Container {
    Container {
        name: "app".to_owned(),
        kind,
        image: image.to_owned(),
        has_liveness_probe: false,
        has_readiness_probe: false,
        has_startup_probe: false,
        ports: Vec::new(),
        has_resource_requests: false,
        has_resource_limits: false,
        restart_count: None,
    }
}

/// What a check finds in one subject.
pub fn findings_of<C: Check>(check: &C, subject: &Subject) -> Vec<crate::Finding> {
    let mut findings = Findings::default();
    check.evaluate(subject, &mut findings);
    findings.into_list()
}
