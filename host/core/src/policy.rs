//! What is to be checked, how, and how much it matters.

use serde_json::Value;

use crate::Severity;

/// The rules that apply together.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The name, for messages.
    pub name: String,
    /// The rules.
    pub rules: Vec<RuleConfig>,
}

/// One check, turned on.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleConfig {
    /// The id of the check.
    pub check: String,
    /// Its settings, which the check validates. An empty object stands for the check's own default settings.
    pub settings: Value,
    /// The severity of its violations; none: the check's own.
    pub severity: Option<Severity>,
}

/// Whether a policy only reports, or also mends workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// Report.
    #[default]
    Audit,
    /// Report, and add what is missing to workloads.
    Enforce,
}

/// The TCP probe that enforcement puts where a probe is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DefaultProbe {
    /// None: the container's first port, or 8080.
    pub tcp_port: Option<u16>,
    /// Seconds before the first probe.
    pub initial_delay_seconds: Option<u32>,
    /// Seconds between probes.
    pub period_seconds: Option<u32>,
}

/// The quantities that enforcement puts where a request or a limit is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DefaultResources {
    /// Such as `100m`.
    pub cpu_request: Option<String>,
    /// Such as `500m`.
    pub cpu_limit: Option<String>,
    /// Such as `128Mi`.
    pub memory_request: Option<String>,
    /// Such as `256Mi`.
    pub memory_limit: Option<String>,
}

/// A named choice of checks, settings and severities.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// The name.
    pub name: String,
    /// A line for lists.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// Whether policies made from it mend workloads.
    pub enforcement: Enforcement,
    /// The checks that it turns on.
    pub rules: Vec<RuleConfig>,
    /// For enforcement.
    pub default_probe: Option<DefaultProbe>,
    /// For enforcement.
    pub default_resources: Option<DefaultResources>,
}

impl Bundle {
    /// The bundle as a policy of the same name.
    pub fn policy(&self) -> Policy {
        Policy { name: self.name.clone(), rules: self.rules.clone() }
    }
}
