//! The table of clusters.

use std::io::{self, Write};

use anstyle::Style;
use kube_devops_core::report::ClusterReport;

use super::super::plain::name;
use super::super::table::{self, Cell};
use super::Page;

const HEADINGS: [&str; 7] = ["CLUSTER", "SCORE", "STATUS", "COMPLIANCE", "GRADE", "PODS", "VIOLATIONS"];

impl Page<'_> {
    /// Writes all clusters, in the order of the report: the lowest score first.
    pub(super) fn clusters(&self, out: &mut dyn Write) -> io::Result<()> {
        let clusters = &self.shown.report.clusters;
        if clusters.is_empty() || !self.shown.per_cluster {
            return Ok(());
        }
        let headings = HEADINGS.iter().map(|heading| Cell::new(heading, self.palette.dimmed())).collect();
        table::write(headings, clusters.iter().map(|cluster| self.row(cluster)).collect(), self.shown.width, out)?;
        writeln!(out)
    }

    fn row(&self, cluster: &ClusterReport) -> Vec<Cell> {
        let normal = Style::new();
        let mut cells = vec![Cell::new(name(&cluster.name), normal)];
        match (cluster.score, cluster.classification, cluster.compliance, cluster.grade) {
            (Some(score), Some(classification), Some(compliance), Some(grade)) => cells.extend([
                Cell::new(score, normal),
                Cell::new(classification, self.palette.class(classification)),
                Cell::new(format!("{compliance:.1} %"), normal),
                Cell::new(grade, self.palette.grade(grade)),
            ]),
            _ => {
                let status = match cluster.evaluated {
                    true => Cell::new("no pods", normal),
                    false => Cell::new("not evaluated", self.palette.error()),
                };
                cells.extend([Cell::new("-", normal), status, Cell::new("-", normal), Cell::new("-", normal)]);
            }
        }
        cells.extend([Cell::new(cluster.subjects, normal), Cell::new(cluster.violations, normal)]);
        cells
    }
}
