//! `missing-readiness`: app containers must have a readiness probe.
#![forbid(unsafe_code)]

use kube_devops_sdk::{
    Check, Edit, Findings, Info, NoSettings, Severity, Stage, Subject, probed_containers, tcp_probe,
};

const FIELD: &str = "/readinessProbe";

/// The check.
pub struct MissingReadiness;

impl Check for MissingReadiness {
    type Settings = NoSettings;

    fn info() -> Info {
        Info {
            id: "missing-readiness",
            title: "Container has no readiness probe",
            description: "An app container without `readinessProbe`. Init, sidecar and ephemeral containers are not specified for \
                          one, nor are the containers of pods that run to completion: those that belong to a Job or a \
                          CronJob, and those whose `restartPolicy` is not `Always`.",
            rationale: "Without a readiness probe a pod receives traffic as soon as its process has started, before it can answer. Every rollout then drops requests, and a pod that has lost what it depends on keeps its share of them.",
            remedy: "Give the container a probe that answers whether it can serve requests now:\n\n```yaml\nreadinessProbe:\n  httpGet: { path: /ready, port: 8080 }\n  initialDelaySeconds: 5\n  periodSeconds: 10\n```",
            stage: Stage::Spec,
            severity: Severity::Medium,
            weight: 2,
            remediates: true,
            url: Some(
                "https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/",
            ),
        }
    }

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn evaluate(&self, subject: &Subject, findings: &mut Findings) {
        for (index, container) in probed_containers(subject) {
            if !container.has_readiness_probe {
                findings.container(index, FIELD, "has no readiness probe");
            }
        }
    }

    fn remediate(&self, subject: &Subject) -> Vec<Edit> {
        probed_containers(subject)
            .filter(|(_, container)| !container.has_readiness_probe)
            .map(|(_, container)| tcp_probe(container, FIELD))
            .collect()
    }
}

kube_devops_sdk::export_check!(MissingReadiness);

#[cfg(test)]
mod tests {
    use kube_devops_sdk::testing::{container, findings_of, owned_by, pod};
    use kube_devops_sdk::{Container, ContainerKind, RestartPolicy};

    use super::*;

    fn app() -> Container {
        container(ContainerKind::App, "nginx:1")
    }

    #[test]
    fn asks_app_containers_only() {
        let others = [ContainerKind::Init, ContainerKind::Sidecar, ContainerKind::Ephemeral];
        let mut containers = others.map(|kind| container(kind, "nginx:1")).to_vec();
        containers.push(app());
        containers.push(Container { has_readiness_probe: true, ..app() });
        let found = findings_of(&MissingReadiness, &pod(containers));
        assert_eq!(found.iter().map(|finding| finding.container).collect::<Vec<_>>(), [Some(3)]);
        assert_eq!(found[0].field.as_deref(), Some(FIELD));
    }

    #[test]
    fn other_probes_do_not_stand_in() {
        let mut other =
            Container { has_liveness_probe: true, has_readiness_probe: true, has_startup_probe: true, ..app() };
        other.has_readiness_probe = false;
        assert_eq!(findings_of(&MissingReadiness, &pod(vec![other])).len(), 1);
    }

    #[test]
    fn pods_that_run_to_completion_are_spared() {
        for kind in ["Job", "CronJob"] {
            let template = Subject { kind: kind.to_owned(), ..pod(vec![app()]) };
            assert!(findings_of(&MissingReadiness, &template).is_empty(), "{kind}");
            assert!(findings_of(&MissingReadiness, &owned_by(pod(vec![app()]), kind)).is_empty(), "owned by {kind}");
        }
        for restart_policy in [RestartPolicy::Never, RestartPolicy::OnFailure] {
            let completes = Subject { restart_policy, ..pod(vec![app()]) };
            assert!(findings_of(&MissingReadiness, &completes).is_empty(), "{restart_policy:?}");
            assert!(MissingReadiness.remediate(&completes).is_empty(), "{restart_policy:?}");
        }
        assert_eq!(findings_of(&MissingReadiness, &owned_by(pod(vec![app()]), "ReplicaSet")).len(), 1);
    }

    #[test]
    fn mends_with_a_tcp_probe_on_the_first_port() {
        let edits = MissingReadiness.remediate(&pod(vec![Container { ports: vec![9000, 1], ..app() }, app()]));
        let values: Vec<_> = edits.iter().map(|edit| edit.value.as_str()).collect();
        assert_eq!(
            values,
            [
                r#"{"tcpSocket":{"port":9000},"initialDelaySeconds":5,"periodSeconds":10}"#,
                r#"{"tcpSocket":{"port":8080},"initialDelaySeconds":5,"periodSeconds":10}"#,
            ]
        );
        assert!(edits.iter().all(|edit| edit.field == FIELD && edit.container.as_deref() == Some("app")));
    }
}
