//! Reads Kubernetes manifests as kubectl reads them: files, folders and standard input as subjects, without a cluster.
//!
//! ```text
//!   paths --> input --> split ------> yaml, json --> tree --> document --> pods --> subjects, or errors with file,
//!   (which)   (text)    (documents,                 (values,  (kinds,     (facts)   document and line
//!                        items of lists)             lines)    lists)
//! ```
//!
//! In come paths and what an object without a namespace belongs to. Out come the subjects with the lines of their fields, what
//! was left out, and what is wrong. This crate must not know checks, policies or how anything is shown.
//!
//! Reading never fails as a whole. Whatever is wrong with one path, document or item of a list becomes an error of the
//! report, and everything else is evaluated all the same. Documents are parsed on all cores.
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
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kube_devops_core::report::{Extent, ReportError};
use kube_devops_core::{Source, Subject};
use rayon::prelude::*;

pub use exclude::check_pattern;

use document::Reader;
use found::Found;
use paths::Input;
use problem::Problem;

/// What documents without a kind are counted under.
pub const NO_KIND: &str = "(no kind)";

/// How reports call standard input.
pub const STANDARD_INPUT: &str = "stdin";

/// What reading needs to know beside the paths.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The time that the ages of pods are counted to.
    pub now: DateTime<Utc>,
    /// The namespace of objects that name none.
    pub default_namespace: String,
    /// What is left out of folders, in the syntax of `.gitignore`.
    pub exclude: Vec<String>,
    /// What standard input is called; otherwise [`STANDARD_INPUT`].
    pub stdin_name: Option<String>,
    /// How much is read.
    pub limits: Limits,
}

/// How much is read. More than that is an error of the file or document.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest file; 512 MiB.
    pub file_bytes: u64,
    /// The largest YAML document that is parsed as one; 8 MiB, and Kubernetes takes objects of 3 MiB at most. Lists as
    /// kubectl writes them are parsed item by item, and may be as large as a file.
    pub document_bytes: usize,
    /// What the aliases of a YAML document may stand for; 16 MiB.
    pub expansion_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 512 << 20, document_bytes: 8 << 20, expansion_bytes: 16 << 20 }
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Manifests {
    /// What is to be evaluated, in the order of the paths, documents and items.
    pub subjects: Vec<Subject>,
    /// What was left out, and what is wrong.
    pub extent: Extent,
    /// How many files were read, standard input among them.
    pub files: usize,
    /// How many documents they hold. Documents of comments alone do not count.
    pub documents: usize,
}

/// Manifests that another program rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What reports name as their file, unless the manifests themselves do.
    pub name: Arc<str>,
    /// The folder that the files are in which the manifests name.
    pub folder: Option<PathBuf>,
    /// The manifests.
    pub text: String,
}

/// Reads all that the paths stand for: files, folders with all manifests in them, and `-` for standard input. Then what was
/// rendered.
pub fn read(paths: &[PathBuf], rendered: &[Rendered], options: &ReadOptions) -> Manifests {
    let inputs = paths::find(paths, options);
    let mut files: Vec<_> = inputs.inputs.into_par_iter().map(|input| read_input(input, options)).collect();
    files.extend(rendered.iter().map(|rendered| {
        let Rendered { name, folder, text } = rendered;
        read_text(name, text, Origins::Named(folder.as_deref()), options)
    }));
    let mut manifests = Manifests::default();
    let mut found = Found::default();
    for read in files {
        manifests.files += usize::from(read.is_file);
        manifests.documents += read.documents;
        found.add(read.found);
    }
    manifests.extent = Extent {
        finished: found.finished,
        scaled_to_zero: found.scaled_to_zero,
        owned: owners::mark(&mut found.subjects),
        patches: inputs.patches,
        excluded_files: inputs.excluded,
        ignored: found.ignored,
        not_evaluated: found.not_evaluated,
        errors: found.errors,
        ..Extent::default()
    };
    manifests.subjects = found.subjects;
    manifests
}

/// How many documents or items of a list are handed to a core at once. What was found in each alone would need much room.
const BATCH: usize = 16;

/// What was read of one input.
#[derive(Default)]
struct Read {
    is_file: bool,
    documents: usize,
    found: Found,
}

fn read_input(input: Result<Input, (Arc<str>, Problem)>, options: &ReadOptions) -> Read {
    let (name, text, is_stdin) = match input {
        Ok(input) => (input.name.clone(), input::text(&input, &options.limits), input.path.is_none()),
        Err((name, problem)) => (name, Err(problem), false),
    };
    match text {
        Ok(text) => {
            let origins = if is_stdin { Origins::Named(None) } else { Origins::TheFile };
            read_text(&name, &text, origins, options)
        }
        Err(problem) => {
            let source = Source { file: name, document: 1, line: problem.line, object_line: problem.line };
            let error = ReportError { message: problem.message, check: None, source: Some(source) };
            Read { found: Found { errors: vec![error], ..Found::default() }, ..Read::default() }
        }
    }
}

/// Which file the documents of a text come from.
#[derive(Clone, Copy)]
enum Origins<'a> {
    /// The file that they were read from.
    TheFile,
    /// The one that a document names, in this folder; its lines are counted from the start of its content then.
    Named(Option<&'a Path>),
}

/// Reads the documents of a text.
fn read_text(name: &Arc<str>, text: &str, origins: Origins<'_>, options: &ReadOptions) -> Read {
    let documents = split::documents(text);
    let parts: Vec<Found> = documents
        .par_chunks(BATCH)
        .enumerate()
        .map(|(batch, documents)| {
            let mut found = Found::default();
            for (index, document) in documents.iter().enumerate() {
                let number = batch * BATCH + index + 1;
                let origin = match origins {
                    Origins::TheFile => None,
                    Origins::Named(folder) => origin::of(&text[document.range.clone()], folder),
                };
                let part = match origin {
                    Some(origin) => {
                        let (file, document) = (&origin, &document.starting_at_content(text));
                        Reader { text, file, document, number, options }.read()
                    }
                    None => Reader { text, file: name, document, number, options }.read(),
                };
                found.add(part);
            }
            found
        })
        .collect();
    Read { is_file: true, documents: documents.len(), found: document::sum(parts) }
}
