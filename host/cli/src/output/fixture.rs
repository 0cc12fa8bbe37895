//! Reports for the tests of the output formats.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube_devops_core::report::{CheckReport, ClusterReport, Extent, NamespaceReport, NotEvaluated, ReportError};
use kube_devops_core::score::{Classification, Grade};
use kube_devops_core::{CheckInfo, Controller, Report, Severity, Source, Stage, Violation};
use serde_json::json;

use super::{Format, Shown, write};

/// Returns the output of a format.
pub fn show(format: Format, report: &Report) -> String {
    show_for(format, report, 120, false)
}

/// Returns the output of a format for a terminal.
pub fn show_for(format: Format, report: &Report, width: usize, colours: bool) -> String {
    let checks = checks();
    let shown = Shown {
        report,
        checks: &checks,
        target: "deploy/ and context kind-dev",
        module_arguments: "",
        program: "kube-devops",
        per_cluster: true,
        colours,
        width,
    };
    let mut out = Vec::new();
    write(format, &shown, &mut out).expect("writing to a vector succeeds");
    String::from_utf8(out).expect("every format is UTF-8")
}

/// Returns the descriptions of the checks, except for `no-root`, which has none.
fn checks() -> Vec<CheckInfo> {
    [
        ("latest-tag", "Image without a fixed tag", Severity::Medium, 5, Some("https://example.com/latest-tag")),
        ("missing-liveness", "No liveness probe", Severity::Medium, 3, None),
        ("missing-readiness", "No readiness probe", Severity::Low, 2, None),
        ("high-restarts", "Container restarts often", Severity::Medium, 6, None),
        ("pending", "Pod stays pending", Severity::Medium, 4, Some("not a URL")),
    ]
    .into_iter()
    .map(|(id, title, severity, weight, url)| CheckInfo {
        id: id.to_owned(),
        title: title.to_owned(),
        description: format!("What `{id}` finds."),
        rationale: format!("Why `{id}` matters:\n- one reason\n- another"),
        remedy: format!("How to fix `{id}`.\n\n```yaml\na: <b>\n```"),
        stage: Stage::Spec,
        severity,
        weight,
        settings_schema: json!({}),
        default_settings: json!({}),
        needs_annotations: false,
        remediates: false,
        url: url.map(str::to_owned),
    })
    .collect()
}

fn check(id: &str, severity: Severity, passed: usize, failed: usize, magnitudes: u64) -> CheckReport {
    CheckReport {
        id: id.to_owned(),
        title: format!("Title of {id}"),
        severity,
        passed,
        failed,
        not_evaluated: usize::from(id == "no-root"),
        violations: failed,
        magnitudes,
    }
}

fn namespace(name: &str, score: u8, compliance: f64, subjects: usize, violations: usize) -> NamespaceReport {
    NamespaceReport {
        cluster: None,
        name: name.to_owned(),
        score,
        classification: Classification::of(score),
        compliance,
        grade: Grade::of(compliance),
        subjects,
        violations,
    }
}

fn source(file: &str, document: usize, line: usize) -> Option<Source> {
    Some(Source { file: file.into(), document, line, object_line: 0 })
}

/// Returns a violation of a deployment named `web`, which was read from a file.
pub fn violation(check: &str, severity: Severity, weight: u32, message: &str) -> Violation {
    Violation {
        check: check.into(),
        severity,
        weight,
        magnitude: 1,
        cluster: None,
        namespace: "shop".into(),
        kind: "Deployment".into(),
        name: "web".into(),
        controller: None,
        container: Some("app".into()),
        field: Some("/spec/template/spec/containers/0/image".into()),
        message: message.into(),
        source: source("./deploy/shop/web.yaml", 2, 14),
    }
}

fn pod(name: &str, magnitude: u32, check: &str, severity: Severity, message: &str) -> Violation {
    Violation {
        magnitude,
        kind: "Pod".into(),
        name: name.into(),
        controller: Some(
            Controller { kind: "ReplicaSet".into(), name: "api-7d9f".into(), ..Controller::default() }.into(),
        ),
        field: None,
        source: None,
        ..violation(check, severity, if check == "high-restarts" { 6 } else { 3 }, message)
    }
}

