//! A check with a `describe` that never returns, for tests of the engine.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Findings, Info, NoSettings, Severity, Stage, Subject};

/// The check.
pub struct Liar;

impl Check for Liar {
    type Settings = NoSettings;

    fn info() -> Info {
        loop {
            std::hint::black_box(0);
        }
        #[allow(unreachable_code)]
        Info {
            id: "liar-loop",
            title: "Lies",
            description: "Lies.",
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

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn evaluate(&self, _subject: &Subject<'_>, _findings: &mut Findings) {}
}

kube_devops_sdk::export_checks!(Liar);
