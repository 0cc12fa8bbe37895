//! The violations by workload.

use std::io::{self, Write};

use kube_devops_core::text::number;
use kube_devops_core::{Report, Violation};
use unicode_width::UnicodeWidthStr;

use super::super::plain::{name, one_line};
use super::super::workload::{Line, Workload, most_severe_first};
use super::{MAX_MESSAGE_LENGTH, Page};

const MAX_WORKLOADS: usize = 10;
const MAX_LINES: usize = 10;
/// A message that has fewer columns next to its severity and check is written below them.
const MIN_MESSAGE_WIDTH: usize = 30;

impl Page<'_> {
    pub(super) fn violations(&self, out: &mut dyn Write) -> io::Result<()> {
        let Report { subjects, violations, errors, score, .. } = self.shown.report;
        let target = one_line(self.shown.target, MAX_MESSAGE_LENGTH);
        if *subjects == 0 && !errors.is_empty() {
            let style = self.palette.warning();
            return writeln!(out, "{style}Nothing was evaluated in {target}, because of the errors below.{style:#}\n");
        }
        if *subjects == 0 {
            let style = self.palette.warning();
            return writeln!(out, "{style}Nothing to evaluate in {target}: no pods or workloads.{style:#}\n");
        }
        if score.is_none() && violations.is_empty() && errors.is_empty() {
            let style = self.palette.warning();
            return writeln!(
                out,
                "{style}None of the checks applies to the pods and workloads in {target}.{style:#}\n"
            );
        }
        if violations.is_empty() && !errors.is_empty() {
            let style = self.palette.warning();
            return writeln!(out, "{style}No violations in the evaluated objects of {target}.{style:#}\n");
        }
        if violations.is_empty() {
            let style = self.palette.success();
            return writeln!(out, "{style}No violations in {target}.{style:#}\n");
        }
        let workloads = most_severe_first(violations);
        let (bold, dimmed) = (self.palette.bold(), self.palette.dimmed());
        let violation_count = number(violations.len(), "violation");
        let workload_count = number(workloads.len(), "workload");
        writeln!(
            out,
            "{bold}{violation_count} in {workload_count}{bold:#} {dimmed}of {target}, most severe first{dimmed:#}\n"
        )?;
        let shown_workloads: Vec<_> =
            workloads.iter().take(MAX_WORKLOADS).map(|workload| (workload, workload.lines())).collect();
        let check_width = shown_workloads
            .iter()
            .flat_map(|(_, lines)| lines.iter().take(MAX_LINES))
            .map(|line| name(&line.violation.check).width())
            .max()
            .unwrap_or(0);
        for (workload, lines) in &shown_workloads {
            self.workload(workload, lines, check_width, out)?;
        }
        self.more(workloads.len().saturating_sub(MAX_WORKLOADS), "workload", true, out)
    }

    fn workload(&self, workload: &Workload, lines: &[Line], check_width: usize, out: &mut dyn Write) -> io::Result<()> {
        let (bold, dimmed) = (self.palette.bold(), self.palette.dimmed());
        write!(out, "{bold}{} {}{bold:#} in {}", name(workload.kind), name(workload.name), name(workload.namespace))?;
        if let Some(cluster) = workload.cluster {
            write!(out, ", cluster {}", name(cluster))?;
        }
        if let Some(pods) = workload.pods {
            write!(out, " ({})", number(pods, "pod"))?;
        }
        writeln!(out, "{dimmed}, penalty {}{dimmed:#}", workload.penalty)?;
        for line in lines.iter().take(MAX_LINES) {
            self.line(line, check_width, out)?;
        }
        self.more(lines.len().saturating_sub(MAX_LINES), "violation", false, out)?;
        writeln!(out)
    }

    fn line(&self, line: &Line, check_width: usize, out: &mut dyn Write) -> io::Result<()> {
        const SEVERITY_WIDTH: usize = 8;
        let Violation { severity, check, container, message, .. } = line.violation;
        let style = self.palette.severity(*severity);
        write!(out, "  {style}{severity:<SEVERITY_WIDTH$}{style:#}  ")?;
        let check = name(check);
        let mut text = match container {
            Some(container) => format!("container {}: {}", name(container), one_line(message, MAX_MESSAGE_LENGTH)),
            None => one_line(message, MAX_MESSAGE_LENGTH),
        };
        if line.pods > 1 {
            text.push_str(&format!(" ({} pods)", line.pods));
        }
        let before = 2 + SEVERITY_WIDTH + 2 + check_width + 2;
        let place = self.shown.place(line.violation);
        if self.shown.width.saturating_sub(before) >= MIN_MESSAGE_WIDTH {
            write!(out, "{check}{:padding$}", "", padding = check_width - check.width() + 2)?;
            self.message(&text, place, before, out)
        } else {
            const INDENT: usize = 4;
            write!(out, "{check}\n{:INDENT$}", "")?;
            self.message(&text, place, INDENT, out)
        }
    }
}
