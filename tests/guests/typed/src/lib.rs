//! A check without the export `packed`, as in other languages, for tests of the engine.
#![allow(missing_docs, clippy::missing_safety_doc)]

/// The source of the guest `echo`. Its crate cannot be a dependency, because it has the same exports.
#[cfg(target_family = "wasm")]
#[path = "../../echo/src/echo.rs"]
mod echo;

#[cfg(target_family = "wasm")]
mod component {
    use crate::echo::Echo;
    use kube_devops_sdk::bindings::check::devops::policy::types;
    use kube_devops_sdk::{Edit, Finding, typed};

    wit_bindgen::generate!({
        world: "check-component",
        path: "../../../wit",
        with: {
            "devops:policy/types@0.2.0": kube_devops_sdk::bindings::check::devops::policy::types,
            "devops:policy/log@0.2.0": kube_devops_sdk::bindings::check::devops::policy::log,
        },
    });

    use exports::devops::policy::check::{Guest, GuestRule, Info, Rule, RuleBorrow, Stage};

    struct Typed;

    struct TypedRule;

    impl Guest for Typed {
        type Rule = TypedRule;

        fn describe() -> Vec<Info> {
            let info = kube_devops_sdk::info::<Echo>();
            vec![Info {
                id: "typed".to_owned(),
                title: info.title,
                description: info.description,
                rationale: info.rationale,
                remedy: info.remedy,
                stage: Stage::Spec,
                severity: info.severity,
                weight: info.weight,
                settings_schema: info.settings_schema,
                default_settings: info.default_settings,
                needs_annotations: info.needs_annotations,
                remediates: info.remediates,
                url: info.url,
            }]
        }

        fn evaluate(rules: Vec<RuleBorrow<'_>>, subjects: Vec<types::Subject>) -> Vec<Finding> {
            let rules: Vec<&dyn kube_devops_sdk::Evaluate> = rules.iter().map(|_| &Echo as _).collect();
            let mut findings = typed::evaluate(&rules, &subjects);
            // A rule that the host did not ask for.
            let forge = subjects.iter().any(|subject| subject.name == "forge-rule");
            findings.iter_mut().for_each(|finding| finding.rule += u32::from(forge));
            findings
        }
    }

    impl GuestRule for TypedRule {
        fn create(_check: String, _settings: String) -> Result<Rule, String> {
            Ok(Rule::new(TypedRule))
        }

        fn remediate(&self, subject: types::Subject) -> Vec<Edit> {
            typed::remediate(&Echo, &subject)
        }
    }

    export!(Typed);
}
