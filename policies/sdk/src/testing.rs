//! Builders of subjects, for the unit tests of checks.

use kube_devops_facts::{ContainerKind, Phase};

use crate::bindings::check::devops::policy::types;
use crate::{Check, Edit, Finding, typed};

/// The facts as records of the contract, whose fields a test can set.
pub use types::{Container, Controller, Quantities, RestartPolicy, SecurityContext, Status, Subject};

/// Returns a pod `web` in the namespace `default` with these containers, the restart policy `Always` and no status.
pub fn pod(containers: Vec<Container>) -> Subject {
    Subject {
        kind: "Pod".to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        labels: Vec::new(),
        annotations: Vec::new(),
        controller: None,
        restart_policy: RestartPolicy::Always,
        service_account: String::new(),
        host_network: false,
        host_pid: false,
        host_ipc: false,
        volume_types: Vec::new(),
        containers,
        status: None,
    }
}

/// Returns the same subject with a controller.
pub fn owned_by(subject: Subject, kind: &str) -> Subject {
    Subject { controller: Some(Controller { kind: kind.to_owned(), name: "owner".to_owned() }), ..subject }
}

/// Returns the same subject with a status.
pub fn with_status(subject: Subject, phase: Phase, pending_seconds: Option<u64>) -> Subject {
    let phase = match phase {
        Phase::Pending => types::Phase::Pending,
        Phase::Running => types::Phase::Running,
        Phase::Succeeded => types::Phase::Succeeded,
        Phase::Failed => types::Phase::Failed,
        Phase::Unknown => types::Phase::Unknown,
    };
    Subject { status: Some(Status { phase, pending_seconds }), ..subject }
}

/// Returns a container `app` with a kind and an image, without probes, ports, resources and security context.
pub fn container(kind: ContainerKind, image: &str) -> Container {
    let nothing = Quantities { cpu_millicores: None, memory_bytes: None };
    Container {
        name: "app".to_owned(),
        kind: match kind {
            ContainerKind::App => types::ContainerKind::App,
            ContainerKind::Init => types::ContainerKind::Init,
            ContainerKind::Sidecar => types::ContainerKind::Sidecar,
            ContainerKind::Ephemeral => types::ContainerKind::Ephemeral,
        },
        image: image.to_owned(),
        has_liveness_probe: false,
        has_readiness_probe: false,
        has_startup_probe: false,
        ports: Vec::new(),
        has_resource_requests: false,
        has_resource_limits: false,
        requests: nothing,
        limits: nothing,
        security_context: SecurityContext {
            privileged: false,
            allow_privilege_escalation: None,
            read_only_root_filesystem: false,
            run_as_non_root: None,
            run_as_user: None,
        },
        restart_count: None,
    }
}

/// Returns the findings of a check about a subject.
pub fn findings_of<C: Check>(check: &C, subject: &Subject) -> Vec<Finding> {
    typed::evaluate(&[check], std::slice::from_ref(subject))
}

/// Returns the edits of a check for a subject.
pub fn edits_of<C: Check>(check: &C, subject: &Subject) -> Vec<Edit> {
    typed::remediate(check, subject)
}

/// Asserts that a check requires a probe of all app containers of subjects that do not run to completion, and of no others.
///
/// `field` is the JSON Pointer to the probe, and `set` adds the probe to a container.
///
/// # Panics
///
/// If it does not.
pub fn assert_requires_probe<C: Check>(check: &C, field: &str, set: fn(&mut Container)) {
    let app = || container(ContainerKind::App, "nginx:1");
    let all_probes =
        || Container { has_liveness_probe: true, has_readiness_probe: true, has_startup_probe: true, ..app() };
    let found = |containers: Vec<Container>| {
        let findings = findings_of(check, &pod(containers));
        assert!(findings.iter().all(|finding| finding.field.as_deref() == Some(field)), "{findings:?}");
        findings.iter().map(|finding| finding.container).collect::<Vec<_>>()
    };
    let others = [ContainerKind::Init, ContainerKind::Sidecar, ContainerKind::Ephemeral];
    let mut containers = others.map(|kind| container(kind, "nginx:1")).to_vec();
    containers.extend([app(), all_probes()]);
    assert_eq!(found(containers), [Some(3)], "only app containers need the probe");

    let mut probed = app();
    set(&mut probed);
    assert!(found(vec![probed]).is_empty());
    // The other probes do not replace this one.
    let mut with_others = all_probes();
    let mut only = app();
    set(&mut only);
    with_others.has_liveness_probe &= !only.has_liveness_probe;
    with_others.has_readiness_probe &= !only.has_readiness_probe;
    with_others.has_startup_probe &= !only.has_startup_probe;
    assert_eq!(found(vec![with_others]), [Some(0)]);

    for restart_policy in [RestartPolicy::Never, RestartPolicy::OnFailure] {
        let subject = Subject { restart_policy, ..pod(vec![app()]) };
        assert!(findings_of(check, &subject).is_empty(), "{subject:?}");
        assert!(edits_of(check, &subject).is_empty(), "{subject:?}");
    }
    for controller in ["ReplicaSet", "Job"] {
        assert_eq!(findings_of(check, &owned_by(pod(vec![app()]), controller)).len(), 1, "{controller}");
    }
    let of_another_group = Subject { kind: "Job".to_owned(), ..pod(vec![app()]) };
    assert_eq!(findings_of(check, &of_another_group).len(), 1);

    let edits = edits_of(check, &pod(vec![Container { ports: vec![9000, 1], ..app() }, app(), all_probes()]));
    let values: Vec<_> = edits.iter().map(|edit| edit.value.as_str()).collect();
    let probe = |port| format!(r#"{{"tcpSocket":{{"port":{port}}},"initialDelaySeconds":5,"periodSeconds":10}}"#);
    assert_eq!(values, [probe(9000), probe(8080)], "a TCP probe on the first port, or on 8080");
    assert!(edits.iter().all(|edit| edit.field == field && edit.container.as_deref() == Some("app")), "{edits:?}");
}
