//! Conversions between the types of the core and those of the contract: typed records, and the packed layout.

use kube_devops_core::{Container, ContainerKind, Phase, Quantities, RestartPolicy, Severity, Subject};
use kube_devops_facts::{self as facts, ContainerFacts, SubjectFacts, Writer};

use crate::bindings::check::devops::policy::types;

/// Writes a subject in the packed layout, with or without its annotations.
pub fn write(subject: &Subject, has_annotations: bool, writer: &mut Writer) {
    let controller = subject.controller.as_deref();
    writer.subject(&SubjectFacts {
        kind: &subject.kind,
        namespace: &subject.namespace,
        name: &subject.name,
        controller: controller.map(|owner| facts::Controller { kind: &owner.kind, name: &owner.name }),
        restart_policy: subject.restart_policy,
        service_account: &subject.pod.service_account,
        host_network: subject.pod.host_network,
        host_pid: subject.pod.host_pid,
        host_ipc: subject.pod.host_ipc,
        status: subject.status,
    });
    subject.labels.iter().for_each(|(key, value)| writer.label(key, value));
    if has_annotations {
        subject.annotations.iter().for_each(|(key, value)| writer.annotation(key, value));
    }
    subject.pod.volume_types.iter().for_each(|volume_type| writer.volume_type(volume_type));
    for container in &subject.containers {
        let facts = ContainerFacts {
            name: &container.name,
            kind: container.kind,
            image: &container.image,
            has_liveness_probe: container.has_liveness_probe,
            has_readiness_probe: container.has_readiness_probe,
            has_startup_probe: container.has_startup_probe,
            has_resource_requests: container.has_resource_requests,
            has_resource_limits: container.has_resource_limits,
            requests: container.requests,
            limits: container.limits,
            security_context: container.security_context,
            restart_count: container.restart_count,
        };
        writer.container(&facts, &container.ports);
    }
}

/// Converts a subject to a typed record, with or without its annotations.
pub fn subject(subject: &Subject, has_annotations: bool) -> types::Subject {
    types::Subject {
        kind: subject.kind.to_string(),
        namespace: subject.namespace.to_string(),
        name: subject.name.to_string(),
        labels: subject.labels.to_vec(),
        annotations: if has_annotations { subject.annotations.clone() } else { Vec::new() },
        controller: subject
            .controller
            .as_ref()
            .map(|controller| types::Controller { kind: controller.kind.clone(), name: controller.name.clone() }),
        restart_policy: match subject.restart_policy {
            RestartPolicy::Always => types::RestartPolicy::Always,
            RestartPolicy::OnFailure => types::RestartPolicy::OnFailure,
            RestartPolicy::Never => types::RestartPolicy::Never,
        },
        service_account: subject.pod.service_account.to_string(),
        host_network: subject.pod.host_network,
        host_pid: subject.pod.host_pid,
        host_ipc: subject.pod.host_ipc,
        volume_types: subject.pod.volume_types.iter().map(|volume_type| volume_type.clone().into_owned()).collect(),
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

fn container(container: &Container) -> types::Container {
    let context = container.security_context;
    types::Container {
        name: container.name.to_string(),
        kind: match container.kind {
            ContainerKind::App => types::ContainerKind::App,
            ContainerKind::Init => types::ContainerKind::Init,
            ContainerKind::Sidecar => types::ContainerKind::Sidecar,
            ContainerKind::Ephemeral => types::ContainerKind::Ephemeral,
        },
        image: container.image.to_string(),
        has_liveness_probe: container.has_liveness_probe,
        has_readiness_probe: container.has_readiness_probe,
        has_startup_probe: container.has_startup_probe,
        ports: container.ports.to_vec(),
        has_resource_requests: container.has_resource_requests,
        has_resource_limits: container.has_resource_limits,
        requests: quantities(container.requests),
        limits: quantities(container.limits),
        security_context: types::SecurityContext {
            privileged: context.privileged,
            allow_privilege_escalation: context.allow_privilege_escalation,
            read_only_root_filesystem: context.read_only_root_filesystem,
            run_as_non_root: context.run_as_non_root,
            run_as_user: context.run_as_user,
        },
        restart_count: container.restart_count,
    }
}

fn quantities(Quantities { cpu_millicores, memory_bytes }: Quantities) -> types::Quantities {
    types::Quantities { cpu_millicores, memory_bytes }
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
