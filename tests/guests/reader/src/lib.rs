//! A check that reads complete objects, for tests of the engine.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Findings, Info, NoSettings, Subject};

/// The check.
pub struct Reader;

impl Check for Reader {
    type Settings = NoSettings;

    fn info() -> Info {
        guest_support::info("reader")
    }

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    #[cfg(target_family = "wasm")]
    fn evaluate(&self, _subject: &Subject<'_>, findings: &mut Findings) {
        let image = kube_devops_sdk::object::get(findings.subject(), "/spec/containers/0/image");
        findings.pod(image.unwrap_or_else(|| "no image".to_owned()));
    }

    #[cfg(not(target_family = "wasm"))]
    fn evaluate(&self, _subject: &Subject<'_>, _findings: &mut Findings) {}
}

kube_devops_sdk::export_checks!(Reader);
