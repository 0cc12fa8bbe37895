//! The terminal of the program, if there is one.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write, stderr, stdout};

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

/// Writes to standard output. A reader that closed the pipe needs no more, as in `kube-devops explain latest-tag | head -1`: this
/// changes nothing about the outcome of a command.
pub fn write_out(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    write_unless_closed(&mut stdout().lock(), write)
}

/// Like [`write_out`], to another output. Only a pipe can be closed by its reader.
pub fn write_unless_closed(
    out: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    match write(out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints an error with its causes. Control characters are escaped, because causes can quote untrusted input.
pub fn print_error(error: &anyhow::Error) {
    print_message("error", &format!("{error:#}"));
}

/// Prints a message to standard error, after its kind such as `warning`. Control characters are escaped.
pub fn print_message(kind: &str, message: &str) {
    let lines: Vec<_> = message.lines().map(escape_controls).collect();
    print_note(&format!("{kind}: {}", lines.join("\n")));
}

/// Prints a line to standard error.
pub fn print_note(text: &str) {
    // The outcome of a command does not depend on whether its messages can be written, and there is no other place for them.
    let _ = writeln!(stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when it is flushed, as standard output does that collects lines.
    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn only_a_closed_standard_output_is_no_error() {
        let result = |kind| write_unless_closed(&mut Failing(kind), |out| out.write_all(b"text"));
        assert!(result(ErrorKind::BrokenPipe).is_ok());
        assert!(result(ErrorKind::StorageFull).is_err());
        let within = |kind: ErrorKind| write_unless_closed(&mut Vec::new(), |_| Err(kind.into()));
        assert!(within(ErrorKind::BrokenPipe).is_ok() && within(ErrorKind::Other).is_err());
    }
}
