//! The report for a user at a terminal: the most severe violations first, the summary last.

mod clusters;
mod errors;
mod namespaces;
mod summary;
mod violations;

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use kube_devops_core::text::number;
use unicode_width::UnicodeWidthStr;

use super::palette::Palette;
use super::plain;
use super::{Place, Shown};

pub use namespaces::write_namespaces;

const MAX_MESSAGE_LENGTH: usize = 300;
const MAX_ERROR_LENGTH: usize = 1000;

/// Writes the report.
pub fn write(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let page = Page { shown, palette: Palette { colours: shown.colours } };
    page.violations(out)?;
    page.errors(out)?;
    page.not_evaluated(out)?;
    page.clusters(out)?;
    page.namespaces(out)?;
    page.hints(out)?;
    page.skipped(out)?;
    page.summary(out)
}

struct Page<'a> {
    shown: &'a Shown<'a>,
    palette: Palette,
}

impl Page<'_> {
    /// Writes a text and its place from a column on, which is the position of the cursor.
    fn message(&self, text: &str, place: Option<Place>, column: usize, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.shown.width.saturating_sub(column).max(1);
        let mut lines = plain::wrap(text, columns).into_iter();
        let mut last = lines.next().unwrap_or_default();
        write!(out, "{last}")?;
        for line in lines {
            write!(out, "\n{:column$}{line}", "")?;
            last = line;
        }
        if let Some(place) = place.map(|place| place.text())
            && !text.contains(&place)
        {
            let dimmed = self.palette.dimmed();
            if last.width() + 2 + place.width() <= columns {
                write!(out, "  {dimmed}{place}{dimmed:#}")?;
            } else {
                write!(out, "\n{:column$}{dimmed}{place}{dimmed:#}", "")?;
            }
        }
        writeln!(out)
    }

    /// Writes the number of items that are not shown.
    fn more(&self, count: usize, what: &str, whole_section: bool, out: &mut dyn Write) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let dimmed = self.palette.dimmed();
        let (indent, end) = if whole_section { ("", "\n") } else { ("  ", "") };
        writeln!(
            out,
            "{indent}{dimmed}... and {}; -o json lists all{dimmed:#}{end}",
            number(count, &format!("more {what}"))
        )
    }
}
