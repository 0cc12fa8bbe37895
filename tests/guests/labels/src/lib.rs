//! A check that requires the label `team`, for tests of changes of labels.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Findings, Info, NoSettings, Subject};

/// The check.
pub struct Labels;

impl Check for Labels {
    type Settings = NoSettings;

    fn info() -> Info {
        guest_support::info("labels")
    }

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        if subject.labels().all(|(key, _)| key != "team") {
            findings.pod("has no label team");
        }
    }
}

kube_devops_sdk::export_checks!(Labels);
