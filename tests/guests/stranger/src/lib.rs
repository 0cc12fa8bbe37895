//! A check that reports a finding for a subject it did not receive, for tests of the engine. It bypasses the SDK, which
//! would prevent this.
#![forbid(unsafe_code)]

#[cfg(target_family = "wasm")]
use kube_devops_sdk::bindings::check as bindings;
#[cfg(target_family = "wasm")]
use kube_devops_sdk::bindings::check::exports::devops::policy::check::{Guest, GuestRule, Info, Rule, Stage};
#[cfg(target_family = "wasm")]
use kube_devops_sdk::{Edit, Finding, Severity, Subject};

#[cfg(target_family = "wasm")]
struct Stranger;

#[cfg(target_family = "wasm")]
impl Guest for Stranger {
    type Rule = Self;

    fn describe() -> Info {
        Info {
            id: "stranger".to_owned(),
            title: "Reports a finding for an unknown subject".to_owned(),
            description: "Misbehaves.".to_owned(),
            rationale: "To see what happens.".to_owned(),
            remedy: "None.".to_owned(),
            stage: Stage::Spec,
            severity: Severity::Low,
            weight: 1,
            settings_schema: "{}".to_owned(),
            default_settings: "{}".to_owned(),
            remediates: false,
            url: None,
        }
    }
}

#[cfg(target_family = "wasm")]
impl GuestRule for Stranger {
    fn create(_settings: String) -> Result<Rule, String> {
        Ok(Rule::new(Self))
    }

    fn evaluate(&self, subjects: Vec<Subject>) -> Vec<Finding> {
        vec![Finding {
            subject: subjects.len() as u32,
            container: None,
            field: None,
            message: "unknown subject".to_owned(),
            magnitude: 1,
        }]
    }

    fn remediate(&self, _subject: Subject) -> Vec<Edit> {
        Vec::new()
    }
}

#[cfg(target_family = "wasm")]
kube_devops_sdk::bindings::check::export_check_component!(Stranger with_types_in bindings);
