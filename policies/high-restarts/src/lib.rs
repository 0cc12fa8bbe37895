//! `high-restarts`: containers must not restart repeatedly.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Findings, Info, Severity, Stage, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The highest magnitude of a finding; the host has the same limit.
const MAX_MAGNITUDE: u32 = 5;

/// The settings of the check.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The number of restarts above which a container is a violation.
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
            title: "Container restarts repeatedly",
            description: "A container with more restarts than the threshold (default: 3). The magnitude of the violation \
                          is the number of restarts, at most 5.",
            rationale: "Restarts indicate crashes, failing liveness probes or insufficient memory. Each restart interrupts \
                        the work of the container, and the back-off delay between restarts increases up to five minutes, \
                        during which the container is unavailable.",
            remedy: "Find the reason for the restarts:\n\n```\nkubectl logs POD -c CONTAINER --previous\nkubectl describe pod POD\n```\n\n\
                     If the reason is `OOMKilled` (exit code 137), increase the memory limit or reduce the memory usage. If \
                     the events contain `Liveness probe failed`, relax or simplify the probe.",
            stage: Stage::Runtime,
            severity: Severity::Medium,
            weight: 6,
            needs_annotations: false,
            remediates: false,
            url: Some("https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy"),
        }
    }

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        for (index, container) in subject.containers().enumerate() {
            let restarts = container.restart_count().unwrap_or(0);
            if restarts > self.0.threshold {
                findings.container_times(
                    index,
                    restarts.min(MAX_MAGNITUDE),
                    format!("restarted {restarts} times, more than {}", self.0.threshold),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kube_devops_sdk::ContainerKind;
    use kube_devops_sdk::testing::{self, Container, container, findings_of, pod};

    use super::*;

    fn restarted(restart_count: Option<u32>) -> testing::Subject {
        pod(vec![Container { restart_count, ..container(ContainerKind::App, "nginx:1") }])
    }

    #[test]
    fn more_restarts_than_the_threshold_are_a_violation() {
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
    fn containers_of_all_kinds_are_evaluated() {
        let kinds = [ContainerKind::App, ContainerKind::Init, ContainerKind::Sidecar, ContainerKind::Ephemeral];
        let containers = kinds.map(|kind| Container { restart_count: Some(9), ..container(kind, "nginx:1") }).to_vec();
        assert_eq!(findings_of(&HighRestarts(Settings::default()), &pod(containers)).len(), 4);
    }
}
