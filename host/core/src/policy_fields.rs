//! The fields of DevOpsPolicy v1 and the lines of the summary, which belong to the five built-in checks. No other code
//! contains the names of checks.

/// The names of a check in DevOpsPolicy v1 and in the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyField {
    /// The id of the check.
    pub check: &'static str,
    /// The field of the spec that enables it.
    pub field: &'static str,
    /// Whether the check, if its boolean field is true, can add missing fields to workloads.
    pub remediates: bool,
    /// The setting that the number in the field stands for, or `None` for a boolean field.
    pub setting: Option<&'static str>,
    /// The field of `severityOverrides`.
    pub severity_override: &'static str,
    /// The label of its line in the summary.
    pub summary_label: &'static str,
    /// Whether the summary shows the sum of the magnitudes instead of the number of violations.
    pub summary_adds_magnitudes: bool,
}

/// The five fields, in the order of the summary.
pub const POLICY_FIELDS: [PolicyField; 5] = [
    PolicyField {
        check: "latest-tag",
        field: "forbidLatestTag",
        remediates: false,
        setting: None,
        severity_override: "latestTag",
        summary_label: "Images using :latest",
        summary_adds_magnitudes: false,
    },
    PolicyField {
        check: "missing-liveness",
        field: "requireLivenessProbe",
        remediates: true,
        setting: None,
        severity_override: "missingLiveness",
        summary_label: "Missing liveness probes",
        summary_adds_magnitudes: false,
    },
    PolicyField {
        check: "missing-readiness",
        field: "requireReadinessProbe",
        remediates: true,
        setting: None,
        severity_override: "missingReadiness",
        summary_label: "Missing readiness probes",
        summary_adds_magnitudes: false,
    },
    PolicyField {
        check: "high-restarts",
        field: "maxRestartCount",
        remediates: false,
        setting: Some("threshold"),
        severity_override: "highRestarts",
        summary_label: "Restart severity score",
        summary_adds_magnitudes: true,
    },
    PolicyField {
        check: "pending",
        field: "forbidPendingDuration",
        remediates: false,
        setting: Some("seconds"),
        severity_override: "pending",
        summary_label: "Pending pods",
        summary_adds_magnitudes: false,
    },
];
