//! Reads Kubernetes manifests as kubectl does: subjects from files, folders and standard input, without a cluster.
//!
//! ```text
//!   paths --> input --> split ------> yaml, json --> tree --> document --> pods --> subjects, or errors with file,
//!   (files)   (text)    (documents,                 (values,  (kinds,     (facts)   document and line
//!                        items of lists)             lines)    lists)
//! ```
//!
//! The input is paths and a default namespace. The output is subjects with the line numbers of their fields, the
//! numbers of skipped files and objects, and errors; or the complete objects of selected kinds ([`read_objects`]). This
//! crate must not depend on checks, policies or output formats.
//!
//! Reading does not fail as a whole. An invalid path, document or item of a list becomes an error of the report, and
//! everything else is evaluated. Documents are parsed on all cores.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod document;
mod exclude;
mod explain;
mod found;
mod input;
mod json;
mod kinds;
mod kustomization;
mod list;
mod metadata;
mod objects;
mod openshift;
mod origin;
mod owners;
mod paths;
mod pods;
mod problem;
mod scalar;
mod split;
#[cfg(test)]
mod tests;
mod tree;
mod values;
mod walk;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kube_devops_core::report::{Extent, ReportError};
use kube_devops_core::{Needs, Source, Subject};
use rayon::prelude::*;

pub use exclude::check_pattern;
pub use objects::{ManifestObject, Objects, SkippedObject, read_objects};
pub use owners::leave_out_owned;

use document::Reader;
use found::Found;
use objects::Wanted;
use paths::{Input, Inputs};
use problem::Problem;

/// The kind under which documents without a kind are counted.
pub const NO_KIND: &str = "(no kind)";

/// The default name of standard input in reports.
pub const STANDARD_INPUT: &str = "stdin";

/// The options for reading manifests.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The current time, for the ages of pods.
    pub now: DateTime<Utc>,
    /// The namespace of objects without a namespace.
    pub default_namespace: String,
    /// Patterns of files in folders to exclude, in the syntax of `.gitignore`.
    pub exclude: Vec<String>,
    /// The name of standard input in reports; the default is [`STANDARD_INPUT`].
    pub stdin_name: Option<String>,
    /// What checks need in addition to the usual facts.
    pub needs: Needs,
    /// The size limits.
    pub limits: Limits,
}

impl ReadOptions {
    /// Returns the options that exclude nothing, with the usual limits and facts, and the namespace `default`.
    pub fn new(now: DateTime<Utc>) -> Self {
        Self {
            now,
            default_namespace: "default".to_owned(),
            exclude: Vec::new(),
            stdin_name: None,
            needs: Needs::default(),
            limits: Limits::default(),
        }
    }
}

/// Size limits. A file or document that exceeds a limit is an error.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The maximum size of a file; 512 MiB.
    pub file_bytes: u64,
    /// The maximum size of a YAML document; 8 MiB, and Kubernetes accepts objects of at most 3 MiB. Lists in the format
    /// of kubectl are parsed item by item, and can be as large as a file.
    pub document_bytes: usize,
    /// The maximum expansion of the aliases of a YAML document, and of the parameters of its OpenShift templates; 16 MiB.
    pub expansion_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 512 << 20, document_bytes: 8 << 20, expansion_bytes: 16 << 20 }
    }
}

/// The content of manifests.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The subjects, in the order of the paths, documents and items. Those that others control are contained; after the
    /// selection of subjects, [`leave_out_owned`] leaves them out.
    pub subjects: Vec<Subject>,
    /// The numbers of skipped files and objects, and the errors.
    pub extent: Extent,
    /// The number of files, including standard input.
    pub files: usize,
    /// The number of documents, without those that only contain comments.
    pub documents: usize,
}

/// Manifests that were rendered by another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The name of the file in reports, for manifests that do not specify their source files.
    pub name: Arc<str>,
    /// The folder of the source files.
    pub folder: Option<PathBuf>,
    /// The manifests.
    pub text: String,
}

