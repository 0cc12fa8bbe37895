//! The command line: reads the objects to evaluate, has the engine evaluate them, and prints the report.
//!
//! ```text
//!   arguments --> command --> manifests or cluster --> subjects --> engine --> report --> output, exit code
//! ```
//!
//! The input is arguments, files and clusters; the output is text and an exit code. This crate contains no rules for
//! pods: these are in the checks.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod arguments;
mod commands;
mod connection;
mod modules;
pub mod output;
mod progress;
mod terminal;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::FromArgMatches;
use clap::error::{ContextKind, ContextValue};

use arguments::Arguments;

pub use commands::reference;

/// The name of the program.
const PROGRAM: &str = "kube-devops";
/// The name of the program as a plugin of kubectl.
const PLUGIN: &str = "kubectl-devops";

/// Runs the program with its arguments, the first of which is the name of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    silence_caught_panics();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let plugin = arguments.first().is_some_and(|path| Path::new(path).file_stem().is_some_and(|name| name == PLUGIN));
    let program = if plugin { "kubectl devops" } else { PROGRAM };
    let parsed = arguments::command(program)
        .try_get_matches_from(&arguments)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        // Clap prints help texts and usage errors, and exits with the corresponding code.
        Err(error) => without_credentials(error).exit(),
    };
    match commands::run(parsed, program) {
        Ok(code) => code.into(),
        Err(error) => {
            terminal::print_error(&error);
            commands::Outcome::Failure.into()
        }
    }
}

/// Removes credentials from the value that a usage error repeats: errors end up in the logs of CI.
fn without_credentials(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        let shown = kube_devops_oci::without_credentials(value).into_owned();
        error.insert(ContextKind::InvalidValue, ContextValue::String(shown));
    }
    error
}

/// Suppresses the output of panics in the YAML parser: they are caught and reported as errors of their documents.
fn silence_caught_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|location| location.file().contains("libyaml-safer")) {
            report(panic);
        }
    }));
}
