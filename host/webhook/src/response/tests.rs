//! Tests of verdicts and responses.
#![allow(clippy::unwrap_used)]

use kube_devops_core::testing;

use super::*;

fn violation(check: &str, severity: Severity, message: &str) -> PolicyViolation {
    let violation = Violation { message: message.into(), ..testing::violation(check, severity, "web") };
    PolicyViolation { violation, policy: "strict".into() }
}

fn evaluated(violations: Vec<PolicyViolation>, failures: Vec<EvaluationFailure>) -> Verdict {
    Verdict::Evaluated { subject: "Pod web in namespace shop".to_owned(), violations, failures, is_controlled: false }
}

fn response(verdict: &Verdict, fail_closed: bool) -> Response {
    verdict.response("1", &ResponsePolicy::new(Some(Severity::High), fail_closed, [].into_iter()))
}

#[test]
fn violations_deny_from_a_severity_on() {
    for (severity, allowed) in
        [(Severity::Low, true), (Severity::Medium, true), (Severity::High, false), (Severity::Critical, false)]
    {
        let response = response(&evaluated(vec![violation("a", severity, "is wrong")], Vec::new()), false);
        assert_eq!(response.allowed, allowed, "{severity}");
        assert_eq!(response.warnings.len(), usize::from(allowed));
        assert_eq!(response.audit_annotations["violations"], format!("strict:a:{severity}"));
    }
}

#[test]
fn violations_of_a_pod_of_a_controller_are_warnings() {
    let Verdict::Evaluated { subject, violations, failures, .. } =
        evaluated(vec![violation("a", Severity::Critical, "is wrong")], Vec::new())
    else {
        return;
    };
    let verdict = Verdict::Evaluated { subject, violations, failures, is_controlled: true };
    let response = response(&verdict, true);
    assert!(response.allowed && response.warnings.len() == 1, "{response:?}");
    assert_eq!(response.audit_annotations["violations"], "strict:a:critical");
}

#[test]
fn failures_fail_open_with_a_warning_or_fail_closed() {
    let failures = vec![EvaluationFailure { reason: Reason::Timeout, text: "too late".to_owned() }];
    let open = response(&evaluated(Vec::new(), failures.clone()), false);
    assert!(open.allowed && open.warnings == ["admitted without evaluation: too late"], "{open:?}");
    let closed = response(&evaluated(Vec::new(), failures), true);
    assert!(!closed.allowed && closed.status.unwrap().message.ends_with("could not be evaluated: too late"));
}

#[test]
fn text_of_components_is_bounded_and_escaped() {
    let long = "\u{1b}[31m\n".repeat(10_000);
    let violations = |severity| (0..200).map(|_| violation("latest-tag", severity, &long)).collect::<Vec<_>>();
    let warned = response(&evaluated(violations(Severity::Low), Vec::new()), false);
    assert!(warned.warnings.iter().map(String::len).sum::<usize>() < 4096);
    assert_eq!(warned.warnings.last().unwrap(), "and 186 more");
    let denied = response(&evaluated(violations(Severity::Critical), Vec::new()), false).status.unwrap().message;
    assert!(denied.len() < 64 * 1024 && !denied.contains('\u{1b}') && denied.ends_with("for details."), "{denied}");
}

#[test]
fn a_fix_is_cut_to_its_first_sentence() {
    assert_eq!(first_sentence("Name a version:\n\n```yaml\nx: y\n```"), "name a version");
    assert_eq!(first_sentence("Give it a probe. Keep it\ncheap:"), "give it a probe");
    assert_eq!(first_sentence(""), "");
}

#[test]
fn skipped_requests_are_admitted_and_invalid_policies_are_denied() {
    let skipped = response(&Verdict::Skipped, true);
    assert!(skipped.allowed && skipped.warnings.is_empty() && skipped.audit_annotations.is_empty());
    let denied = response(&Verdict::Invalid("latest-tag rejects its settings\u{1b}".to_owned()), false);
    let denial = denied.status.unwrap();
    assert_eq!((denied.allowed, denial.code, denial.reason), (false, 422, "Invalid"));
    assert!(!denial.message.contains('\u{1b}'), "{denial:?}");
}

#[test]
fn a_denial_lists_a_limited_number_of_violations_and_each_fix_once() {
    let info = |id: &str, remedy: &str| CheckInfo {
        id: id.to_owned(),
        title: String::new(),
        description: String::new(),
        rationale: String::new(),
        remedy: remedy.to_owned(),
        stage: kube_devops_core::Stage::Spec,
        severity: Severity::High,
        weight: 1,
        needs_annotations: false,
        remediates: false,
        url: None,
        settings_schema: serde_json::json!({}),
        default_settings: serde_json::json!({}),
    };
    let infos = [info("latest-tag", "Use a tag. Or a digest.")];
    let policy = ResponsePolicy::new(Some(Severity::High), false, infos.iter());
    let violations = (0..60).map(|_| violation("latest-tag", Severity::High, "has no tag")).collect();
    let verdict = evaluated(violations, Vec::new());
    let message = verdict.response("1", &policy).status.unwrap().message;
    assert!(message.starts_with("60 violations in Pod web in namespace shop:\n- container app: has no tag"));
    assert_eq!(message.matches("  Fix: use a tag\n").count(), 1, "{message}");
    assert!(message.contains("\nand 10 more\nRun `kube-devops explain latest-tag` for details."), "{message}");
}

#[test]
fn the_label_of_a_verdict_is_its_outcome() {
    let failure = || vec![EvaluationFailure { reason: Reason::Timeout, text: "too late".to_owned() }];
    let found = || vec![violation("a", Severity::Low, "is wrong")];
    for (verdict, allowed, expected) in [
        (Verdict::Skipped, true, "skipped"),
        (evaluated(Vec::new(), Vec::new()), true, "allowed"),
        (evaluated(found(), Vec::new()), true, "warned"),
        (evaluated(found(), Vec::new()), false, "denied"),
        (evaluated(found(), failure()), true, "not_evaluated"),
        (Verdict::Invalid(String::new()), false, "denied"),
        (Verdict::failed(Reason::Overload, "busy"), true, "not_evaluated"),
    ] {
        assert_eq!(Verdict::NAMES[verdict.position(allowed)], expected, "{verdict:?}");
    }
    let labels: std::collections::BTreeSet<_> = Reason::ALL.map(Reason::as_str).into();
    assert_eq!(labels.len(), Reason::ALL.len());
}
