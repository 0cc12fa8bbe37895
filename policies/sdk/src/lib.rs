//! An SDK for kube-devops checks and bundles in Rust, which are built as WebAssembly components.
//!
//! A check implements [`Check`] and is exported with [`export_check!`]; a bundle implements [`Bundle`] and is exported
//! with [`export_bundle!`]. Both can also be compiled for the host, so `cargo test` runs their unit tests natively,
//! with the builders of [`testing`].
//!
//! ```text
//!   settings (JSON) --> Check::Settings --> Check::new
//!   subjects (typed facts) --> Check::evaluate --> Findings
//! ```
//!
//! The input is facts about pods and pod templates. The output is findings and edits. The host does not provide a
//! clock, randomness, files, a network or an environment to components.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bundle;
mod check;
mod findings;
pub mod image;
mod probe;
pub mod testing;

#[doc(hidden)]
pub mod bindings;

pub use bindings::check::devops::policy::log;
#[cfg(feature = "object")]
pub use bindings::object::devops::policy::object;
pub use bundle::{Bundle, BundleInfo, DefaultProbe, DefaultResources, Enforcement, Selection};
pub use check::{Check, Info, NoSettings, Stage};
pub use findings::Findings;
pub use probe::RequiredProbe;

/// The facts that the host provides to a check.
pub use bindings::check::devops::policy::types::{
    Container, ContainerKind, Controller, Edit, Finding, Phase, RestartPolicy, Severity, Status, Subject,
};

#[doc(hidden)]
pub use bundle::BundleAdapter;
#[doc(hidden)]
pub use check::Adapter;
