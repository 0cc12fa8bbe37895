//! `NAME`: pods must have labels.

use kube_devops_sdk::{Check, Findings, Info, Subject, export_checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings, which policies can set. Their schema is part of the component.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The labels that every pod must have.
    labels: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { labels: vec!["team".to_owned()] }
    }
}

/// The check.
pub struct TYPE(Settings);

impl Check for TYPE {
    type Settings = Settings;

    fn info() -> Info {
        Info { remedy: "Add the label to the pod template.", ..Info::new("NAME", "Pod has no required label") }
    }

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        for label in &self.0.labels {
            if subject.labels().all(|(key, _)| key != label) {
                findings.pod(format!("has no label {label}"));
            }
        }
    }
}

export_checks!(TYPE);
