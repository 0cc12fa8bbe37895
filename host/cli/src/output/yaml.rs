//! The report as YAML.

use std::io::{self, Write};

use super::{Shown, plain};

/// Writes the report.
pub fn write(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_norway::to_string(shown.report).map_err(io::Error::other)?;
    // In a text without quotes the escape stays an escape, which is as good as any: nobody means such a character.
    write!(out, "{}", plain::escape_beyond_ascii(&text))
}
