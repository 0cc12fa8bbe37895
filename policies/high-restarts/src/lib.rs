//! `high-restarts`: containers must not restart again and again.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Findings, Info, Severity, Stage, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The highest magnitude of a finding; the host caps it there too.
const HIGHEST_MAGNITUDE: u32 = 5;

/// What a policy can set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A container that restarted more often than this is a violation.
    pub threshold: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { threshold: 3 }
    }
}

/// The check.
pub struct HighRestarts(Settings);

impl Check for HighRestarts {
    type Settings = Settings;

    fn info() -> Info {
        Info {
            id: "high-restarts",
            title: "Container restarts again and again",
            description: "A container that restarted more often than the threshold (3 where none is set). A violation \
                          counts as many times as the container restarted, at most 5 times.",
            rationale: "Restarts are how a crash, a failing liveness probe or a lack of memory shows. Each one drops \
                        what the container was doing, and the back-off between them grows to five minutes of absence.",
            remedy: "Find out why it ended:\n\n```\nkubectl logs POD -c CONTAINER --previous\nkubectl describe pod POD\n```\n\n\
                     Exit code 137 with reason OOMKilled asks for a higher memory limit or a smaller program; events that \
                     say `Liveness probe failed` ask for a slower or simpler probe.",
            stage: Stage::Runtime,
            severity: Severity::Medium,
            weight: 6,
            remediates: false,
            url: Some("https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy"),
        }
    }

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn evaluate(&self, subject: &Subject, findings: &mut Findings) {
        for (index, container) in subject.containers.iter().enumerate() {
            let restarts = container.restart_count.unwrap_or(0);
            if restarts > self.0.threshold {
                findings.container_times(
                    index,
                    restarts.min(HIGHEST_MAGNITUDE),
                    format!("restarted {restarts} times, more than {}", self.0.threshold),
                );
            }
        }
    }
}

kube_devops_sdk::export_check!(HighRestarts);

#[cfg(test)]
mod tests {
    use kube_devops_sdk::testing::{container, findings_of, pod};
    use kube_devops_sdk::{Container, ContainerKind};

    use super::*;

    fn restarted(restart_count: Option<u32>) -> Subject {
        pod(vec![Container { restart_count, ..container(ContainerKind::App, "nginx:1") }])
    }

    #[test]
    fn only_more_than_the_threshold_is_a_violation() {
        for (threshold, restarts, magnitude) in [
            (3, None, None),
            (3, Some(0), None),
            (3, Some(3), None),
            (3, Some(4), Some(4)),
            (3, Some(5), Some(5)),
            (3, Some(6), Some(5)),
            (3, Some(u32::MAX), Some(5)),
            (0, Some(0), None),
            (0, Some(1), Some(1)),
            (u32::MAX, Some(u32::MAX), None),
        ] {
            let check = HighRestarts(Settings { threshold });
            let found = findings_of(&check, &restarted(restarts));
            let magnitudes: Vec<_> = found.iter().map(|finding| finding.magnitude).collect();
            assert_eq!(magnitudes, magnitude.into_iter().collect::<Vec<_>>(), "{restarts:?} > {threshold}");
        }
    }

    #[test]
    fn every_kind_of_container_counts() {
        let kinds = [ContainerKind::App, ContainerKind::Init, ContainerKind::Sidecar, ContainerKind::Ephemeral];
        let containers = kinds.map(|kind| Container { restart_count: Some(9), ..container(kind, "nginx:1") }).to_vec();
        assert_eq!(findings_of(&HighRestarts(Settings::default()), &pod(containers)).len(), 4);
    }
}
