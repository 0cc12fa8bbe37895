//! Tables as kubectl prints them: columns, no borders.

use std::io::{self, Write};

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::plain::fit;

const GAP: usize = 3;
const NARROWEST_NAME: usize = 12;

/// A text and how it looks.
pub struct Cell {
    pub text: String,
    pub style: Style,
}

impl Cell {
    pub fn new(text: impl ToString, style: Style) -> Self {
        Self { text: text.to_string(), style }
    }
}

/// Writes rows under their headings. Where there are too few columns for all of them, names in the first are cut, and the
/// last, which matter least, are left out.
pub fn write(headings: Vec<Cell>, rows: Vec<Vec<Cell>>, columns: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut widths = vec![0; headings.len()];
    let rows: Vec<Vec<Cell>> = std::iter::once(headings).chain(rows).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    let taken = |widths: &[usize]| -> usize { widths.iter().skip(1).map(|width| width + GAP).sum() };
    while widths.len() > 1 && taken(&widths) + NARROWEST_NAME > columns {
        widths.pop();
    }
    let room = columns.saturating_sub(taken(&widths)).max(NARROWEST_NAME);
    if let Some(name) = widths.first_mut() {
        *name = room.min(*name);
    }
    for row in &rows {
        let mut padding = 0;
        for (Cell { text, style }, &width) in row.iter().zip(&widths) {
            let text = fit(text, width);
            write!(out, "{:padding$}{style}{text}{style:#}", "")?;
            padding = width - text.width() + GAP;
        }
        writeln!(out)?;
    }
    Ok(())
}
