//! The report for a person at a terminal, who must know what to do next: the worst comes first, the sum last.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};

use anstyle::Style;
use kube_devops_core::report::NamespaceReport;
use kube_devops_core::{Report, Violation};
use unicode_width::UnicodeWidthStr;

use super::palette::Palette;
use super::plain::{self, name, number, one_line};
use super::table::{self, Cell};
use super::workload::{Line, Workload, worst_first};
use super::{Place, Shown, not_evaluated};

const MOST_WORKLOADS: usize = 10;
const MOST_LINES: usize = 10;
const MOST_ERRORS: usize = 20;
const MOST_NAMESPACES: usize = 20;
const MOST_HINTS: usize = 3;
const LONGEST_MESSAGE: usize = 300;
const LONGEST_ERROR: usize = 1000;
/// Where a message has less than this beside its severity and check, it goes below them.
const NARROWEST_MESSAGE: usize = 30;

/// Writes the report.
pub fn write(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let page = Page { shown, palette: Palette { colours: shown.colours } };
    page.violations(out)?;
    page.errors(out)?;
    page.not_evaluated(out)?;
    page.namespaces(out)?;
    page.hints(out)?;
    page.left_out(out)?;
    page.summary(out)
}

struct Page<'a> {
    shown: &'a Shown<'a>,
    palette: Palette,
}

