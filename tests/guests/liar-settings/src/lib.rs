//! A check with default settings that are not an object, for tests of the engine.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Findings, Info, Subject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number instead of an object.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
pub struct Number(u32);

/// The check.
pub struct Liar;

impl Check for Liar {
    type Settings = Number;

    fn info() -> Info {
        guest_support::info("liar-settings")
    }

    fn new(_settings: Number) -> Result<Self, String> {
        Ok(Self)
    }

    fn evaluate(&self, _subject: &Subject<'_>, _findings: &mut Findings) {}
}

kube_devops_sdk::export_checks!(Liar);
