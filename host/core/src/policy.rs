//! Policies: checks, their settings and severities.

use serde_json::{Map, Value};

use crate::Severity;

/// A set of rules that apply together.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The name, for messages.
    pub name: String,
    /// The rules.
    pub rules: Vec<RuleConfig>,
}

/// An enabled check.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleConfig {
    /// The id of the check.
    pub check: String,
    /// The settings, which the check validates. An empty object stands for the default settings of the check.
    pub settings: Value,
    /// The severity of its violations, or `None` for that of the check.
    pub severity: Option<Severity>,
    /// The weight of its violations, or `None` for that of the check.
    pub weight: Option<u32>,
}

impl RuleConfig {
    /// Enables a check with its default settings, severity and weight.
    pub fn default_of(check: &str) -> Self {
        Self { check: check.to_owned(), settings: Value::Object(Map::new()), severity: None, weight: None }
    }
}

/// Whether a policy only reports violations, or also remediates workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// Reports violations.
    #[default]
    Audit,
    /// Reports violations, and adds missing values to workloads.
    Enforce,
}

/// The TCP probe that enforcement adds where a probe is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DefaultProbe {
    /// The port, or `None` for the first TCP port that the container declares.
    pub tcp_port: Option<u16>,
    /// The number of seconds before the first probe.
    pub initial_delay_seconds: Option<u32>,
    /// The number of seconds between probes.
    pub period_seconds: Option<u32>,
}

/// The quantities that enforcement adds where a request or a limit is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DefaultResources {
    /// The CPU request, such as `100m`.
    pub cpu_request: Option<String>,
    /// The CPU limit, such as `500m`.
    pub cpu_limit: Option<String>,
    /// The memory request, such as `128Mi`.
    pub memory_request: Option<String>,
    /// The memory limit, such as `256Mi`.
    pub memory_limit: Option<String>,
}

/// A named set of checks with their settings and severities.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// The name.
    pub name: String,
    /// The description in one line, for lists.
    pub title: String,
    /// The purpose of the bundle.
    pub description: String,
    /// Whether policies created from it remediate workloads.
    pub enforcement: Enforcement,
    /// The checks that it enables.
    pub rules: Vec<RuleConfig>,
    /// The probe for enforcement.
    pub default_probe: Option<DefaultProbe>,
    /// The resources for enforcement.
    pub default_resources: Option<DefaultResources>,
}

impl Bundle {
    /// Returns the bundle as a policy of the same name.
    pub fn policy(&self) -> Policy {
        Policy { name: self.name.clone(), rules: self.rules.clone() }
    }
}
