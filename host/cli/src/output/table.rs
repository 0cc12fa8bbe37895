//! Tables in the style of kubectl: columns without borders.

use std::io::{self, Write};

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::plain::fit;

const GAP: usize = 3;
const MIN_NAME_WIDTH: usize = 12;

/// A text and its style.
pub struct Cell {
    pub text: String,
    pub style: Style,
}

impl Cell {
    pub fn new(text: impl ToString, style: Style) -> Self {
        Self { text: text.to_string(), style }
    }
}

/// Writes rows below their headings. If the terminal is too narrow, the last columns, which are the least important, are
/// omitted, and the names in the first column are cut.
pub fn write(headings: Vec<Cell>, rows: Vec<Vec<Cell>>, columns: usize, out: &mut dyn Write) -> io::Result<()> {
    let mut widths = vec![0; headings.len()];
    let rows: Vec<Vec<Cell>> = std::iter::once(headings).chain(rows).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    let used = |widths: &[usize]| -> usize { widths.iter().skip(1).map(|width| width + GAP).sum() };
    while widths.len() > 1 && used(&widths) + MIN_NAME_WIDTH > columns {
        widths.pop();
    }
    let available = columns.saturating_sub(used(&widths)).max(MIN_NAME_WIDTH);
    if let Some(name) = widths.first_mut() {
        *name = available.min(*name);
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
