//! The terminal of the program, if there is one.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, stderr, stdout};

use kube_devops_core::text::escape_controls;

/// The width of text outside a terminal, in columns.
const DEFAULT_WIDTH: usize = 100;

/// Reports whether standard output can have colours: it is a terminal that supports them, and `NO_COLOR` is not set
/// (<https://no-color.org>).
pub fn colours() -> bool {
    let disabled = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
    stdout().is_terminal() && !disabled && !dumb
}

/// Returns the width of the terminal in columns.
pub fn width() -> usize {
    match terminal_size::terminal_size() {
        Some((width, _)) => usize::from(width.0),
        None => env::var("COLUMNS").ok().and_then(|width| width.parse().ok()).unwrap_or(DEFAULT_WIDTH),
    }
}

/// Reports whether standard error is a terminal, which can show progress.
pub fn shows_progress() -> bool {
    stderr().is_terminal()
}

/// Reports whether writing failed because the reader closed the pipe, as in `kube-devops explain latest-tag | head -1`.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe))
}

/// Prints an error with its causes. Control characters are escaped, because causes can quote untrusted input.
pub fn print_error(error: &anyhow::Error) {
    print_message("error", &format!("{error:#}"));
}

/// Prints a message to standard error, after its kind such as `warning`. Control characters are escaped.
pub fn print_message(kind: &str, message: &str) {
    let lines: Vec<_> = message.lines().map(escape_controls).collect();
    eprintln!("{kind}: {}", lines.join("\n"));
}
