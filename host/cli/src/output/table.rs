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

/// Writes rows under headings. The first column holds names: it is aligned to the left, and cut where the columns do not
/// suffice; the others hold numbers and classes of known widths.
pub fn write(
    headings: &[&str],
    rows: &[Vec<Cell>],
    heading_style: Style,
    columns: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    if let [name, others @ ..] = widths.as_mut_slice() {
        let taken: usize = others.iter().map(|width| width + GAP).sum();
        *name = (*name).min(columns.saturating_sub(taken).max(NARROWEST_NAME));
    }
    let heading_cells: Vec<Cell> = headings.iter().map(|heading| Cell::new(heading, heading_style)).collect();
    for row in std::iter::once(&heading_cells).chain(rows) {
        for (index, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let text = fit(&cell.text, width);
            let style = cell.style;
            let padding = width - text.width();
            match index {
                0 if row.len() == 1 => write!(out, "{style}{text}{style:#}")?,
                0 => write!(out, "{style}{text}{style:#}{:padding$}", "")?,
                _ => write!(out, "{:gap$}{style}{text}{style:#}", "", gap = GAP + padding)?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
