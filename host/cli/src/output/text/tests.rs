//! Tests of the report for a terminal.

use kube_devops_core::report::{NamespaceReport, ReportError};
use kube_devops_core::{Report, Severity};

use super::super::Format;
use super::super::fixture::{assert_escaped, clean, clusters, hostile, report, show, show_for, violation};

#[test]
fn fits_a_wide_terminal() {
    insta::assert_snapshot!(show(Format::Text, &report()));
}

#[test]
fn wraps_to_a_narrow_terminal() {
    insta::assert_snapshot!(show_for(Format::Text, &report(), 50, false));
}

#[test]
fn colours_only_add_escape_sequences() {
    let text = show_for(Format::Text, &report(), 120, true);
    assert_eq!(without_escape_sequences(&text), show(Format::Text, &report()));
    insta::assert_snapshot!(text.replace('\u{1b}', "␛"));
}

fn without_escape_sequences(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    plain.extend(parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)));
    plain
}

#[test]
fn shows_the_clusters() {
    insta::assert_snapshot!(show(Format::Text, &clusters()));
}

#[test]
fn states_that_there_are_no_violations() {
    insta::assert_snapshot!(show(Format::Text, &clean()));
}

#[test]
fn states_that_nothing_was_evaluated() {
    let empty = Report::new(&[], Vec::new(), Default::default(), Vec::new());
    insta::assert_snapshot!(show(Format::Text, &empty));
}

#[test]
fn errors_are_not_a_pass() {
    let errors = report().errors;
    let text = show(Format::Text, &Report { errors, ..clean() });
    assert!(text.starts_with("No violations in the evaluated objects of deploy/"), "{text}");
    assert!(text.contains("\nNot Everything Evaluated   : 3 errors\n"), "{text}");
}

#[test]
fn shows_the_most_severe_and_counts_the_rest() {
    let mut report = report();
    report.violations.clear();
    for number in 0..3_000 {
        let mut violation = violation("latest-tag", Severity::High, 5, &format!("message {number}"));
        violation.name = format!("web-{:03}", number / 20).into();
        report.violations.push(violation);
    }
    report.violations[2_999].weight = 50;
    let error = ReportError::new("unreadable".to_owned());
    report.errors = vec![error; 25];
    let namespace = report.namespaces.remove(0);
    report.namespaces = (0..30).map(|score| NamespaceReport { score, ..namespace.clone() }).rev().collect();
    insta::assert_snapshot!(show(Format::Text, &report));
}

#[test]
fn ends_with_the_established_summary() {
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
fn text_escapes_malicious_input() {
    for width in [0, 20, 50, 120, usize::MAX] {
        let text = show_for(Format::Text, &hostile(), width, false);
        assert_escaped(&text);
        assert!(text.len() < 40_000, "{}", text.len());
        for line in text.lines() {
            assert!(!line.trim_start().starts_with("::"), "{line}");
            assert!(!line.contains("##"), "{line}");
        }
    }
}
