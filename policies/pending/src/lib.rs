//! `pending`: pods must not be pending for a long time.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Findings, Info, Phase, Severity, Stage, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings of the check.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The number of seconds after which a pending pod is a violation.
    pub seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seconds: 300 }
    }
}

/// The check.
pub struct Pending(Settings);

impl Check for Pending {
    type Settings = Settings;

    fn info() -> Info {
        Info {
            id: "pending",
            title: "Pod is pending for too long",
            description: "A pod in the phase `Pending` for longer than the threshold (default: 300 seconds) since its \
                          creation.",
            rationale: "A pending pod does not run: no node has sufficient resources, an image cannot be pulled, or a \
                        volume cannot be attached. The workload has fewer running replicas than specified, often \
                        unnoticed until another replica fails.",
            remedy: "The events of the pod contain the reason:\n\n```\nkubectl describe pod POD\n```\n\n\
                     For `Insufficient cpu` or `Insufficient memory`, add nodes or reduce the requests. For \
                     `ImagePullBackOff`, correct the image name or the pull secret. For `unbound \
                     PersistentVolumeClaims`, correct the storage class.",
            stage: Stage::Runtime,
            severity: Severity::Medium,
            weight: 4,
            needs_annotations: false,
            remediates: false,
            url: Some("https://kubernetes.io/docs/tasks/debug/debug-application/debug-pods/#my-pod-stays-pending"),
        }
    }

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        let Some(status) = subject.status().filter(|status| status.phase == Phase::Pending) else { return };
        let waited = status.pending_seconds.unwrap_or(0);
        if waited > self.0.seconds {
            findings.pod(format!("pending for {waited} s, longer than {} s", self.0.seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use kube_devops_sdk::testing::{findings_of, pod, with_status};

    use super::*;

    #[test]
    fn pods_that_are_pending_for_longer_than_the_threshold_are_violations() {
        for (phase, waited, violation) in [
            (Phase::Pending, Some(301), true),
            (Phase::Pending, Some(u64::MAX), true),
            (Phase::Pending, Some(300), false),
            (Phase::Pending, Some(0), false),
            (Phase::Pending, None, false),
            (Phase::Running, Some(301), false),
            (Phase::Unknown, Some(301), false),
        ] {
            let found = findings_of(&Pending(Settings::default()), &with_status(pod(Vec::new()), phase, waited));
            assert_eq!(!found.is_empty(), violation, "{phase:?} {waited:?}");
            assert!(found.iter().all(|finding| finding.container.is_none() && finding.magnitude == 1));
        }
        assert!(findings_of(&Pending(Settings::default()), &pod(Vec::new())).is_empty(), "no status");
    }
}
