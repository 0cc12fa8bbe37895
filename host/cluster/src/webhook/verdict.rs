//! What is thought of a request, and how that is said to the API server and to people.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube_devops_core::text::{cut, escape_controls};
use kube_devops_core::{CheckInfo, Severity, Violation};

use super::review::{Denial, Response};

/// The API server passes on no longer warnings, in bytes.
const LONGEST_WARNING: usize = 256;
/// The API server drops warnings that together are longer than 4,096 bytes.
const MOST_WARNINGS: usize = 14;
/// The most violations that a refusal lists.
const MOST_LISTED: usize = 50;
/// The longest line of a refusal, in bytes.
const LONGEST_LINE: usize = 1024;

/// Why a request was not judged, though it should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The review or the object in it cannot be read.
    Malformed,
    /// The review is larger than allowed.
    Oversized,
    /// The review did not arrive in time.
    SlowRequest,
    /// The policies are not known yet.
    NotSynced,
    /// A policy has rules that its checks refuse.
    InvalidPolicy,
    /// A check failed.
    CheckFailed,
    /// The time was up.
    Timeout,
    /// Too many requests are being judged.
    Overload,
}

impl Reason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::Oversized,
        Self::SlowRequest,
        Self::NotSynced,
        Self::InvalidPolicy,
        Self::CheckFailed,
        Self::Timeout,
        Self::Overload,
    ];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Oversized => "oversized",
            Self::SlowRequest => "slow_request",
            Self::NotSynced => "not_synced",
            Self::InvalidPolicy => "invalid_policy",
            Self::CheckFailed => "check_failed",
            Self::Timeout => "timeout",
            Self::Overload => "overload",
        }
    }
}

/// What could not be judged, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationFailure {
    /// Why.
    pub reason: Reason,
    /// Why, for people.
    pub text: String,
}

/// A violation, and the policy that says so.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyViolation {
    /// The violation.
    pub violation: Violation,
    /// The name of the policy.
    pub policy: Arc<str>,
}

/// What is thought of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// There is nothing to judge: nothing that runs pods, a system namespace, no policy, no change.
    Skipped,
    /// It was judged, at least in part.
    Evaluated {
        /// What was judged, such as `Pod web in namespace shop`.
        subject: String,
        /// What is wrong with it.
        violations: Vec<PolicyViolation>,
        /// What could not be judged.
        failures: Vec<EvaluationFailure>,
    },
    /// It is a policy that its checks do not accept.
    InvalidPolicy(String),
}

impl Verdict {
    /// The values of the label `verdict`.
    pub const NAMES: [&'static str; 5] = ["skipped", "allowed", "warned", "denied", "not_evaluated"];
    /// The place of `unjudged` among them.
    pub const FAILED: usize = 4;

    /// Nothing of it could be judged.
    pub fn failed(reason: Reason, text: impl Into<String>) -> Self {
        let failures = vec![EvaluationFailure { reason, text: text.into() }];
        Self::Evaluated { subject: "the object".to_owned(), violations: Vec::new(), failures }
    }

    /// The place of the label among [`Verdict::NAMES`].
    pub fn position(&self, allowed: bool) -> usize {
        match self {
            _ if self.reason().is_some() => Self::FAILED,
            _ if !allowed => 3,
            Self::Skipped => 0,
            Self::Evaluated { violations, .. } if violations.is_empty() => 1,
            Self::Evaluated { .. } | Self::InvalidPolicy(_) => 2,
        }
    }

    /// The first reason for which something was not judged.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Evaluated { failures, .. } => failures.first().map(|failure| failure.reason),
            Self::Skipped | Self::InvalidPolicy(_) => None,
        }
    }

    /// The answer to the request with this uid.
    pub fn response(&self, uid: &str, response_policy: &ResponsePolicy) -> Response {
        let mut response = Response {
            uid: uid.to_owned(),
            allowed: true,
            status: None,
            warnings: Vec::new(),
            audit_annotations: BTreeMap::new(),
        };
        match self {
            Self::Skipped => {}
            Self::InvalidPolicy(reason) => {
                response.allowed = false;
                let message = cut(&escape_controls(reason), LONGEST_LINE);
                response.status = Some(Denial { code: 422, reason: "Invalid", message });
            }
            Self::Evaluated { subject, violations, failures } => {
                response_policy.evaluated(&mut response, subject, violations, failures)
            }
        }
        response
    }
}

