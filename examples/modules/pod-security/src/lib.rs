//! A pack of checks for controls of the Pod Security Standards, from facts alone.
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

use kube_devops_sdk::{Check, Container, Findings, Info, NoSettings, Severity, Subject, export_checks};

/// Declares a check without settings that evaluates a subject.
macro_rules! check {
    ($(#[$doc:meta])* $name:ident, $info:expr, $evaluate:expr) => {
        $(#[$doc])*
        pub struct $name;

        impl Check for $name {
            type Settings = NoSettings;

            fn info() -> Info {
                Info {
                    severity: Severity::High,
                    url: Some("https://kubernetes.io/docs/concepts/security/pod-security-standards/"),
                    ..$info
                }
            }

            fn new(_settings: NoSettings) -> Result<Self, String> {
                Ok(Self)
            }

            fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
                let evaluate: fn(&Subject<'_>, &mut Findings) = $evaluate;
                evaluate(subject, findings);
            }
        }
    };
}

/// Adds a finding for each container that violates a control.
fn containers(subject: &Subject<'_>, findings: &mut Findings, field: &str, message: &str, violates: fn(&Container<'_>) -> bool) {
    for (index, container) in subject.containers().enumerate() {
        if violates(&container) {
            findings.container(index, field, message);
        }
    }
}

check!(
    /// No host namespaces.
    HostNamespaces,
    Info::new("host-namespaces", "Pod shares a namespace of its node"),
    |subject, findings| {
        for (is_shared, name) in
            [(subject.host_network(), "hostNetwork"), (subject.host_pid(), "hostPID"), (subject.host_ipc(), "hostIPC")]
        {
            if is_shared {
                findings.pod(format!("sets {name}"));
            }
        }
    }
);

check!(
    /// No hostPath volumes.
    HostPath,
    Info::new("host-path", "Pod mounts a path of its node"),
    |subject, findings| {
        if subject.volume_types().any(|volume| volume == "hostPath") {
            findings.pod("has a hostPath volume");
        }
    }
);

check!(
    /// No privileged containers.
    Privileged,
    Info::new("privileged", "Container is privileged"),
    |subject, findings| {
        containers(subject, findings, "/securityContext/privileged", "is privileged", |container| {
            container.security_context().privileged
        });
    }
);

check!(
    /// No privilege escalation.
    PrivilegeEscalation,
    Info::new("privilege-escalation", "Container can gain privileges"),
    |subject, findings| {
        let message = "does not set allowPrivilegeEscalation to false";
        containers(subject, findings, "/securityContext/allowPrivilegeEscalation", message, |container| {
            container.security_context().allow_privilege_escalation != Some(false)
        });
    }
);

check!(
    /// No root user.
    NonRoot,
    Info::new("non-root", "Container can run as root"),
    |subject, findings| {
        let message = "does not set runAsNonRoot to true";
        containers(subject, findings, "/securityContext/runAsNonRoot", message, |container| {
            container.security_context().run_as_non_root != Some(true)
        });
    }
);

export_checks!(HostNamespaces, HostPath, Privileged, PrivilegeEscalation, NonRoot);
