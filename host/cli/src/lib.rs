//! The command line: reads what is to be judged, has it judged, and prints what was found.
//!
//! ```text
//!   arguments --> command --> manifests or cluster --> subjects --> engine --> report --> output, exit code
//! ```
//!
//! In come arguments, files and clusters; out come text and an exit code. What is right or wrong with a pod is not known
//! here: that is for the checks.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod arguments;
mod commands;
pub mod output;
mod progress;
mod terminal;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use arguments::Arguments;

pub use commands::reference;

/// What the program was called as.
const PLUGIN: &str = "kubectl-devops";

/// Runs the program with its arguments, the first of which is what it was called as.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    quiet_caught_panics();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let plugin =
        arguments.first().is_some_and(|called| Path::new(called).file_stem().is_some_and(|name| name == PLUGIN));
    let program = if plugin { "kubectl devops" } else { "kube-devops" };
    let parsed =
        command(program).try_get_matches_from(&arguments).and_then(|matches| Arguments::from_arg_matches(&matches));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        // Clap prints help and mistakes, and knows which of them is a failure.
        Err(answer) => answer.exit(),
    };
    match commands::run(parsed, program) {
        Ok(code) => code.into(),
        Err(error) if terminal::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::print_error(&error);
            commands::Outcome::NotDone.into()
        }
    }
}

/// Keeps quiet about panics of the YAML parser: they are caught, and become errors of their documents.
fn quiet_caught_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|location| location.file().contains("libyaml-safer")) {
            report(panic);
        }
    }));
}

/// The command line as a program of this name.
fn command(program: &'static str) -> clap::Command {
    Arguments::command().bin_name(program)
}
