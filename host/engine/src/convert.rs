//! Conversions between the types of the core and the types of the contract.

use kube_devops_core::{ContainerKind, Phase, RestartPolicy, Severity, Subject};

use crate::bindings::check::devops::policy::types;

/// Converts a subject to the type of the contract.
pub fn subject(subject: &Subject) -> types::Subject {
    types::Subject {
        kind: subject.kind.to_string(),
        namespace: subject.namespace.to_string(),
        name: subject.name.to_string(),
        labels: subject.labels.clone(),
        controller: subject
            .controller
            .as_ref()
            .map(|controller| types::Controller { kind: controller.kind.clone(), name: controller.name.clone() }),
        restart_policy: match subject.restart_policy {
            RestartPolicy::Always => types::RestartPolicy::Always,
            RestartPolicy::OnFailure => types::RestartPolicy::OnFailure,
            RestartPolicy::Never => types::RestartPolicy::Never,
        },
        containers: subject.containers.iter().map(container).collect(),
        status: subject.status.as_ref().map(|status| types::Status {
            phase: match status.phase {
                Phase::Pending => types::Phase::Pending,
                Phase::Running => types::Phase::Running,
                Phase::Succeeded => types::Phase::Succeeded,
                Phase::Failed => types::Phase::Failed,
                Phase::Unknown => types::Phase::Unknown,
            },
            pending_seconds: status.pending_seconds,
        }),
    }
}

fn container(container: &kube_devops_core::Container) -> types::Container {
    types::Container {
        name: container.name.to_string(),
        kind: match container.kind {
            ContainerKind::App => types::ContainerKind::App,
            ContainerKind::Init => types::ContainerKind::Init,
            ContainerKind::Sidecar => types::ContainerKind::Sidecar,
            ContainerKind::Ephemeral => types::ContainerKind::Ephemeral,
        },
        image: container.image.clone(),
        has_liveness_probe: container.has_liveness_probe,
        has_readiness_probe: container.has_readiness_probe,
        has_startup_probe: container.has_startup_probe,
        ports: container.ports.clone(),
        has_resource_requests: container.has_resource_requests,
        has_resource_limits: container.has_resource_limits,
        restart_count: container.restart_count,
    }
}

/// Converts a severity from the type of the contract.
pub fn severity(severity: types::Severity) -> Severity {
    match severity {
        types::Severity::Low => Severity::Low,
        types::Severity::Medium => Severity::Medium,
        types::Severity::High => Severity::High,
        types::Severity::Critical => Severity::Critical,
    }
}
