//! Where modules come from: the checks and bundles that are embedded in the program.
//!
//! ```text
//!   policies/, bundles/ --build.rs--> native code in the program --load--> CheckModule, BundleModule
//! ```
//!
//! Nothing comes in but an engine; out come modules that are loaded and described. This crate must not know what checks
//! are called or what becomes of them.
// `forbid` would not let the one module with a reason make an exception.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod embedded;
mod precompiled;

pub use embedded::{EmbedError, bundle_names, bundles, check_names, checks};