impl Page<'_> {
    fn violations(&self, out: &mut dyn Write) -> io::Result<()> {
        let Report { subjects, violations, errors, .. } = self.shown.report;
        let target = one_line(self.shown.target, LONGEST_MESSAGE);
        if *subjects == 0 {
            let style = self.palette.warning();
            return writeln!(out, "{style}Nothing to evaluate in {target}: no pods and no workloads.{style:#}\n");
        }
        if violations.is_empty() && !errors.is_empty() {
            let style = self.palette.warning();
            return writeln!(out, "{style}No violations in what was evaluated of {target}.{style:#}\n");
        }
        if violations.is_empty() {
            let style = self.palette.fine();
            return writeln!(out, "{style}No violations in {target}.{style:#}\n");
        }
        let workloads = worst_first(violations);
        let (bold, quiet) = (self.palette.bold(), self.palette.quiet());
        let found = number(violations.len(), "violation");
        let where_found = number(workloads.len(), "workload");
        writeln!(out, "{bold}{found} in {where_found}{bold:#} {quiet}of {target}, the worst first{quiet:#}\n")?;
        let shown_workloads: Vec<_> =
            workloads.iter().take(MOST_WORKLOADS).map(|workload| (workload, workload.lines())).collect();
        let check_width = shown_workloads
            .iter()
            .flat_map(|(_, lines)| lines.iter().take(MOST_LINES))
            .map(|line| name(&line.violation.check).width())
            .max()
            .unwrap_or(0);
        for (workload, lines) in &shown_workloads {
            self.workload(workload, lines, check_width, out)?;
        }
        self.more(workloads.len().saturating_sub(MOST_WORKLOADS), "workload", true, out)
    }

    fn workload(&self, workload: &Workload, lines: &[Line], check_width: usize, out: &mut dyn Write) -> io::Result<()> {
        let (bold, quiet) = (self.palette.bold(), self.palette.quiet());
        write!(out, "{bold}{} {}{bold:#} in {}", name(workload.kind), name(workload.name), name(workload.namespace))?;
        if let Some(pods) = workload.pods {
            write!(out, " ({})", number(pods, "pod"))?;
        }
        writeln!(out, "{quiet}, penalty {}{quiet:#}", workload.penalty)?;
        for line in lines.iter().take(MOST_LINES) {
            self.line(line, check_width, out)?;
        }
        self.more(lines.len().saturating_sub(MOST_LINES), "violation", false, out)?;
        writeln!(out)
    }

    fn line(&self, line: &Line, check_width: usize, out: &mut dyn Write) -> io::Result<()> {
        const SEVERITY_WIDTH: usize = 8;
        let Violation { severity, check, container, message, .. } = line.violation;
        let style = self.palette.severity(*severity);
        write!(out, "  {style}{severity:<SEVERITY_WIDTH$}{style:#}  ")?;
        let check = name(check);
        let mut text = match container {
            Some(container) => format!("container {}: {}", name(container), one_line(message, LONGEST_MESSAGE)),
            None => one_line(message, LONGEST_MESSAGE),
        };
        if line.times > 1 {
            text.push_str(&format!(" ({} pods)", line.times));
        }
        let before = 2 + SEVERITY_WIDTH + 2 + check_width + 2;
        let place = self.shown.place(line.violation);
        if self.shown.width.saturating_sub(before) >= NARROWEST_MESSAGE {
            write!(out, "{check}{:padding$}", "", padding = check_width - check.width() + 2)?;
            self.message(&text, place, before, out)
        } else {
            const BELOW: usize = 4;
            write!(out, "{check}\n{:BELOW$}", "")?;
            self.message(&text, place, BELOW, out)
        }
    }

    /// Writes a text and its place, from a column on, where the cursor is already.
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
            let quiet = self.palette.quiet();
            if last.width() + 2 + place.width() <= columns {
                write!(out, "  {quiet}{place}{quiet:#}")?;
            } else {
                write!(out, "\n{:column$}{quiet}{place}{quiet:#}", "")?;
            }
        }
        writeln!(out)
    }

    fn more(&self, count: usize, what: &str, whole_section: bool, out: &mut dyn Write) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let quiet = self.palette.quiet();
        let (indent, end) = if whole_section { ("", "\n") } else { ("  ", "") };
        writeln!(
            out,
            "{indent}{quiet}... and {}; -o json lists all{quiet:#}{end}",
            number(count, &format!("more {what}"))
        )
    }

    fn errors(&self, out: &mut dyn Write) -> io::Result<()> {
        let errors = &self.shown.report.errors;
        if errors.is_empty() {
            return Ok(());
        }
        let alarm = self.palette.alarm();
        writeln!(out, "{alarm}{}: not everything was evaluated{alarm:#}\n", number(errors.len(), "error"))?;
        for error in errors.iter().take(MOST_ERRORS) {
            write!(out, "  {alarm}error{alarm:#}  ")?;
            self.message(&one_line(&error.message, LONGEST_ERROR), Place::of_error(error), 9, out)?;
        }
        self.more(errors.len().saturating_sub(MOST_ERRORS), "error", false, out)?;
        writeln!(out)
    }

    fn not_evaluated(&self, out: &mut dyn Write) -> io::Result<()> {
        let objects = &self.shown.report.not_evaluated;
        if objects.is_empty() {
            return Ok(());
        }
        let style = self.palette.warning();
        for object in objects.iter().take(MOST_ERRORS) {
            write!(out, "  {style}warning{style:#}  ")?;
            let place = object.source.as_ref().map(Place::new);
            self.message(&one_line(&not_evaluated(object), LONGEST_ERROR), place, 11, out)?;
        }
        self.more(objects.len().saturating_sub(MOST_ERRORS), "object", false, out)?;
        writeln!(out)
    }

    fn namespaces(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut namespaces: Vec<&NamespaceReport> = self.shown.report.namespaces.iter().collect();
        if namespaces.is_empty() {
            return Ok(());
        }
        namespaces.sort_by(|one, other| {
            let by_score = one.score.cmp(&other.score).then(one.compliance.total_cmp(&other.compliance));
            by_score.then(other.violations.cmp(&one.violations)).then(one.name.cmp(&other.name))
        });
        let shown = &namespaces[..namespaces.len().min(MOST_NAMESPACES)];
        write_namespaces(shown, &self.palette, self.shown.width, out)?;
        self.more(namespaces.len().saturating_sub(MOST_NAMESPACES), "namespace", false, out)?;
        writeln!(out)
    }

    fn hints(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut penalties: HashMap<&str, u64> = HashMap::new();
        for violation in &self.shown.report.violations {
            *penalties.entry(&violation.check).or_default() += violation.penalty();
        }
        let mut checks: Vec<(&str, u64)> = self
            .shown
            .checks
            .iter()
            .filter_map(|check| penalties.get_key_value(check.id.as_str()).map(|(id, penalty)| (*id, *penalty)))
            .collect();
        checks.sort_by_key(|&(id, penalty)| (Reverse(penalty), id));
        let mut ids = checks.into_iter().take(MOST_HINTS).map(|(id, _)| name(id));
        let Some(worst) = ids.next() else { return Ok(()) };
        let mut hint = format!("{} explain {worst} tells why it matters and how to fix it", self.shown.program);
        let others: Vec<String> = ids.collect();
        if !others.is_empty() {
            hint.push_str(&format!("; try it for {} too", others.join(" and ")));
        }
        writeln!(out, "{}.\n", plain::wrap(&hint, self.shown.width).join("\n  "))
    }

    fn left_out(&self, out: &mut dyn Write) -> io::Result<()> {
        let Report { finished, excluded, filtered, owned, scaled_to_zero, patches, excluded_files, ignored, .. } =
            self.shown.report;
        let mut parts = Vec::new();
        if *finished > 0 {
            parts.push(number(*finished, "finished pod"));
        }
        if *excluded > 0 {
            parts.push(format!("{excluded} in system namespaces (--include-system evaluates them)"));
        }
        if *filtered > 0 {
            parts.push(format!("{filtered} filtered by namespace or labels"));
        }
        if *owned > 0 {
            parts.push(format!("{} of workloads that are evaluated", number(*owned, "template")));
        }
        if *scaled_to_zero > 0 {
            parts.push(format!("{} of 0 replicas", number(*scaled_to_zero, "ReplicaSet")));
        }
        if *patches > 0 {
            parts.push(format!(
                "{} of kustomize (--kustomize evaluates what they result in)",
                number(*patches, "patch file")
            ));
        }
        if *excluded_files > 0 {
            parts.push(format!("{} by --exclude or .kube-devopsignore", number(*excluded_files, "file")));
        }
        if !ignored.is_empty() {
            let mut kinds: Vec<(&String, &usize)> = ignored.iter().collect();
            let has_containers = |kind: &str| self.shown.report.not_evaluated.iter().any(|object| object.kind == kind);
            kinds.sort_by_key(|&(kind, count)| (Reverse(has_containers(kind)), Reverse(count), kind));
            let named: Vec<String> = kinds
                .iter()
                .map(|(kind, count)| {
                    let kind = if kind.is_empty() { "no kind".to_owned() } else { name(kind) };
                    format!("{kind} {count}")
                })
                .collect();
            let objects = number(ignored.values().sum(), "object");
            parts.push(format!("{objects} without pods ({})", named.join(", ")));
        }
        if parts.is_empty() {
            return Ok(());
        }
        let quiet = self.palette.quiet();
        let text = format!("Not evaluated: {}.", parts.join(", "));
        writeln!(out, "{quiet}{}{quiet:#}\n", plain::wrap(&text, self.shown.width).join("\n  "))
    }

    fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = self.shown.report;
        writeln!(out, "===== DevOps Governance Summary =====")?;
        summary_line("Workload Pods Analyzed", report.subjects, out)?;
        for (label, count) in report.summary() {
            summary_line(label, count, out)?;
        }
        writeln!(out, "--------------------------------------")?;
        match (report.score, report.classification, report.compliance, report.grade) {
            (Some(score), Some(classification), Some(compliance), Some(of_grade)) => {
                let (class, grade) = (self.palette.class(classification), self.palette.grade(of_grade));
                summary_line("Cluster Health Score", format_args!("{class}{score}{class:#}"), out)?;
                summary_line("Cluster Status", format_args!("{class}{classification}{class:#}"), out)?;
                let compliance = format_args!("{compliance:.1} % ({grade}grade {of_grade}{grade:#})");
                summary_line("Compliance", compliance, out)?;
            }
            _ => summary_line("Cluster Status", "not evaluated", out)?,
        }
        if !report.errors.is_empty() {
            let alarm = self.palette.alarm();
            let errors = number(report.errors.len(), "error");
            summary_line("Not Everything Evaluated", format_args!("{alarm}{errors}{alarm:#}"), out)?;
        }
        writeln!(out, "======================================")
    }
}

