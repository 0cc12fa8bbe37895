//! The table of namespaces.

use std::borrow::Borrow;
use std::io::{self, Write};

use anstyle::Style;
use kube_devops_core::report::NamespaceReport;

use super::super::palette::Palette;
use super::super::plain::name;
use super::super::table::{self, Cell};
use super::Page;

const MAX_NAMESPACES: usize = 20;

impl Page<'_> {
    pub(super) fn namespaces(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut namespaces: Vec<&NamespaceReport> = self.shown.report.namespaces.iter().collect();
        if namespaces.is_empty() {
            return Ok(());
        }
        namespaces.sort_by(|one, other| {
            let by_score = one.score.cmp(&other.score).then(one.compliance.total_cmp(&other.compliance));
            by_score.then(other.violations.cmp(&one.violations)).then(one.name.cmp(&other.name))
        });
        let shown = &namespaces[..namespaces.len().min(MAX_NAMESPACES)];
        write_namespaces(shown, &self.palette, self.shown.width, out)?;
        self.more(namespaces.len().saturating_sub(MAX_NAMESPACES), "namespace", false, out)?;
        writeln!(out)
    }
}

/// Writes a table of namespaces.
pub fn write_namespaces<N: Borrow<NamespaceReport>>(
    namespaces: &[N],
    palette: &Palette,
    width: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    const HEADINGS: [&str; 7] = ["NAMESPACE", "SCORE", "STATUS", "COMPLIANCE", "GRADE", "SUBJECTS", "VIOLATIONS"];
    let normal = Style::new();
    let row = |namespace: &N| {
        let namespace = namespace.borrow();
        vec![
            Cell::new(name(&namespace.name), normal),
            Cell::new(namespace.score, normal),
            Cell::new(namespace.classification, palette.class(namespace.classification)),
            Cell::new(format!("{:.1} %", namespace.compliance), normal),
            Cell::new(namespace.grade, palette.grade(namespace.grade)),
            Cell::new(namespace.subjects, normal),
            Cell::new(namespace.violations, normal),
        ]
    };
    let headings = HEADINGS.iter().map(|heading| Cell::new(heading, palette.dimmed())).collect();
    table::write(headings, namespaces.iter().map(row).collect(), width, out)
}
