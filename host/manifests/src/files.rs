//! Reads the documents of files, folders and standard input on all cores.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube_devops_core::report::{Extent, ReportError};
use kube_devops_core::{Source, Subject};
use rayon::prelude::*;

use crate::document::BATCH;
use crate::found::{Found, Parts};
use crate::input::{self, Input};
use crate::options::ReadOptions;
use crate::paths::{self, Inputs};
use crate::problem::Problem;
use crate::reader::{Reader, Wanted};
use crate::{origin, split};

/// The content of manifests.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The subjects, in the order of the paths, documents and items. Those that others control are contained; after the
    /// selection of subjects, [`leave_out_owned`] leaves them out.
    pub subjects: Vec<Subject>,
    /// The numbers of skipped files and objects.
    pub extent: Extent,
    /// The errors of paths, documents and items that could not be read.
    pub errors: Vec<ReportError>,
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
    let mut parts = Parts::default();
    for read in files {
        manifests.files += usize::from(read.is_file);
        manifests.documents += read.documents;
        parts.append(read.parts);
    }
    let found = parts.sum();
    manifests.extent = Extent {
        scaled_to_zero: found.scaled_to_zero,
        patches: inputs.patches,
        excluded_files: inputs.excluded,
        hidden_files: inputs.hidden,
        ignored: found.ignored,
        not_evaluated: found.not_evaluated,
        ..Extent::default()
    };
    manifests.errors = found.errors;
    manifests.subjects = found.subjects;
    manifests
}

/// Reads the files of paths on all cores. Returns their results, and the numbers of the files that were not read.
pub(crate) fn read_paths(paths: &[PathBuf], options: &ReadOptions, wanted: Wanted<'_>) -> (Inputs, Vec<Read>) {
    let mut inputs = paths::find(paths, options);
    let found = std::mem::take(&mut inputs.inputs);
    (inputs, found.into_par_iter().map(|input| read_input(input, options, wanted)).collect())
}

/// The results of reading one input.
#[derive(Default)]
pub(crate) struct Read {
    /// Whether it is a file, or standard input.
    is_file: bool,
    documents: usize,
    /// Its content.
    pub parts: Parts,
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
            let parts = Parts::from_iter([Found { errors: vec![error], ..Found::default() }]);
            Read { parts, ..Read::default() }
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
    let parts: Parts = documents
        .par_chunks(BATCH)
        .enumerate()
        .map(|(batch, documents)| {
            let mut parts = Parts::default();
            for (index, document) in documents.iter().enumerate() {
                let number = batch * BATCH + index + 1;
                let origin = match origins {
                    Origins::File => None,
                    Origins::Specified(folder) => origin::of(&text[document.range.clone()], folder),
                };
                match origin {
                    Some(origin) => {
                        let (file, document) = (&origin, &document.starting_at_content(text));
                        Reader { text, file, document, number, options, wanted }.read(&mut parts);
                    }
                    None => Reader { text, file: name, document, number, options, wanted }.read(&mut parts),
                }
            }
            parts
        })
        .collect();
    Read { is_file: true, documents: documents.len(), parts }
}