/// How violations are answered.
pub struct ResponsePolicy {
    /// From which severity on a violation denies.
    deny: Severity,
    /// Whether what could not be judged is denied.
    fail_closed: bool,
    /// How to mend what a check finds, in a sentence.
    remedies: BTreeMap<String, String>,
}

impl ResponsePolicy {
    /// Violations of this severity and above deny, and so does, where wanted, what could not be judged.
    pub fn new<'a>(deny: Severity, fail_closed: bool, checks: impl Iterator<Item = &'a CheckInfo>) -> Self {
        let remedies = checks.map(|info| (info.id.clone(), first_sentence(&info.remedy))).collect();
        Self { deny, fail_closed, remedies }
    }

    fn evaluated(
        &self,
        response: &mut Response,
        subject: &str,
        violations: &[PolicyViolation],
        failures: &[EvaluationFailure],
    ) {
        let (denying, warning): (Vec<&PolicyViolation>, Vec<&PolicyViolation>) =
            violations.iter().partition(|found| found.violation.severity >= self.deny);
        let closed = self.fail_closed && !failures.is_empty();
        response.allowed = denying.is_empty() && !closed;
        if !response.allowed {
            let message = self.denial(subject, &denying, if closed { failures } else { &[] });
            response.status = Some(Denial { code: 403, reason: "Forbidden", message });
        }
        let lines = warning.iter().map(|violation| line(violation));
        let failed_open = failures.iter().filter(|_| response.allowed);
        let lines = failed_open.map(|failure| format!("let in without being judged: {}", failure.text)).chain(lines);
        let lines: Vec<String> = lines.collect();
        let listed = lines.iter().take(MOST_WARNINGS);
        response.warnings = listed.map(|line| cut(&escape_controls(line), LONGEST_WARNING)).collect();
        if lines.len() > MOST_WARNINGS {
            response.warnings.push(format!("and {} more", lines.len() - MOST_WARNINGS));
        }
        annotate(response, violations, failures);
    }

    fn denial(&self, subject: &str, denying: &[&PolicyViolation], failures: &[EvaluationFailure]) -> String {
        let mut text = String::new();
        if !denying.is_empty() {
            let count = denying.len();
            let plural = if count == 1 { "" } else { "s" };
            text = format!("{} is refused for {count} violation{plural}:", escape_controls(subject));
        }
        let mut told: Vec<&str> = Vec::new();
        for found in denying.iter().take(MOST_LISTED) {
            text += &format!("\n- {}", cut(&escape_controls(&line(found)), LONGEST_LINE));
            if !told.contains(&&*found.violation.check) {
                told.push(&found.violation.check);
                if let Some(remedy) = self.remedies.get(&*found.violation.check) {
                    text += &format!("\n  To mend it: {}", cut(&escape_controls(remedy), LONGEST_LINE));
                }
            }
        }
        if denying.len() > MOST_LISTED {
            text += &format!("\nand {} more", denying.len() - MOST_LISTED);
        }
        if let [check, ..] = told.as_slice() {
            text += &format!("\n`kube-devops explain {}` says more.", escape_controls(check));
        }
        for EvaluationFailure { text: why, .. } in failures {
            let separator = if text.is_empty() { "" } else { "\n" };
            text += &format!("{separator}{subject} could not be judged: {}", cut(&escape_controls(why), LONGEST_LINE));
        }
        text
    }
}

