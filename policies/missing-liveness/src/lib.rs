//! `missing-liveness`: app containers must have a liveness probe.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Edit, Findings, Info, NoSettings, RequiredProbe, Severity, Stage, Subject};

const PROBE: RequiredProbe = RequiredProbe {
    field: "/livenessProbe",
    message: "has no liveness probe",
    is_set: |container| container.has_liveness_probe(),
};

/// The check.
pub struct MissingLiveness;

impl Check for MissingLiveness {
    type Settings = NoSettings;

    fn info() -> Info {
        Info {
            id: "missing-liveness",
            title: "Container has no liveness probe",
            description: "An app container without `livenessProbe`, or with one that has no handler (`exec`, `httpGet`, \
                          `tcpSocket` or `grpc`), which the API server rejects. Init, sidecar and ephemeral containers are excluded, as \
                          are pods that run to completion: pods of a Job or CronJob, and pods with a `restartPolicy` \
                          other than `Always`.",
            rationale: "The kubelet does not detect a process that hangs without exiting. Without a liveness probe, the container is not restarted: the pod remains `Running` without serving requests until an operator notices.",
            remedy: "Add a probe that fails only if a restart is necessary. It should be inexpensive, and must not depend on other services:\n\n```yaml\nlivenessProbe:\n  httpGet: { path: /healthz, port: 8080 }\n  initialDelaySeconds: 5\n  periodSeconds: 10\n```",
            stage: Stage::Spec,
            severity: Severity::Medium,
            weight: 3,
            needs_annotations: false,
            remediates: true,
            url: Some(
                "https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/",
            ),
        }
    }

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        PROBE.evaluate(subject, findings);
    }

    fn remediate(&self, subject: &Subject<'_>) -> Vec<Edit> {
        PROBE.remediate(subject)
    }
}

#[cfg(test)]
mod tests {
    use kube_devops_sdk::testing::assert_requires_probe;

    use super::*;

    #[test]
    fn app_containers_need_the_probe_unless_the_pod_runs_to_completion() {
        assert_requires_probe(&MissingLiveness, PROBE.field, |container| container.has_liveness_probe = true);
    }
}
