//! Two checks that read annotations, of which one has not asked for them, for tests of the engine.
#![forbid(unsafe_code)]

use kube_devops_sdk::{Check, Edit, Findings, Info, NoSettings, Subject};

/// A check whose violations are the annotations of a pod. With `ASKS`, its metadata says that it needs them.
pub struct Annotations<const ASKS: bool>;

impl<const ASKS: bool> Check for Annotations<ASKS> {
    type Settings = NoSettings;

    fn info() -> Info {
        let id = if ASKS { "asks-for-annotations" } else { "reads-annotations" };
        Info { needs_annotations: ASKS, remediates: true, ..guest_support::info(id) }
    }

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        subject.annotations().for_each(|(key, _)| findings.pod(key));
    }

    fn remediate(&self, subject: &Subject<'_>) -> Vec<Edit> {
        let keys = subject.annotations().map(|(key, _)| key.into());
        keys.map(|value| Edit { container: None, field: "/annotation".to_owned(), value }).collect()
    }
}

/// The check that asks for annotations.
pub type Asks = Annotations<true>;
/// The check that does not.
pub type Reads = Annotations<false>;

kube_devops_sdk::export_checks!(Asks, Reads);
