//! The metadata of a check.

use serde_json::Value;

use crate::Severity;

/// The metadata of a check, validated by the host.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckInfo {
    /// The name of the check: lower-case letters, digits and single dashes.
    pub id: String,
    /// The violation in one line.
    pub title: String,
    /// The definition of a violation, in Markdown.
    pub description: String,
    /// The reason why a violation matters, in Markdown.
    pub rationale: String,
    /// How to fix a violation, in Markdown.
    pub remedy: String,
    /// The input that the check needs.
    pub stage: Stage,
    /// The severity of a violation, unless a policy overrides it.
    pub severity: Severity,
    /// The cost of a violation in the health score, 0 to 100.
    pub weight: u32,
    /// The JSON Schema of the settings.
    pub settings_schema: Value,
    /// The settings of a policy that sets none.
    pub default_settings: Value,
    /// Whether the check reads the annotations of pods.
    pub needs_annotations: bool,
    /// Whether the check can remediate a subject.
    pub remediates: bool,
    /// A page with more information.
    pub url: Option<String>,
}

/// The input of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The spec; also available at admission.
    Spec,
    /// The runtime status, which only existing pods have.
    Runtime,
}
