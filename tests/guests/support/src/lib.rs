//! The common code of the guests, for tests of the engine.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Info, Severity, Stage};

/// Returns valid metadata of a check, of which a guest changes what its test is about.
pub fn info(id: &'static str) -> Info {
    Info {
        id,
        title: "Finds something",
        description: "What the guest finds.",
        rationale: "To see what happens.",
        remedy: "None.",
        stage: Stage::Spec,
        severity: Severity::Low,
        weight: 1,
        needs_annotations: false,
        remediates: false,
        url: None,
    }
}
