//! The end of the report: hints, the objects that were skipped, and the summary.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};

use kube_devops_core::report::Extent;
use kube_devops_core::text::number;

use super::super::plain::{self, name};
use super::Page;
use crate::output::Shown;

const MAX_HINTS: usize = 3;

impl Page<'_> {
    pub(super) fn hints(&self, out: &mut dyn Write) -> io::Result<()> {
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
        let mut ids = checks.into_iter().take(MAX_HINTS).map(|(id, _)| name(id));
        let Some(worst) = ids.next() else { return Ok(()) };
        let Shown { program, module_arguments, .. } = self.shown;
        let mut hint = format!("{program} explain {worst}{module_arguments} shows why it matters and how to fix it");
        let others: Vec<String> = ids.collect();
        if !others.is_empty() {
            hint.push_str(&format!("; try it for {} too", others.join(" and ")));
        }
        writeln!(out, "{}.\n", plain::wrap(&hint, self.shown.width).join("\n  "))
    }

    pub(super) fn skipped(&self, out: &mut dyn Write) -> io::Result<()> {
        let Extent { finished, excluded, filtered, owned, scaled_to_zero, .. } = &self.shown.report.extent;
        let Extent { patches, excluded_files, hidden_files, .. } = &self.shown.report.extent;
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
            parts.push(format!("{} with 0 replicas", number(*scaled_to_zero, "ReplicaSet")));
        }
        if *patches > 0 {
            let files = number(*patches, "kustomize patch file");
            parts.push(format!("{files} (--kustomize evaluates the rendered manifests)"));
        }
        if *excluded_files > 0 {
            parts.push(format!("{} by --exclude or .kube-devopsignore", number(*excluded_files, "file")));
        }
        if *hidden_files > 0 {
            parts.push(number(*hidden_files, "hidden file"));
        }
        parts.extend(self.ignored());
        if parts.is_empty() {
            return Ok(());
        }
        let dimmed = self.palette.dimmed();
        let text = format!("Not evaluated: {}.", parts.join(", "));
        writeln!(out, "{dimmed}{}{dimmed:#}\n", plain::wrap(&text, self.shown.width).join("\n  "))
    }

    /// Describes the objects of other kinds; `None` if there are none.
    fn ignored(&self) -> Option<String> {
        let Extent { ignored, not_evaluated, .. } = &self.shown.report.extent;
        if ignored.is_empty() {
            return None;
        }
        let mut kinds: Vec<(&String, &usize)> = ignored.iter().collect();
        let has_containers = |kind: &str| not_evaluated.iter().any(|object| object.kind == kind);
        kinds.sort_by_key(|&(kind, count)| (Reverse(has_containers(kind)), Reverse(count), kind));
        let named: Vec<String> = kinds
            .iter()
            .map(|(kind, count)| {
                let kind = if kind.is_empty() { "no kind".to_owned() } else { name(kind) };
                format!("{kind} {count}")
            })
            .collect();
        let objects = number(ignored.values().sum(), "other object");
        Some(format!("{objects} ({})", named.join(", ")))
    }

    pub(super) fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = self.shown.report;
        writeln!(out, "===== DevOps Governance Summary =====")?;
        if !report.clusters.is_empty() {
            let evaluated = report.clusters.iter().filter(|cluster| cluster.evaluated).count();
            summary_line("Clusters Evaluated", format_args!("{evaluated} of {}", report.clusters.len()), out)?;
        }
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
            let style = self.palette.error();
            let errors = number(report.errors.len(), "error");
            summary_line("Not Everything Evaluated", format_args!("{style}{errors}{style:#}"), out)?;
        }
        writeln!(out, "======================================")
    }
}

fn summary_line(label: &str, value: impl std::fmt::Display, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{label:<27}: {value}")
}
