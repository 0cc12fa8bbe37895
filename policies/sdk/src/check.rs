//! Checks.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bindings::check::exports::devops::policy::check as exported;
use crate::{Edit, Findings, Severity, Subject};

pub use exported::Stage;

/// The metadata of a check. The texts are shown by `kube-devops explain` and in the documentation of the check.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// The name of the check: lower-case letters, digits and single dashes, at most 63 characters.
    pub id: &'static str,
    /// The violation in one line.
    pub title: &'static str,
    /// The definition of a violation.
    pub description: &'static str,
    /// The reason why a violation matters.
    pub rationale: &'static str,
    /// How to fix a violation.
    pub remedy: &'static str,
    /// Whether the check evaluates the spec or the runtime status.
    pub stage: Stage,
    /// The severity of a violation, unless a policy overrides it.
    pub severity: Severity,
    /// The cost of a violation in the health score, 0 to 100.
    pub weight: u32,
    /// Whether the check reads the annotations of pods.
    pub needs_annotations: bool,
    /// Whether [`Check::remediate`] can return edits.
    pub remediates: bool,
    /// A page with more information.
    pub url: Option<&'static str>,
}

impl Info {
    /// Returns the metadata of a check of the spec with the severity medium and the weight 3. Set further fields with the struct
    /// update syntax: `Info { remedy: "...", ..Info::new("my-check", "Pod has ...") }`.
    pub const fn new(id: &'static str, title: &'static str) -> Self {
        Self {
            id,
            title,
            description: title,
            rationale: title,
            remedy: "Change the manifest.",
            stage: Stage::Spec,
            severity: Severity::Medium,
            weight: 3,
            needs_annotations: false,
            remediates: false,
            url: None,
        }
    }
}

/// The settings of a check without settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// A check of pods.
pub trait Check: Sized + 'static {
    /// The settings in a policy. Their JSON Schema is part of the metadata of the check, and their default applies to
    /// policies without settings.
    type Settings: DeserializeOwned + Serialize + JsonSchema + Default;

    /// Returns the metadata of the check.
    fn info() -> Info;

    /// Creates the check with settings, or returns an error if they are invalid.
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// Evaluates the subject, and adds the violations to `findings`.
    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings);

    /// Returns edits that remediate the subject. An edit only sets a missing value.
    fn remediate(&self, _subject: &Subject<'_>) -> Vec<Edit> {
        Vec::new()
    }
}
