//! Evaluates checks and bundles, which are WebAssembly components behind the contract `devops:policy`, within limits.
//!
//! ```text
//!   bytes --compile--> component --describe--> CheckModule --settings--> Rule --.
//!                                                                               |--> RuleSet::evaluate --> outcomes
//!   subjects (batches of typed facts) ------------------------------------------'
//! ```
//!
//! In come components and subjects; out come the outcomes of checks. Every component is untrusted: it gets no clock, no
//! randomness, no environment and no way out; time, memory and the size of its answers are limited; and an evaluation
//! that fails is an error that names check, module and cause, never a pass. This crate must not know where modules or
//! subjects come from, nor what becomes of the outcomes.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod batch;
mod bindings;
mod bundle;
mod check;
mod convert;
mod describe;
mod engine;
mod error;
mod instance;
mod limits;
mod rule;
mod rule_set;

pub use bundle::BundleModule;
pub use check::CheckModule;
pub use engine::{Engine, configuration};
pub use error::{CallError, LoadError, RuleError};
pub use instance::Objects;
pub use limits::Limits;
pub use rule::Rule;
pub use rule_set::{Checks, RuleSet};

/// The component that modules are loaded from, once it is compiled.
pub use wasmtime::component::Component;
