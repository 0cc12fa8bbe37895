//! Checks and their export.

use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bindings::check::exports::devops::policy::check as exported;
use crate::{Edit, Finding, Findings, Severity, Subject};

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
    /// Whether [`Check::remediate`] can return edits.
    pub remediates: bool,
    /// A page with more information.
    pub url: Option<&'static str>,
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
    fn evaluate(&self, subject: &Subject, findings: &mut Findings);

    /// Returns edits that remediate the subject. An edit only sets a missing value.
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

/// Implements the exports of the contract for a [`Check`].
#[doc(hidden)]
pub struct Adapter<C>(PhantomData<C>);

/// Implements the resource `rule` of the contract for a [`Check`].
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
