//! A check with an id that could forge a log line, for tests of the engine.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Findings, Info, NoSettings, Subject};

/// The check.
pub struct Liar;

impl Check for Liar {
    type Settings = NoSettings;

    fn info() -> Info {
        guest_support::info("latest-tag\n\u{1b}[2J")
    }

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn evaluate(&self, _subject: &Subject<'_>, _findings: &mut Findings) {}
}

kube_devops_sdk::export_checks!(Liar);
