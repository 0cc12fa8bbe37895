//! A document that is read, for its parsers and for the places of its errors.

use std::sync::Arc;

use kube_devops_core::Source;
use kube_devops_core::report::ReportError;

use crate::options::ReadOptions;
use crate::problem::Problem;
use crate::split::Document;

/// The groups and kinds of the wanted objects; `None` if subjects are wanted.
pub(crate) type Wanted<'a> = Option<&'a [(&'a str, &'a str)]>;

/// A document and the parameters for reading it.
pub(crate) struct Reader<'a> {
    /// The text of the file.
    pub text: &'a str,
    /// The name of the file.
    pub file: &'a Arc<str>,
    /// The document.
    pub document: &'a Document,
    /// The number of the document, from 1.
    pub number: usize,
    /// The options for reading.
    pub options: &'a ReadOptions,
    /// The kinds whose objects are wanted instead of subjects.
    pub wanted: Wanted<'a>,
}

impl Reader<'_> {
    /// Returns the source of a line of the document.
    pub fn source(&self, line: usize) -> Source {
        Source { file: self.file.clone(), document: self.number, line, object_line: line }
    }

    /// Returns a problem of the document as an error of the report.
    pub fn error(&self, problem: Problem) -> ReportError {
        ReportError { source: Some(self.source(problem.line)), ..ReportError::new(problem.message) }
    }
}
