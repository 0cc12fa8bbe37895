//! The checks and bundles that are embedded in the program.
//!
//! ```text
//!   policies/, bundles/ --build.rs--> native code in the program --load--> LoadedCheck, LoadedBundle
//! ```
//!
//! The input is an engine; the output is loaded modules with their descriptions. This crate must not depend on the
//! names of checks or on their use.
// `forbid` would not allow the exception in `precompiled`.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod embedded;
mod precompiled;

pub use embedded::{EmbedError, bundles, checks};