/// Reads paths to files, to folders with all manifests in them, and `-` for standard input, and then rendered
/// manifests.
pub fn read(paths: &[PathBuf], rendered: &[Rendered], options: &ReadOptions) -> Manifests {
    let (inputs, mut files) = read_paths(paths, options, None);
    files.extend(rendered.iter().map(|rendered| {
        let Rendered { name, folder, text } = rendered;
        read_text(name, text, Origins::Specified(folder.as_deref()), options, None)
    }));
    let mut manifests = Manifests::default();
    let mut found = Found::default();
    for read in files {
        manifests.files += usize::from(read.is_file);
        manifests.documents += read.documents;
        found.add(read.found);
    }
    manifests.extent = Extent {
        scaled_to_zero: found.scaled_to_zero,
        patches: inputs.patches,
        excluded_files: inputs.excluded,
        hidden_files: inputs.hidden,
        ignored: found.ignored,
        not_evaluated: found.not_evaluated,
        errors: found.errors,
        ..Extent::default()
    };
    manifests.subjects = found.subjects;
    manifests
}

/// Reads the files of paths on all cores. Returns their results, and the numbers of the files that were not read.
fn read_paths(paths: &[PathBuf], options: &ReadOptions, wanted: Wanted<'_>) -> (Inputs, Vec<Read>) {
    let mut inputs = paths::find(paths, options);
    let found = std::mem::take(&mut inputs.inputs);
    (inputs, found.into_par_iter().map(|input| read_input(input, options, wanted)).collect())
}

/// The number of documents or items of a list in a task for a core. Separate results for each would need too much
/// memory.
const BATCH: usize = 16;

/// The results of reading one input.
#[derive(Default)]
struct Read {
    is_file: bool,
    documents: usize,
    found: Found,
}

fn read_input(input: Result<Input, (Arc<str>, Problem)>, options: &ReadOptions, wanted: Wanted<'_>) -> Read {
    let (name, text, is_stdin) = match input {
        Ok(input) => (input.name.clone(), input::text(&input, &options.limits), input.path.is_none()),
        Err((name, problem)) => (name, Err(problem), false),
    };
    match text {
        Ok(text) => {
            let origins = if is_stdin { Origins::Specified(None) } else { Origins::File };
            read_text(&name, &text, origins, options, wanted)
        }
        Err(problem) => {
            let source = Source { file: name, document: 1, line: problem.line, object_line: problem.line };
            let error = ReportError { source: Some(source), ..ReportError::new(problem.message) };
            Read { found: Found { errors: vec![error], ..Found::default() }, ..Read::default() }
        }
    }
}

/// The source files of the documents of a text.
#[derive(Clone, Copy)]
enum Origins<'a> {
    /// The file that is read.
    File,
    /// The file that a document specifies, in this folder; lines are then counted from the start of its content.
    Specified(Option<&'a Path>),
}

/// Reads the documents of a text.
fn read_text(name: &Arc<str>, text: &str, origins: Origins<'_>, options: &ReadOptions, wanted: Wanted<'_>) -> Read {
    let documents = split::documents(text);
    let parts: Vec<Found> = documents
        .par_chunks(BATCH)
        .enumerate()
        .map(|(batch, documents)| {
            let mut found = Found::default();
            for (index, document) in documents.iter().enumerate() {
                let number = batch * BATCH + index + 1;
                let origin = match origins {
                    Origins::File => None,
                    Origins::Specified(folder) => origin::of(&text[document.range.clone()], folder),
                };
                let part = match origin {
                    Some(origin) => {
                        let (file, document) = (&origin, &document.starting_at_content(text));
                        Reader { text, file, document, number, options, wanted }.read()
                    }
                    None => Reader { text, file: name, document, number, options, wanted }.read(),
                };
                found.add(part);
            }
            found
        })
        .collect();
    Read { is_file: true, documents: documents.len(), found: document::sum(parts) }
}
