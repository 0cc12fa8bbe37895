//! The command line: reads what is to be judged, has it judged, and prints what was found.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod manifests;
pub mod output;
