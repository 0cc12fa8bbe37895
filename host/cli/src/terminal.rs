//! The terminal that the program runs in, if it does.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, stderr, stdout};

use kube_devops_core::text::escape_controls;

/// The columns of text that nobody's terminal limits.
const DEFAULT_WIDTH: usize = 100;

/// Whether standard output may have colours: it is a terminal that can show them, and nobody has asked for none
/// (<https://no-color.org>).
pub fn colours() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
    stdout().is_terminal() && !refused && !dumb
}

/// How many columns there are.
pub fn width() -> usize {
    match terminal_size::terminal_size() {
        Some((width, _)) => usize::from(width.0),
        None => env::var("COLUMNS").ok().and_then(|width| width.parse().ok()).unwrap_or(DEFAULT_WIDTH),
    }
}

/// Whether standard error is a terminal, so that progress can be shown there.
pub fn shows_progress() -> bool {
    stderr().is_terminal()
}

/// Whether writing failed because nobody reads any more, as in `kube-devops explain latest-tag | head -1`.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe))
}

/// Prints an error with its causes. They may quote what others have written.
pub fn print_error(error: &anyhow::Error) {
    let text = format!("{error:#}");
    let lines: Vec<_> = text.lines().map(escape_controls).collect();
    eprintln!("error: {}", lines.join("\n"));
}
