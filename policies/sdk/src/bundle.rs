//! Bundles and their export.

use std::marker::PhantomData;

use crate::bindings::bundle::exports::devops::policy::bundle as exported;

pub use exported::{DefaultProbe, DefaultResources, Enforcement, Info as BundleInfo, Selection};

use crate::Severity;

/// A named set of checks with their settings and severities.
pub trait Bundle: 'static {
    /// Returns the description of the bundle.
    fn info() -> BundleInfo;
}

impl Selection {
    /// Selects a check with its default settings and severity.
    pub fn new(check: &str) -> Self {
        Self { check: check.to_owned(), settings: "{}".to_owned(), severity: None }
    }

    /// Sets the settings, as JSON text.
    pub fn settings(self, settings: &str) -> Self {
        Self { settings: settings.to_owned(), ..self }
    }

    /// Sets the severity.
    pub fn severity(self, severity: Severity) -> Self {
        Self { severity: Some(severity), ..self }
    }
}

/// Exports a [`Bundle`] from the component that is being built.
#[macro_export]
macro_rules! export_bundle {
    ($bundle:ident) => {
        #[cfg(target_family = "wasm")]
        mod exported_bundle {
            type Exported = $crate::BundleAdapter<super::$bundle>;
            $crate::bindings::bundle::export_bundle_component!(Exported with_types_in $crate::bindings::bundle);
        }
    };
}

/// Implements the exports of the contract for a [`Bundle`].
#[doc(hidden)]
pub struct BundleAdapter<B>(PhantomData<B>);

impl<B: Bundle> exported::Guest for BundleAdapter<B> {
    fn describe() -> BundleInfo {
        B::info()
    }
}
