//! `missing-readiness`: app containers must have a readiness probe.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Edit, Findings, Info, NoSettings, RequiredProbe, Severity, Stage, Subject};

const PROBE: RequiredProbe = RequiredProbe {
    field: "/readinessProbe",
    message: "has no readiness probe",
    is_set: |container| container.has_readiness_probe(),
};

/// The check.
pub struct MissingReadiness;

impl Check for MissingReadiness {
    type Settings = NoSettings;

    fn info() -> Info {
        Info {
            id: "missing-readiness",
            title: "Container has no readiness probe",
            description: "An app container without `readinessProbe`, or with one that has no handler (`exec`, `httpGet`, \
                          `tcpSocket` or `grpc`), which the API server rejects. Init, sidecar and ephemeral containers are excluded, as \
                          are pods that run to completion: pods of a Job or CronJob, and pods with a `restartPolicy` \
                          other than `Always`.",
            rationale: "Without a readiness probe, a pod receives traffic as soon as its containers have started, before it can serve requests. Requests fail during every rollout, and a pod still receives traffic after one of its dependencies has failed.",
            remedy: "Add a probe that succeeds only if the container can serve requests:\n\n```yaml\nreadinessProbe:\n  httpGet: { path: /ready, port: 8080 }\n  initialDelaySeconds: 5\n  periodSeconds: 10\n```",
            stage: Stage::Spec,
            severity: Severity::Medium,
            weight: 2,
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
        assert_requires_probe(&MissingReadiness, PROBE.field, |container| container.has_readiness_probe = true);
    }
}