fn violations() -> Vec<Violation> {
    const LONG: &str = "the container may run as root, and so a process that breaks out of it owns the node; the image \
        names no user, the pod sets no runAsNonRoot, and the namespace does not enforce the restricted profile either";
    let liveness = "no liveness probe";
    let mut violations = vec![
        Violation {
            kind: "Pod".into(),
            name: "batch-0".into(),
            namespace: "default".into(),
            container: None,
            field: None,
            source: None,
            ..violation("pending", Severity::Medium, 4, "pending for 1200 s, more than 300 s")
        },
        violation("latest-tag", Severity::High, 5, "image \"nginx\" has no tag"),
        Violation {
            field: Some("/spec/template/spec/containers/0/livenessProbe".into()),
            ..violation("missing-liveness", Severity::Medium, 3, liveness)
        },
        Violation {
            field: Some("/spec/template/spec/containers/0/readinessProbe".into()),
            ..violation("missing-readiness", Severity::Low, 2, "no readiness probe")
        },
        pod("api-7d9f-a", 5, "high-restarts", Severity::Medium, "restarted 23 times, more than 3"),
        pod("api-7d9f-a", 1, "missing-liveness", Severity::Medium, liveness),
        pod("api-7d9f-b", 4, "high-restarts", Severity::Medium, "restarted 4 times, more than 3"),
        pod("api-7d9f-b", 1, "missing-liveness", Severity::Medium, liveness),
        pod("api-7d9f-c", 1, "missing-liveness", Severity::Medium, liveness),
        Violation {
            namespace: "überprüfung-世界".into(),
            kind: "StatefulSet".into(),
            name: "datenbank".into(),
            container: Some("データ".into()),
            source: source("deploy/größe & co/a,b: 100%.yaml", 1, 1),
            ..violation("no-root", Severity::Critical, 9, LONG)
        },
    ];
    violations.sort_by(|one, other| (&one.namespace, &one.kind).cmp(&(&other.namespace, &other.kind)));
    violations
}

fn errors() -> Vec<ReportError> {
    vec![
        ReportError {
            source: source("deploy/broken.yaml", 1, 7),
            ..ReportError::new("deploy/broken.yaml:7: did not find expected key; see the indentation".to_owned())
        },
        ReportError {
            check: Some("no-root".to_owned()),
            source: source("deploy/shop/web.yaml", 2, 14),
            ..ReportError::new(
                "check no-root (module sha256:ab12) failed to evaluate Deployment shop/web: out of fuel".to_owned(),
            )
        },
        ReportError::new("lost the connection to the API server".to_owned()),
    ]
}

/// Returns a report of files and a cluster, with errors.
pub fn report() -> Report {
    Report {
        score: Some(73),
        classification: Some(Classification::Stable),
        compliance: Some(74.3),
        grade: Some(Grade::C),
        subjects: 12,
        extent: Extent {
            finished: 2,
            ignored: BTreeMap::from([("ConfigMap".to_owned(), 1), ("Service".to_owned(), 4), ("Widget".to_owned(), 1)]),
            not_evaluated: vec![NotEvaluated {
                api_version: "example.com/v1".to_owned(),
                kind: "Widget".into(),
                namespace: "shop".into(),
                name: "gears".into(),
                reason: "has containers outside of the known pod templates; they were not evaluated".to_owned(),
                source: source("deploy/widget.yaml", 1, 3),
            }],
            excluded: 3,
            filtered: 4,
            owned: 1,
            scaled_to_zero: 2,
            patches: 1,
            excluded_files: 1,
            hidden_files: 1,
        },
        checks: vec![
            check("latest-tag", Severity::High, 11, 1, 1),
            check("missing-liveness", Severity::Medium, 8, 4, 4),
            check("missing-readiness", Severity::Low, 11, 1, 1),
            check("high-restarts", Severity::Medium, 9, 2, 9),
            check("pending", Severity::Medium, 11, 1, 1),
            check("no-root", Severity::Critical, 10, 1, 1),
            check("resource-limits", Severity::Medium, 12, 0, 0),
            check("windows-only", Severity::Medium, 0, 0, 0),
        ],
        clusters: Vec::new(),
        namespaces: vec![
            namespace("default", 96, 95.0, 1, 1),
            namespace("shop", 72, 71.5, 10, 8),
            namespace("überprüfung-世界", 39, 55.0, 1, 1),
        ],
        violations: violations(),
        errors: errors(),
    }
}