fn summary_line(label: &str, value: impl std::fmt::Display, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{label:<27}: {value}")
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
    let headings = HEADINGS.iter().map(|heading| Cell::new(heading, palette.quiet())).collect();
    table::write(headings, namespaces.iter().map(row).collect(), width, out)
}

#[cfg(test)]
mod tests {
    use kube_devops_core::Severity;
    use kube_devops_core::report::ReportError;

    use super::super::Format;
    use super::super::fixture::{assert_harmless, clean, hostile, report, show, show_for, violation};
    use super::*;

    #[test]
    fn wide() {
        insta::assert_snapshot!(show(Format::Text, &report()));
    }

    #[test]
    fn narrow() {
        insta::assert_snapshot!(show_for(Format::Text, &report(), 50, false));
    }

    #[test]
    fn coloured() {
        let text = show_for(Format::Text, &report(), 120, true);
        assert_eq!(anstyle_free(&text), show(Format::Text, &report()));
        insta::assert_snapshot!(text.replace('\u{1b}', "␛"));
    }

    fn anstyle_free(text: &str) -> String {
        let mut parts = text.split("\u{1b}[");
        let mut free = parts.next().unwrap_or_default().to_owned();
        free.extend(parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)));
        free
    }

    #[test]
    fn nothing_wrong() {
        insta::assert_snapshot!(show(Format::Text, &clean()));
    }

    #[test]
    fn nothing_judged() {
        let nothing = Report::new(&[], Vec::new(), Default::default());
        insta::assert_snapshot!(show(Format::Text, &nothing));
    }

    #[test]
    fn errors_are_no_pass() {
        let errors = report().errors;
        let text = show(Format::Text, &Report { errors, ..clean() });
        assert!(text.starts_with("No violations in what was evaluated of deploy/"), "{text}");
        assert!(text.contains("\nNot Everything Evaluated   : 3 errors\n"), "{text}");
    }

    #[test]
    fn shows_the_worst_and_counts_the_rest() {
        let mut report = report();
        report.violations.clear();
        for number in 0..3_000 {
            let mut violation = violation("latest-tag", Severity::High, 5, &format!("message {number}"));
            violation.name = format!("web-{:03}", number / 20).into();
            report.violations.push(violation);
        }
        report.violations[2_999].weight = 50;
        let error = ReportError { message: "unreadable".to_owned(), check: None, source: None };
        report.errors = vec![error; 25];
        let namespace = report.namespaces.remove(0);
        report.namespaces = (0..30).map(|score| NamespaceReport { score, ..namespace.clone() }).rev().collect();
        insta::assert_snapshot!(show(Format::Text, &report));
    }

    #[test]
    fn ends_with_the_summary_that_people_know() {
        let mut report = clean();
        for (index, violations) in [2, 5, 3, 2, 1].into_iter().enumerate() {
            report.checks[index].violations = violations;
            report.checks[index].magnitudes = 4;
        }
        let text = show(Format::Text, &report);
        let expected = "
===== DevOps Governance Summary =====
Workload Pods Analyzed     : 12
Images using :latest       : 2
Missing liveness probes    : 5
Missing readiness probes   : 3
Restart severity score     : 4
Pending pods               : 1
--------------------------------------
Cluster Health Score       : 73
Cluster Status             : Stable
Compliance                 : 74.3 % (grade C)
======================================
";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn harmless_whatever_is_in_it() {
        for width in [0, 20, 50, 120, usize::MAX] {
            let text = show_for(Format::Text, &hostile(), width, false);
            assert_harmless(&text);
            assert!(text.len() < 40_000, "{}", text.len());
            for line in text.lines() {
                assert!(!line.trim_start().starts_with("::"), "{line}");
                assert!(!line.contains("##"), "{line}");
            }
        }
    }
}
