//! One batch of subjects and one rule: what fails is halved until it is known what cannot be judged.

use std::borrow::Borrow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kube_devops_core::{CheckOutcome, CheckResult, EvaluationError, Finding, Severity, Stage, Subject};

use crate::bindings::check::devops::policy::types;
use crate::instance::Objects;
use crate::{CallError, Limits, Rule, convert};

/// Subjects as the contract has them, converted once for all rules.
pub struct Batch<'a, S> {
    subjects: &'a [S],
    converted: Vec<types::Subject>,
    objects: Option<(Objects, usize)>,
}

/// What is left of a rule's patience in one evaluation.
pub struct RetryBudget {
    failed_calls: AtomicUsize,
    /// How long a call may take, and until when the evaluation as a whole.
    batch_time: Duration,
    deadline: Option<Instant>,
}

impl RetryBudget {
    pub fn new(limits: &Limits, deadline: Option<Instant>) -> Self {
        Self { failed_calls: AtomicUsize::new(limits.failed_calls), batch_time: limits.batch_time, deadline }
    }

    fn is_left(&self) -> bool {
        self.failed_calls.load(Ordering::Relaxed) > 0
    }

    /// How long the next call may take.
    fn time(&self) -> Duration {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map_or(self.batch_time, |left| left.min(self.batch_time))
    }

    /// A call that ran out of time uses up all of it: waiting again would cost as long again.
    fn use_up(&self, cause: &CallError) {
        match cause {
            CallError::Time(_) => self.failed_calls.store(0, Ordering::Relaxed),
            _ => {
                // Below zero it stays at zero, whatever other threads do.
                let _ =
                    self.failed_calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            }
        }
    }
}

/// Splits subjects into runs that are evaluated in one call.
pub fn split<'a, S: Borrow<Subject>>(subjects: &'a [S], limits: &Limits) -> Vec<&'a [S]> {
    let mut batches = Vec::new();
    let mut rest = subjects;
    while !rest.is_empty() {
        let mut containers = 0;
        let fitting = rest
            .iter()
            .take(limits.batch_subjects.max(1))
            .take_while(|subject| {
                containers += (*subject).borrow().containers.len();
                containers <= limits.batch_containers
            })
            .count();
        let (batch, remaining) = rest.split_at(fitting.max(1));
        batches.push(batch);
        rest = remaining;
    }
    batches
}

impl<'a, S: Borrow<Subject>> Batch<'a, S> {
    /// `objects` are the whole objects behind all subjects of the evaluation, and the place of the first subject of this
    /// batch among them.
    pub fn new(subjects: &'a [S], objects: Option<(Objects, usize)>) -> Self {
        let converted = subjects.iter().map(|subject| convert::subject(subject.borrow())).collect();
        Self { subjects, converted, objects }
    }

    /// What the rule gives on the batch.
    pub fn evaluate(&self, rule: &Rule, severity: Severity, budget: &RetryBudget) -> CheckOutcome {
        let info = rule.module().info();
        let mut outcome = CheckOutcome {
            check: info.id.clone(),
            title: info.title.clone(),
            severity,
            weight: info.weight,
            results: vec![CheckResult::NotApplicable; self.subjects.len()],
            findings: Vec::new(),
            errors: Vec::new(),
        };
        let applies = |subject: &Subject| match info.stage {
            Stage::Spec => !subject.is_owned,
            Stage::Runtime => subject.status.is_some(),
        };
        let positions: Vec<usize> =
            (0..self.subjects.len()).filter(|&index| applies(self.subjects[index].borrow())).collect();
        if positions.len() == self.subjects.len() {
            self.evaluate_subjects(rule, &self.converted, &positions, budget, &mut outcome);
        } else if !positions.is_empty() {
            let applicable: Vec<_> = positions.iter().map(|&position| self.converted[position].clone()).collect();
            self.evaluate_subjects(rule, &applicable, &positions, budget, &mut outcome);
        }
        outcome.findings.sort_by_key(|finding| finding.subject);
        outcome
    }

    /// Judges `shown`, which stand at `positions` of the batch.
    fn evaluate_subjects(
        &self,
        rule: &Rule,
        shown: &[types::Subject],
        positions: &[usize],
        budget: &RetryBudget,
        outcome: &mut CheckOutcome,
    ) {
        if !budget.is_left() {
            let gave_up = "it failed too often in this evaluation, or ran out of time, and was not asked again";
            return not_evaluated(rule, positions, gave_up.to_owned(), false, outcome);
        }
        let time = budget.time();
        if time.is_zero() {
            let late = "the time for this evaluation had run out before it was asked";
            return not_evaluated(rule, positions, late.to_owned(), true, outcome);
        }
        match rule.call(shown, self.objects_at(rule, positions), time) {
            Ok(findings) => {
                for &position in positions {
                    outcome.results[position] = CheckResult::Passed;
                }
                for finding in findings {
                    let subject = positions[finding.subject];
                    outcome.results[subject] = CheckResult::Failed;
                    outcome.findings.push(Finding { subject, ..finding });
                }
            }
            Err(cause) => {
                budget.use_up(&cause);
                let timed_out = matches!(cause, CallError::Time(_));
                if shown.len() == 1 || timed_out {
                    not_evaluated(rule, positions, cause.to_string(), timed_out, outcome);
                } else {
                    let half = shown.len() / 2;
                    self.evaluate_subjects(rule, &shown[..half], &positions[..half], budget, outcome);
                    self.evaluate_subjects(rule, &shown[half..], &positions[half..], budget, outcome);
                }
            }
        }
    }

    fn objects_at(&self, rule: &Rule, positions: &[usize]) -> Option<(Objects, Vec<usize>)> {
        let (objects, first) = self.objects.as_ref().filter(|_| rule.module().needs_objects())?;
        Some((objects.clone(), positions.iter().map(|position| first + position).collect()))
    }
}

fn not_evaluated(rule: &Rule, positions: &[usize], cause: String, timed_out: bool, outcome: &mut CheckOutcome) {
    for &position in positions {
        outcome.results[position] = CheckResult::NotEvaluated;
    }
    let module = rule.module().digest();
    match outcome.errors.iter_mut().find(|error| error.cause == cause) {
        Some(error) => error.subjects.extend(positions),
        None => outcome.errors.push(EvaluationError {
            check: outcome.check.clone(),
            module: module.to_owned(),
            cause,
            timed_out,
            subjects: positions.to_vec(),
        }),
    }
}
