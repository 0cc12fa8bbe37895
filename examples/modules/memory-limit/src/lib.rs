//! `memory-limit`: app containers must have a memory limit. Under a policy that enforces, the operator adds one.

use kube_devops_sdk::{Check, ContainerKind, Edit, Findings, Info, Subject, export_checks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The limit to add.
    limit: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { limit: "256Mi".to_owned() }
    }
}

/// The check.
pub struct MemoryLimit(Settings);

impl Check for MemoryLimit {
    type Settings = Settings;

    fn info() -> Info {
        Info {
            remediates: true,
            remedy: "Set resources.limits.memory to a value that the container does not reach in normal operation.",
            ..Info::new("memory-limit", "Container has no memory limit")
        }
    }

    fn new(settings: Settings) -> Result<Self, String> {
        if settings.limit.is_empty() {
            return Err("limit is empty; set a quantity such as 256Mi".to_owned());
        }
        Ok(Self(settings))
    }

    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        for (index, container) in subject.containers().enumerate() {
            if container.kind() == ContainerKind::App && container.limits().memory_bytes.is_none() {
                findings.container(index, "/resources/limits/memory", "has no memory limit");
            }
        }
    }

    fn remediate(&self, subject: &Subject<'_>) -> Vec<Edit> {
        let app = subject.containers().filter(|container| container.kind() == ContainerKind::App);
        app.filter(|container| container.limits().memory_bytes.is_none())
            .map(|container| Edit {
                container: Some(container.name().to_owned()),
                field: "/resources/limits/memory".to_owned(),
                value: serde_json::Value::from(self.0.limit.as_str()).to_string(),
            })
            .collect()
    }
}

export_checks!(MemoryLimit);
