//! Runs checks and bundles, which are WebAssembly components with the contract `devops:policy`, within resource limits.
//!
//! ```text
//!   bytes --compile--> component --describe--> LoadedCheck --settings--> Rule --.
//!                                                                               |--> RuleSet::evaluate --> outcomes
//!   subjects --> batches of facts ----------------------------------------------'
//! ```
//!
//! The input is components and subjects; the output is the outcomes of checks. Every component is untrusted: it has no
//! clock, no randomness, no environment and no I/O; its time, memory and the size of its results are limited; and a
//! failed evaluation is an error with check, module and cause, never a pass. This crate must not depend on the source
//! of modules and subjects, or on the use of the outcomes.
// The loading of compiled code is the exception, and argues why it is sound.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod batch;
mod bindings;
mod budget;
mod bundle;
mod catalog;
mod check;
mod compile_child;
mod compiled;
mod compiler;
mod convert;
mod describe;
mod engine;
mod error;
mod facts;
mod failures;
mod folder;
mod idle;
mod instance;
mod limits;
mod listed;
mod loaded;
mod memory;
mod module;
mod object;
mod rule;
mod rule_cache;
mod rule_set;
mod shape;

pub use bundle::LoadedBundle;
pub use catalog::{Catalog, NameConflict};
pub use check::LoadedCheck;
pub use compile_child::compile_as_child;
pub use compiler::{ChildCompiler, Compiler, MemoryLimit};
#[doc(hidden)]
pub use convert::write as write_facts;
pub use engine::{Engine, configuration};
pub use error::{CallError, LoadError, RuleError};
pub use folder::{FolderError, PrivateFolder};
pub use limits::Limits;
pub use loaded::{Grants, LoadedModule};
pub use rule_set::{Checks, RuleSet};

/// A compiled component, from which modules are loaded.
pub use wasmtime::component::Component;
