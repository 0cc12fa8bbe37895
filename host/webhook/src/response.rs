//! The verdict about a request, and the response to the API server and to users.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube_devops_core::policy_fields::POLICY_FIELDS;
use kube_devops_core::text::{cut, escape_controls, number};
use kube_devops_core::{CheckInfo, Severity, Violation};
use kube_devops_engine::RuleError;

use super::review::{Denial, Response};

/// The longest warning, in bytes. The API server truncates longer ones.
pub(crate) const MAX_WARNING_LENGTH: usize = 256;
/// The most warnings. The API server drops warnings beyond 4,096 bytes in total.
pub(crate) const MAX_WARNINGS: usize = 14;
/// The most violations in a denial.
const MAX_LISTED: usize = 50;
/// The longest line of a denial, in bytes.
const MAX_LINE_LENGTH: usize = 1024;

/// The reason why a request could not be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The review or its object is malformed.
    Malformed,
    /// The review exceeds the size limit.
    Oversized,
    /// The review did not arrive before the deadline.
    SlowRequest,
    /// The policies have not been listed yet.
    NotSynced,
    /// A policy has settings that a check rejects, or a bundle that does not exist.
    InvalidPolicy,
    /// A check failed.
    CheckFailed,
    /// The deadline was exceeded.
    Timeout,
    /// Too many requests are being evaluated.
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

    /// The reason why a rule could not be created.
    pub fn of_rule(error: &RuleError) -> Self {
        match error {
            error if error.is_timeout() => Self::Timeout,
            error if error.is_temporary() => Self::CheckFailed,
            _ => Self::InvalidPolicy,
        }
    }

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

/// A failure to evaluate a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationFailure {
    /// The reason.
    pub reason: Reason,
    /// The description.
    pub text: String,
}

/// A violation and its policy.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyViolation {
    /// The violation.
    pub violation: Violation,
    /// The name of the policy.
    pub policy: Arc<str>,
}

/// The verdict about a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// There is nothing to evaluate: no pods, a system namespace, no policy, or no change.
    Skipped,
    /// It was evaluated, at least in part.
    Evaluated {
        /// The object, such as `Pod web in namespace shop`.
        subject: String,
        /// Its violations.
        violations: Vec<PolicyViolation>,
        /// The failures.
        failures: Vec<EvaluationFailure>,
        /// Whether violations only warn: an object of a built-in controller, whose template was admitted.
        is_controlled: bool,
    },
    /// It is an invalid policy or module.
    Invalid(String),
    /// It is a policy that is admitted with a warning.
    Warned(String),
}

impl Verdict {
    /// The values of the label `verdict`.
    pub const NAMES: [&'static str; 5] = ["skipped", "allowed", "warned", "denied", "not_evaluated"];
    /// The index of `not_evaluated` in [`Verdict::NAMES`].
    pub const FAILED: usize = 4;

    /// The verdict about a request that could not be evaluated at all.
    pub fn failed(reason: Reason, text: impl Into<String>) -> Self {
        let failures = vec![EvaluationFailure { reason, text: text.into() }];
        Self::Evaluated { subject: "the object".to_owned(), violations: Vec::new(), failures, is_controlled: false }
    }

    /// The verdict about an object of which this is one about a part, and `other` one about another part.
    pub fn and(mut self, other: Self) -> Self {
        if let (
            Self::Evaluated { violations, failures, .. },
            Self::Evaluated { violations: further, failures: failed, .. },
        ) = (&mut self, &other)
        {
            violations.extend(further.iter().cloned());
            failures.extend(failed.iter().cloned());
            return self;
        }
        if self == Self::Skipped { other } else { self }
    }

    /// The response that denies a request which was not read.
    pub fn denied(uid: &str, text: &str) -> Response {
        let status = Some(Denial { code: 413, reason: "RequestEntityTooLarge", message: text.to_owned() });
        Response { allowed: false, status, ..Response::allowed(uid) }
    }

    /// The index of the label in [`Verdict::NAMES`].
    pub fn position(&self, allowed: bool) -> usize {
        match self {
            _ if self.reason().is_some() => Self::FAILED,
            _ if !allowed => 3,
            Self::Skipped => 0,
            Self::Evaluated { violations, .. } if violations.is_empty() => 1,
            Self::Evaluated { .. } | Self::Invalid(_) | Self::Warned(_) => 2,
        }
    }

    /// The reason of the first failure.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Evaluated { failures, .. } => failures.first().map(|failure| failure.reason),
            Self::Skipped | Self::Invalid(_) | Self::Warned(_) => None,
        }
    }

    /// The response to the request with this uid.
    pub fn response(&self, uid: &str, response_policy: &ResponsePolicy) -> Response {
        let mut response = Response::allowed(uid);
        match self {
            Self::Skipped => {}
            Self::Invalid(reason) => {
                response.allowed = false;
                let message = cut(&escape_controls(reason), MAX_LINE_LENGTH);
                response.status = Some(Denial { code: 422, reason: "Invalid", message });
            }
            Self::Warned(text) => response.warnings.push(cut(&escape_controls(text), MAX_WARNING_LENGTH)),
            Self::Evaluated { subject, violations, failures, is_controlled } => {
                let deny = if *is_controlled { None } else { response_policy.deny };
                response_policy.evaluated(&mut response, subject, violations, failures, deny);
            }
        }
        response
    }
}

