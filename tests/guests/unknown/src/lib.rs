//! A check that reports a finding for a subject it did not receive, for tests of the engine. Its two ways to evaluate disagree.
#![allow(missing_docs)]

#[cfg(target_family = "wasm")]
use kube_devops_sdk::bindings::check as bindings;
use kube_devops_sdk::bindings::check::exports::devops::policy::check::{
    Guest, GuestRule, Info, Rule, RuleBorrow, Stage,
};
use kube_devops_sdk::bindings::check::exports::devops::policy::packed;
use kube_devops_sdk::testing::Subject;
use kube_devops_sdk::{Edit, Finding, Severity};

pub struct Stranger;

impl Guest for Stranger {
    type Rule = Stranger;

    fn describe() -> Vec<Info> {
        vec![Info {
            id: "unknown".to_owned(),
            title: "Finds an unknown subject".to_owned(),
            description: "Finds an unknown subject.".to_owned(),
            rationale: String::from("To see what happens."),
            remedy: "None.".to_owned(),
            stage: Stage::Spec,
            severity: Severity::High,
            weight: 1,
            settings_schema: "{}".to_owned(),
            default_settings: "{}".to_owned(),
            needs_annotations: false,
            remediates: false,
            url: None,
        }]
    }

    fn evaluate(_rules: Vec<RuleBorrow<'_>>, _subjects: Vec<Subject>) -> Vec<Finding> {
        Vec::new()
    }
}

impl GuestRule for Stranger {
    fn create(_check: String, _settings: String) -> Result<Rule, String> {
        Ok(Rule::new(Stranger))
    }

    fn remediate(&self, _subject: Subject) -> Vec<Edit> {
        Vec::new()
    }
}

impl packed::Guest for Stranger {
    fn layout() -> u32 {
        1
    }

    fn create(_check: String, _settings: String) -> Result<u32, String> {
        // Not the number of a rule, and the host does not use it as one.
        Ok(u32::MAX)
    }

    fn evaluate(words: Vec<u32>, _text: String) -> Vec<Finding> {
        let subjects = words[1 + words[0] as usize];
        vec![Finding {
            rule: 0,
            subject: subjects,
            container: None,
            field: None,
            message: "no such subject".to_owned(),
            magnitude: 1,
        }]
    }
}

#[cfg(target_family = "wasm")]
kube_devops_sdk::bindings::check::export_packed_check_component!(Stranger with_types_in bindings);
