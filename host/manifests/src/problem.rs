//! The problems of manifests, with messages that describe how to fix them.

use std::io;
use std::path::Path;

use kube_devops_core::text::{cut, escape_controls};

/// The maximum length of a message, in bytes. Parsers quote the input, which can be arbitrary.
const MAX_LENGTH: usize = 600;

/// A problem of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The problem and how to fix it.
    pub message: String,
    /// The line of the file, from 1.
    pub line: usize,
    /// Whether it is a syntax error.
    pub is_syntax: bool,
}

impl Problem {
    /// Creates a problem of the whole text.
    pub fn new(message: impl Into<String>) -> Self {
        Self::at(1, message)
    }

    /// Creates a problem of a line.
    pub fn at(line: usize, message: impl Into<String>) -> Self {
        Self { message: cut(&escape_controls(&message.into()), MAX_LENGTH), line, is_syntax: false }
    }

    /// Appends a hint to the message.
    pub fn with(self, hint: &str) -> Self {
        Self { message: self.message + hint, ..self }
    }

    /// Marks the problem as a syntax error.
    pub fn of_syntax(self) -> Self {
        Self { is_syntax: true, ..self }
    }

    /// Creates a problem of a path that cannot be read.
    pub fn of_path(path: &Path, error: &io::Error) -> Self {
        let path = path.to_string_lossy();
        Self::new(match error.kind() {
            io::ErrorKind::NotFound => {
                format!("{path} does not exist; check the path, which is relative to the current folder")
            }
            io::ErrorKind::PermissionDenied => {
                format!("no permission to read {path}; grant it with chmod +r, or chmod +rx for a folder")
            }
            _ => format!("failed to read {path}: {error}"),
        })
    }
}