/// Says in the audit log what was found, and what could not be judged.
fn annotate(response: &mut Response, violations: &[PolicyViolation], failures: &[EvaluationFailure]) {
    let annotations = &mut response.audit_annotations;
    if !violations.is_empty() {
        let checks = violations.iter().map(|PolicyViolation { violation, policy }| {
            format!("{}:{}:{}", policy, violation.check, violation.severity)
        });
        let mut checks: Vec<String> = checks.collect();
        checks.sort();
        checks.dedup();
        annotations.insert("violations", cut(&checks.join(","), LONGEST_LINE));
    }
    if let Some(first) = failures.first() {
        annotations.insert("not_evaluated", first.reason.as_str().to_owned());
    }
}

fn line(PolicyViolation { violation, policy }: &PolicyViolation) -> String {
    let place = violation.container.as_ref().map(|container| format!("container {container}: ")).unwrap_or_default();
    format!("{place}{} ({}, {}, policy {policy})", violation.message, violation.check, violation.severity)
}

/// The first sentence of a Markdown text, in lower case at its start, to stand behind a colon.
fn first_sentence(markdown: &str) -> String {
    let paragraph = markdown.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let end = paragraph.find(". ").unwrap_or(paragraph.len());
    let sentence = paragraph[..end].trim_end_matches([':', '.']);
    let mut characters = sentence.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn violation(check: &str, severity: Severity, message: &str) -> PolicyViolation {
        let violation = Violation {
            check: check.into(),
            severity,
            weight: 1,
            magnitude: 1,
            namespace: "shop".into(),
            kind: "Pod".into(),
            name: "web".into(),
            controller: None,
            container: Some("app".into()),
            field: None,
            message: message.into(),
            source: None,
        };
        PolicyViolation { violation, policy: "strict".into() }
    }

    fn evaluated(violations: Vec<PolicyViolation>, failures: Vec<EvaluationFailure>) -> Verdict {
        Verdict::Evaluated { subject: "Pod web in namespace shop".to_owned(), violations, failures }
    }

    fn response(verdict: &Verdict, fail_closed: bool) -> Response {
        verdict.response("1", &ResponsePolicy::new(Severity::High, fail_closed, [].into_iter()))
    }

    #[test]
    fn the_severity_decides() {
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
    fn what_was_not_judged_is_let_in_and_said_or_refused_where_that_is_wanted() {
        let failures = vec![EvaluationFailure { reason: Reason::Timeout, text: "too late".to_owned() }];
        let open = response(&evaluated(Vec::new(), failures.clone()), false);
        assert!(open.allowed && open.warnings == ["let in without being judged: too late"], "{open:?}");
        let closed = response(&evaluated(Vec::new(), failures), true);
        assert!(!closed.allowed && closed.status.unwrap().message.ends_with("could not be judged: too late"));
    }

    #[test]
    fn whatever_components_say_stays_within_bounds_and_harmless() {
        let long = "\u{1b}[31m\n".repeat(10_000);
        let violations = |severity| (0..200).map(|_| violation("a", severity, &long)).collect::<Vec<_>>();
        let warned = response(&evaluated(violations(Severity::Low), Vec::new()), false);
        assert!(warned.warnings.iter().map(String::len).sum::<usize>() < 4096);
        assert_eq!(warned.warnings.last().unwrap(), "and 186 more");
        let denied = response(&evaluated(violations(Severity::Critical), Vec::new()), false).status.unwrap().message;
        assert!(denied.len() < 64 * 1024 && !denied.contains('\u{1b}') && denied.ends_with("says more."), "{denied}");
    }

    #[test]
    fn a_remedy_is_cut_to_its_first_sentence() {
        assert_eq!(first_sentence("Name a version:\n\n```yaml\nx: y\n```"), "name a version");
        assert_eq!(first_sentence("Give it a probe. Keep it\ncheap:"), "give it a probe");
        assert_eq!(first_sentence(""), "");
    }
}
