//! What can be wrong with a manifest, in words that say what to do about it.

use std::io;
use std::path::Path;

use kube_devops_core::text::{cut, escape_controls};

/// The longest message, in bytes. Parsers quote the input, and the input can be anything.
const LONGEST: usize = 600;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What is wrong and how to fix it.
    pub message: String,
    /// The line of the file, from 1.
    pub line: usize,
    /// Whether the text is not well-formed.
    pub is_syntax: bool,
}

impl Problem {
    /// A problem of the whole text.
    pub fn new(message: impl Into<String>) -> Self {
        Self::at(1, message)
    }

    /// A problem of one line.
    pub fn at(line: usize, message: impl Into<String>) -> Self {
        Self { message: cut(&escape_controls(&message.into()), LONGEST), line, is_syntax: false }
    }

    /// The same problem with a hint behind it.
    pub fn with(self, hint: &str) -> Self {
        Self { message: self.message + hint, ..self }
    }

    /// The same problem, which is one of syntax.
    pub fn of_syntax(self) -> Self {
        Self { is_syntax: true, ..self }
    }

    /// A path that cannot be read.
    pub fn of_path(path: &Path, error: &io::Error) -> Self {
        let path = path.to_string_lossy();
        Self::new(match error.kind() {
            io::ErrorKind::NotFound => {
                format!("{path} does not exist; check the path, which starts from the current folder")
            }
            io::ErrorKind::PermissionDenied => {
                format!(
                    "{path} cannot be read by this user; grant permission to read it (chmod +r, for a folder chmod +rx)"
                )
            }
            _ => format!("failed to read {path}: {error}"),
        })
    }
}