/// The response to violations and failures.
pub struct ResponsePolicy {
    /// The lowest severity that denies.
    deny: Option<Severity>,
    /// Whether failures deny.
    fail_closed: bool,
    /// How to fix the violations of a check, in one sentence.
    fixes: BTreeMap<String, String>,
}

impl ResponsePolicy {
    /// Violations of severity `deny` and above deny, and with `fail_closed` also failures.
    pub fn new<'a>(deny: Option<Severity>, fail_closed: bool, checks: impl Iterator<Item = &'a CheckInfo>) -> Self {
        let fixes = checks.map(|info| (info.id.clone(), first_sentence(&info.remedy))).collect();
        Self { deny, fail_closed, fixes }
    }

    fn evaluated(
        &self,
        response: &mut Response,
        subject: &str,
        violations: &[PolicyViolation],
        failures: &[EvaluationFailure],
        deny: Option<Severity>,
    ) {
        let (denying, warning): (Vec<&PolicyViolation>, Vec<&PolicyViolation>) =
            violations.iter().partition(|found| deny.is_some_and(|deny| found.violation.severity >= deny));
        let closed = self.fail_closed && !failures.is_empty();
        response.allowed = denying.is_empty() && !closed;
        if !response.allowed {
            let message = self.denial(subject, &denying, if closed { failures } else { &[] });
            response.status = Some(Denial { code: 403, reason: "Forbidden", message });
        }
        let lines = warning.iter().map(|violation| line(violation));
        let failed_open = failures.iter().filter(|_| response.allowed);
        let lines = failed_open.map(|failure| format!("admitted without evaluation: {}", failure.text)).chain(lines);
        let lines: Vec<String> = lines.collect();
        let listed = lines.iter().take(MAX_WARNINGS);
        response.warnings = listed.map(|line| cut(&escape_controls(line), MAX_WARNING_LENGTH)).collect();
        if lines.len() > MAX_WARNINGS {
            response.warnings.push(format!("and {} more", lines.len() - MAX_WARNINGS));
        }
        annotate(response, violations, failures);
    }

    fn denial(&self, subject: &str, denying: &[&PolicyViolation], failures: &[EvaluationFailure]) -> String {
        let mut text = String::new();
        if !denying.is_empty() {
            text = format!("{} in {}:", number(denying.len(), "violation"), escape_controls(subject));
        }
        let mut explained: Vec<&str> = Vec::new();
        for found in denying.iter().take(MAX_LISTED) {
            text += &format!("\n- {}", cut(&escape_controls(&line(found)), MAX_LINE_LENGTH));
            if !explained.contains(&&*found.violation.check) {
                explained.push(&found.violation.check);
                if let Some(fix) = self.fixes.get(&*found.violation.check) {
                    text += &format!("\n  Fix: {}", cut(&escape_controls(fix), MAX_LINE_LENGTH));
                }
            }
        }
        if denying.len() > MAX_LISTED {
            text += &format!("\nand {} more", denying.len() - MAX_LISTED);
        }
        // The command knows the checks of the program.
        let is_built_in = |check: &&&str| POLICY_FIELDS.iter().any(|field| field.check == **check);
        if let Some(check) = explained.iter().find(is_built_in) {
            text += &format!("\nRun `kube-devops explain {}` for details.", escape_controls(check));
        }
        for EvaluationFailure { text: why, .. } in failures {
            let separator = if text.is_empty() { "" } else { "\n" };
            text += &format!(
                "{separator}{subject} could not be evaluated: {}",
                cut(&escape_controls(why), MAX_LINE_LENGTH)
            );
        }
        text
    }
}

/// Adds violations and failures to the audit annotations.
fn annotate(response: &mut Response, violations: &[PolicyViolation], failures: &[EvaluationFailure]) {
    let annotations = &mut response.audit_annotations;
    if !violations.is_empty() {
        let checks = violations.iter().map(|PolicyViolation { violation, policy }| {
            format!("{}:{}:{}", policy, violation.check, violation.severity)
        });
        let mut checks: Vec<String> = checks.collect();
        checks.sort();
        checks.dedup();
        annotations.insert("violations", cut(&checks.join(","), MAX_LINE_LENGTH));
    }
    if let Some(first) = failures.first() {
        annotations.insert("not_evaluated", first.reason.as_str().to_owned());
    }
}

fn line(PolicyViolation { violation, policy }: &PolicyViolation) -> String {
    let place = violation.container.as_ref().map(|container| format!("container {container}: ")).unwrap_or_default();
    format!("{place}{} ({}, {}, policy {policy})", violation.message, violation.check, violation.severity)
}

/// The first sentence of a Markdown text, starting in lower case, to follow a colon.
fn first_sentence(markdown: &str) -> String {
    let paragraph = markdown.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let end = paragraph.find(". ").unwrap_or(paragraph.len());
    let sentence = paragraph[..end].trim_end_matches([':', '.']);
    let mut characters = sentence.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
