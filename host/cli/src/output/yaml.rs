//! The report as YAML.

use std::io::{self, Write};

use super::{Shown, plain};

/// Writes the report.
pub fn write(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_norway::to_string(shown.report).map_err(io::Error::other)?;
    // In an unquoted string the escape is literal text, which is acceptable: such a character has no legitimate use there.
    write!(out, "{}", plain::escape_beyond_ascii(&text))
}
