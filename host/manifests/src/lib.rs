//! Reads Kubernetes manifests as kubectl does: subjects from files, folders and standard input, without a cluster.
//!
//! ```text
//!   paths --> input --> split ------> yaml, json --> tree --> document --> pods --> subjects, or errors with file,
//!   (files)   (text)    (documents,                 (values,  (kinds,     (facts)   document and line
//!                        items of lists)             lines)    lists)
//! ```
//!
//! The input is paths and a default namespace. The output is subjects with the line numbers of their fields, the
//! numbers of skipped files and objects, and errors; or the complete objects of selected kinds ([`read_objects`]); or
//! the typed value of a file that is no object ([`read_document`]). This crate must not depend on checks, policies or
//! output formats.
//!
//! Reading does not fail as a whole. An invalid path, document or item of a list becomes an error of the report, and
//! everything else is evaluated. Documents are parsed on all cores.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod charts;
mod document;
mod exclude;
mod explain;
mod files;
mod found;
mod input;
mod json;
mod kinds;
mod kustomization;
mod list;
mod metadata;
mod objects;
mod openshift;
mod options;
mod origin;
mod owners;
mod paths;
mod pods;
mod problem;
mod reader;
mod scalar;
mod split;
#[cfg(test)]
mod tests;
mod tree;
mod typed;
mod values;
mod walk;
mod yaml;

pub use exclude::check_pattern;
pub use files::{Manifests, Rendered, read};
pub use found::{ManifestObject, NO_KIND, SkippedObject};
pub use objects::{Objects, read_objects};
pub use options::{Limits, ReadOptions, STANDARD_INPUT};
pub use owners::leave_out_owned;
pub use typed::{parse_document, read_document};
