//! The table of namespaces.

use std::borrow::Borrow;
use std::io::{self, Write};

use anstyle::Style;
use kube_devops_core::report::NamespaceReport;

use super::super::palette::Palette;
use super::super::plain::{fit, name};
use super::super::table::{self, Cell};
use super::Page;

const MAX_NAMESPACES: usize = 20;
/// The names of clusters can be as long as `arn:aws:eks:eu-central-1:123456789012:cluster/production`.
const MAX_CLUSTER_WIDTH: usize = 30;

impl Page<'_> {
    pub(super) fn namespaces(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut namespaces: Vec<&NamespaceReport> = self.shown.report.namespaces.iter().collect();
        if namespaces.is_empty() {
            return Ok(());
        }
        namespaces.sort_by(|one, other| {
            let by_score = one.score.cmp(&other.score).then(one.compliance.total_cmp(&other.compliance));
            let by_name = one.cluster.cmp(&other.cluster).then(one.name.cmp(&other.name));
            by_score.then(other.violations.cmp(&one.violations)).then(by_name)
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
    let has_clusters = namespaces.iter().any(|namespace| namespace.borrow().cluster.is_some());
    let cluster = |text: &str, style| has_clusters.then(|| Cell::new(fit(&name(text), MAX_CLUSTER_WIDTH), style));
    let row = |namespace: &N| {
        let namespace = namespace.borrow();
        let mut cells = vec![Cell::new(name(&namespace.name), normal)];
        cells.extend(cluster(namespace.cluster.as_deref().unwrap_or_default(), normal));
        cells.extend([
            Cell::new(namespace.score, normal),
            Cell::new(namespace.classification, palette.class(namespace.classification)),
            Cell::new(format!("{:.1} %", namespace.compliance), normal),
            Cell::new(namespace.grade, palette.grade(namespace.grade)),
            Cell::new(namespace.subjects, normal),
            Cell::new(namespace.violations, normal),
        ]);
        cells
    };
    let mut headings: Vec<Cell> = HEADINGS.iter().map(|heading| Cell::new(heading, palette.dimmed())).collect();
    headings.splice(1..1, cluster("CLUSTER", palette.dimmed()));
    table::write(headings, namespaces.iter().map(row).collect(), width, out)
}
