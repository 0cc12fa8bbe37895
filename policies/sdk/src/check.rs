//! A check and how it is exported.

use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bindings::check::exports::devops::policy::check as exported;
use crate::{Edit, Finding, Findings, Severity, Subject};

pub use exported::Stage;

/// What a check says of itself. Every text is for people: `kube-devops explain` and the pages of the checks show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// The name of the check: lower case letters, digits and single dashes, at most 63 characters.
    pub id: &'static str,
    /// A line that names the violation.
    pub title: &'static str,
    /// What is a violation and what is not.
    pub description: &'static str,
    /// Why it matters.
    pub rationale: &'static str,
    /// How to mend it.
    pub remedy: &'static str,
    /// Whether the check looks at what was asked for, or at how it runs.
    pub stage: Stage,
    /// The severity of a violation where a policy does not say otherwise.
    pub severity: Severity,
    /// What a violation costs in the health score, 0 to 100.
    pub weight: u32,
    /// Whether [`Check::remediate`] can ever return an edit.
    pub remediates: bool,
    /// Where to read more.
    pub url: Option<&'static str>,
}

/// The settings of a check that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// One rule about pods.
pub trait Check: Sized + 'static {
    /// What a policy can set. Its JSON Schema is part of what the check says of itself, and its default is used where
    /// nobody has chosen any settings.
    type Settings: DeserializeOwned + Serialize + JsonSchema + Default;

    /// What the check says of itself.
    fn info() -> Info;

    /// The check with settings. The error says what is wrong with them.
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// Adds what is wrong with the subject to `findings`.
    fn evaluate(&self, subject: &Subject, findings: &mut Findings);

    /// What would mend the subject; an edit sets only what is missing.
    fn remediate(&self, _subject: &Subject) -> Vec<Edit> {
        Vec::new()
    }
}

/// Exports a [`Check`] from the component that is being built.
///
/// ```ignore
/// kube_devops_sdk::export_check!(LatestTag);
/// ```
#[macro_export]
macro_rules! export_check {
    ($check:ident) => {
        #[cfg(target_family = "wasm")]
        mod exported_check {
            type Exported = $crate::Adapter<super::$check>;
            $crate::bindings::check::export_check_component!(Exported with_types_in $crate::bindings::check);
        }
    };
}

/// Makes the exports of the contract out of a [`Check`].
#[doc(hidden)]
pub struct Adapter<C>(PhantomData<C>);

/// A [`Check`] as the contract's resource.
#[doc(hidden)]
pub struct Rule<C>(C);

impl<C: Check> exported::Guest for Adapter<C> {
    type Rule = Rule<C>;

    fn describe() -> exported::Info {
        let info = C::info();
        exported::Info {
            id: info.id.to_owned(),
            title: info.title.to_owned(),
            description: info.description.to_owned(),
            rationale: info.rationale.to_owned(),
            remedy: info.remedy.to_owned(),
            stage: info.stage,
            severity: info.severity,
            weight: info.weight,
            settings_schema: serde_json::to_string(&schemars::schema_for!(C::Settings)).unwrap_or_default(),
            default_settings: serde_json::to_string(&C::Settings::default()).unwrap_or_default(),
            remediates: info.remediates,
            url: info.url.map(str::to_owned),
        }
    }
}

impl<C: Check> exported::GuestRule for Rule<C> {
    fn create(settings: String) -> Result<exported::Rule, String> {
        let settings = if settings.trim().is_empty() { "{}" } else { &settings };
        let settings = serde_json::from_str(settings).map_err(|error| format!("invalid settings: {error}"))?;
        Ok(exported::Rule::new(Self(C::new(settings)?)))
    }

    fn evaluate(&self, subjects: Vec<Subject>) -> Vec<Finding> {
        let mut findings = Findings::default();
        for (index, subject) in subjects.iter().enumerate() {
            findings.begin(index as u32);
            self.0.evaluate(subject, &mut findings);
        }
        findings.into_list()
    }

    fn remediate(&self, subject: Subject) -> Vec<Edit> {
        self.0.remediate(&subject)
    }
}
