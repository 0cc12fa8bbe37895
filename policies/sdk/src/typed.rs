//! The typed records of the contract, which are written to the packed layout before checks read them.

use kube_devops_facts::{self as facts, Batch, ContainerFacts, SubjectFacts, Writer};

use crate::bindings::check::devops::policy::types;
use crate::export::{self, Evaluate};
use crate::{Edit, Finding};

pub use types::{Container, Subject};

/// Evaluates typed records.
pub fn evaluate(rules: &[&dyn Evaluate], subjects: &[Subject]) -> Vec<Finding> {
    let mut writer = Writer::default();
    subjects.iter().for_each(|subject| write(subject, &mut writer));
    let mut words = Vec::new();
    writer.words_for_all(std::iter::empty(), &mut words);
    export::evaluate(rules.iter().copied(), &Batch::new(&words, writer.text()))
}

/// Returns the edits that remediate a typed record.
pub fn remediate(rule: &dyn Evaluate, subject: &Subject) -> Vec<Edit> {
    let mut writer = Writer::default();
    write(subject, &mut writer);
    export::with_subject(&writer, |subject| rule.remediate(subject)).unwrap_or_default()
}

/// Writes a typed record.
pub(crate) fn write(subject: &Subject, writer: &mut Writer) {
    let controller = subject.controller.as_ref();
    writer.subject(&SubjectFacts {
        kind: &subject.kind,
        namespace: &subject.namespace,
        name: &subject.name,
        controller: controller.map(|owner| facts::Controller { kind: &owner.kind, name: &owner.name }),
        restart_policy: match subject.restart_policy {
            types::RestartPolicy::Always => facts::RestartPolicy::Always,
            types::RestartPolicy::OnFailure => facts::RestartPolicy::OnFailure,
            types::RestartPolicy::Never => facts::RestartPolicy::Never,
        },
        service_account: &subject.service_account,
        host_network: subject.host_network,
        host_pid: subject.host_pid,
        host_ipc: subject.host_ipc,
        status: subject.status.map(|status| facts::Status {
            phase: match status.phase {
                types::Phase::Pending => facts::Phase::Pending,
                types::Phase::Running => facts::Phase::Running,
                types::Phase::Succeeded => facts::Phase::Succeeded,
                types::Phase::Failed => facts::Phase::Failed,
                types::Phase::Unknown => facts::Phase::Unknown,
            },
            pending_seconds: status.pending_seconds,
        }),
    });
    subject.labels.iter().for_each(|(key, value)| writer.label(key, value));
    subject.annotations.iter().for_each(|(key, value)| writer.annotation(key, value));
    subject.volume_types.iter().for_each(|volume_type| writer.volume_type(volume_type));
    for container in &subject.containers {
        let context = container.security_context;
        let facts = ContainerFacts {
            name: &container.name,
            kind: match container.kind {
                types::ContainerKind::App => facts::ContainerKind::App,
                types::ContainerKind::Init => facts::ContainerKind::Init,
                types::ContainerKind::Sidecar => facts::ContainerKind::Sidecar,
                types::ContainerKind::Ephemeral => facts::ContainerKind::Ephemeral,
            },
            image: &container.image,
            has_liveness_probe: container.has_liveness_probe,
            has_readiness_probe: container.has_readiness_probe,
            has_startup_probe: container.has_startup_probe,
            has_resource_requests: container.has_resource_requests,
            has_resource_limits: container.has_resource_limits,
            requests: quantities(container.requests),
            limits: quantities(container.limits),
            security_context: facts::SecurityContext {
                privileged: context.privileged,
                allow_privilege_escalation: context.allow_privilege_escalation,
                read_only_root_filesystem: context.read_only_root_filesystem,
                run_as_non_root: context.run_as_non_root,
                run_as_user: context.run_as_user,
            },
            restart_count: container.restart_count,
        };
        writer.container(&facts, &container.ports);
    }
}

fn quantities(quantities: types::Quantities) -> facts::Quantities {
    let types::Quantities { cpu_millicores, memory_bytes } = quantities;
    facts::Quantities { cpu_millicores, memory_bytes }
}
