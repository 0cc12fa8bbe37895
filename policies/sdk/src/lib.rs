//! An SDK for kube-devops checks and bundles in Rust, which are built as WebAssembly components.
//!
//! A check implements [`Check`] and is exported with [`export_checks!`], alone or with others; a bundle implements [`Bundle`] and is exported
//! with [`export_bundle!`]. Both can also be compiled for the host, so `cargo test` runs their unit tests natively,
//! with the builders of [`testing`].
//!
//! ```text
//!   settings (JSON) --> Check::Settings --> Check::new
//!   subjects (facts) --> Check::evaluate --> Findings
//! ```
//!
//! The input is facts about pods and pod templates. The output is findings and edits. The host does not provide a
//! clock, randomness, files, a network or an environment to components.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bundle;
mod check;
mod export;
mod findings;
pub mod image;
#[cfg(feature = "object")]
pub mod object;
mod probe;
pub mod testing;

#[doc(hidden)]
pub mod bindings;

pub use bindings::check::devops::policy::log;
pub use bundle::{Bundle, BundleInfo, DefaultProbe, DefaultResources, Enforcement, Selection};
pub use check::{Check, Info, NoSettings, Stage};
pub use findings::Findings;
pub use probe::RequiredProbe;

pub use bindings::check::devops::policy::types::{Edit, Finding, Severity};
/// The facts that the host provides to a check.
pub use kube_devops_facts::{
    Container, ContainerKind, Controller, Phase, Quantities, RestartPolicy, SecurityContext, Status, Subject,
};

#[doc(hidden)]
pub use bundle::BundleAdapter;
#[doc(hidden)]
pub use export::{Adapter, Evaluate, Pack, create, exported, info};
#[doc(hidden)]
pub mod typed;
