//! Manifests: files, folders and standard input as subjects, without a cluster.
//!
//! ```text
//!   paths --> input --> split --> document --> subjects, or errors with file, document and line
//!   (which)   (text)    (documents) |  ^
//!                                   v  |
//!                         list, parse: guard, shape, explain                locate: the line of a JSON Pointer
//! ```
//!
//! Reading never fails as a whole. Whatever is wrong with one path, document or item of a list becomes an error of the
//! report, and everything else is judged all the same. Documents are parsed on all cores.

mod anchors;
mod document;
mod explain;
mod guard;
mod input;
mod list;
mod locate;
mod nesting;
mod parse;
mod paths;
mod problem;
mod shape;
mod sources;
mod split;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kube_devops_core::object::Extracted;
use kube_devops_core::report::{Extent, ReportError};
use kube_devops_core::{Source, Subject};
use rayon::prelude::*;

use document::{Found, Reader};
use paths::Input;
use problem::Problem;
use sources::{File, Sources};

/// What documents without a kind are counted under.
pub const NO_KIND: &str = "(no kind)";

/// What reading needs to know beside the paths.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The time that the ages of pods are counted to.
    pub now: DateTime<Utc>,
    /// The namespace of objects that name none.
    pub default_namespace: String,
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
    /// What the aliases of a YAML document may stand for beyond its own length; 16 MiB.
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
    /// What is to be judged, in the order of the paths, documents and items.
    pub subjects: Vec<Subject>,
    /// What was left out, and what is wrong.
    pub extent: Extent,
    /// How many files were read, standard input among them.
    pub files: usize,
    /// How many documents they hold. Documents of comments alone do not count.
    pub documents: usize,
    sources: Sources,
}

/// Reads all that the paths stand for: files, folders with all manifests in them, and `-` for standard input.
pub fn read(paths: &[PathBuf], options: &ReadOptions) -> Manifests {
    let files: Vec<_> = paths::find(paths).into_par_iter().map(|input| read_input(input, options)).collect();
    let mut manifests = Manifests::default();
    let mut extracted = Extracted::default();
    for mut read in files {
        manifests.files += usize::from(read.is_file);
        manifests.documents += read.documents;
        document::add(&mut extracted, &mut read.found.extracted);
        manifests.extent.errors.append(&mut read.found.errors);
        if let Some(file) = read.file {
            manifests.sources.add(file);
        }
    }
    manifests.subjects = extracted.subjects;
    manifests.extent.finished = extracted.finished;
    for (kind, count) in extracted.ignored {
        let kind = if kind.is_empty() { NO_KIND.to_owned() } else { kind };
        *manifests.extent.ignored.entry(kind).or_default() += count;
    }
    manifests
}

impl Manifests {
    /// The line in the file of the field at a JSON Pointer into the object from `source`; of the closest value around it
    /// where it does not exist, and of the object itself where there is no field.
    pub fn line_of(&self, source: &Source, field: Option<&str>) -> usize {
        self.sources.line_of(source, field.unwrap_or_default())
    }
}

/// How many documents are handed to a core at once. What was found in each alone would need much room.
const BATCH: usize = 16;

/// What became of one input.
#[derive(Default)]
struct Read {
    is_file: bool,
    documents: usize,
    found: Found,
    /// The text, where lines in it can be asked for.
    file: Option<File>,
}

fn read_input(input: Result<Input, (Arc<str>, Problem)>, options: &ReadOptions) -> Read {
    let (name, text) = match input {
        Ok(input) => (input.name.clone(), input::text(&input, &options.limits)),
        Err((name, problem)) => (name, Err(problem)),
    };
    let mut read = Read::default();
    let text = match text {
        Ok(text) => text,
        Err(problem) => {
            let source = Source { file: name, document: 1, line: problem.line, pointer: String::new() };
            read.found.errors.push(ReportError { message: problem.message, check: None, source: Some(source) });
            return read;
        }
    };
    read.is_file = true;
    let documents = split::documents(&text);
    read.documents = documents.len();
    let parts: Vec<Found> = documents
        .par_chunks(BATCH)
        .enumerate()
        .map(|(batch, documents)| {
            let mut found = Found::default();
            for (index, document) in documents.iter().enumerate() {
                let number = batch * BATCH + index + 1;
                found.add(Reader { text: &text, file: &name, document, number, options }.read());
            }
            found
        })
        .collect();
    for part in parts {
        read.found.add(part);
    }
    if !read.found.extracted.subjects.is_empty() {
        let items = std::mem::take(&mut read.found.items);
        read.file = Some(File { name, text, documents, items });
    }
    read
}
