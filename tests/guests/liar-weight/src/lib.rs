//! A check with a weight out of range, for tests of the engine.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Findings, Info, NoSettings, Subject};

/// The check.
pub struct Liar;

impl Check for Liar {
    type Settings = NoSettings;

    fn info() -> Info {
        Info { weight: u32::MAX, ..guest_support::info("liar-weight") }
    }

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn evaluate(&self, _subject: &Subject<'_>, _findings: &mut Findings) {}
}

kube_devops_sdk::export_checks!(Liar);