fn cluster(name: &str, score: Option<u8>, subjects: usize) -> ClusterReport {
    ClusterReport {
        name: name.to_owned(),
        evaluated: name != "edge",
        score,
        classification: score.map(Classification::of),
        compliance: score.map(f64::from),
        grade: score.map(|score| Grade::of(score.into())),
        subjects,
        violations: subjects,
    }
}

/// Returns a report on clusters, of which one has no pods and one was not evaluated.
pub fn clusters() -> Report {
    let mut report = report();
    let name: Arc<str> = "production-eu".into();
    report.clusters = vec![cluster(&name, Some(73), 12), cluster("empty", None, 0), cluster("edge", None, 0)];
    report.violations.iter_mut().for_each(|violation| violation.cluster = Some(name.clone()));
    report.namespaces.iter_mut().for_each(|namespace| namespace.cluster = Some(name.clone()));
    report.errors.iter_mut().for_each(|error| error.cluster = Some(name.clone()));
    report
}

/// Returns a report without violations and errors.
pub fn clean() -> Report {
    let mut report = report();
    report.violations.clear();
    report.errors.clear();
    report.extent.not_evaluated.clear();
    report
}

/// A malicious text with control characters, workflow commands and markup.
pub const MALICIOUS: &str = "\u{1b}[31mred\u{9b}32m\u{202e}txt.exe\u{2066}\u{7f}\0\r\n\
    ::error::forged%0A::stop-commands::x\n##[error]forged ]]> </failure><failure \"quoted\" & 'so' \
    <!-- \u{fffe}\u{ffff} [here](https://example.com) \u{85}end";

/// Returns a report with malicious text in every field from untrusted input.
pub fn hostile() -> Report {
    let text = || MALICIOUS.to_owned();
    let mut report = report();
    let malicious = Violation {
        check: MALICIOUS.into(),
        cluster: Some(MALICIOUS.into()),
        namespace: MALICIOUS.into(),
        kind: MALICIOUS.into(),
        name: MALICIOUS.into(),
        container: Some(MALICIOUS.into()),
        field: Some(MALICIOUS.into()),
        source: source(MALICIOUS, 1, 0),
        ..violation("", Severity::High, 50, MALICIOUS)
    };
    let controlled = Controller { kind: text(), name: text(), ..Controller::default() };
    let huge = format!("{} ::warning::x {}", "x".repeat(1_000_000), "::y ".repeat(10_000));
    report.violations = vec![
        malicious.clone(),
        Violation { controller: Some(controlled.into()), source: None, ..malicious.clone() },
        Violation { message: huge.as_str().into(), ..malicious.clone() },
        Violation { message: "::error::a ".repeat(100).into(), ..malicious },
    ];
    report.checks[0].id = text();
    report.checks[0].title = text();
    report.checks[6].id = text();
    report.namespaces[0].name = text();
    report.namespaces[0].cluster = Some(MALICIOUS.into());
    report.clusters = vec![cluster(MALICIOUS, Some(73), 1)];
    report.extent.ignored.insert(text(), 1);
    report.extent.not_evaluated = vec![NotEvaluated {
        api_version: text(),
        kind: text(),
        namespace: text(),
        name: text(),
        reason: text(),
        source: source(MALICIOUS, 1, 1),
    }];
    report.errors = vec![
        ReportError { check: Some(text()), source: source(MALICIOUS, 1, 1), ..ReportError::new(text()) },
        ReportError { source: source("stdin", 1, 1), ..ReportError::new(huge) },
    ];
    report
}

/// Panics if a text contains characters that control a terminal or a log.
pub fn assert_escaped(text: &str) {
    let is_control = |character: char| {
        (character.is_control() && character != '\n')
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if let Some(index) = text.find(is_control) {
        panic!("{:?}", &text[index..text.len().min(text.ceil_char_boundary(index + 80))]);
    }
}
