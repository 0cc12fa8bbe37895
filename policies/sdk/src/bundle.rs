//! A bundle and how it is exported.

use std::marker::PhantomData;

use crate::bindings::bundle::exports::devops::policy::bundle as exported;

pub use exported::{DefaultProbe, DefaultResources, Enforcement, Info as BundleInfo, Selection};

use crate::Severity;

/// A named choice of checks, settings and severities.
pub trait Bundle: 'static {
    /// What the bundle consists of.
    fn info() -> BundleInfo;
}

impl Selection {
    /// A check with its default settings and severity.
    pub fn new(check: &str) -> Self {
        Self { check: check.to_owned(), settings: "{}".to_owned(), severity: None }
    }

    /// The same check with settings, which are JSON text.
    pub fn settings(self, settings: &str) -> Self {
        Self { settings: settings.to_owned(), ..self }
    }

    /// The same check with another severity.
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

/// Makes the exports of the contract out of a [`Bundle`].
#[doc(hidden)]
pub struct BundleAdapter<B>(PhantomData<B>);

impl<B: Bundle> exported::Guest for BundleAdapter<B> {
    fn describe() -> BundleInfo {
        B::info()
    }
}
