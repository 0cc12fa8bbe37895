//! What a check says of itself.

use serde_json::Value;

use crate::Severity;

/// What a check says of itself, validated by the host.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckInfo {
    /// The name of the check: lower case letters, digits and single dashes.
    pub id: String,
    /// A line that names the violation.
    pub title: String,
    /// What is a violation and what is not; Markdown.
    pub description: String,
    /// Why it matters; Markdown.
    pub rationale: String,
    /// How to mend it; Markdown.
    pub remedy: String,
    /// When the check can run.
    pub stage: Stage,
    /// The severity of a violation where a policy does not say otherwise.
    pub severity: Severity,
    /// What a violation costs in the health score, 0 to 100.
    pub weight: u32,
    /// JSON Schema of the settings.
    pub settings_schema: Value,
    /// Settings that suit where nobody has chosen any.
    pub default_settings: Value,
    /// Whether the check can say what would mend a subject.
    pub remediates: bool,
    /// Where to read more.
    pub url: Option<String>,
}

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// What was asked for; runs at admission too.
    Spec,
    /// How it runs; needs a status.
    Runtime,
}
