//! The evaluation of a batch of subjects by a rule: a failed batch is halved to isolate the subjects that cannot be
//! evaluated.

use std::borrow::Borrow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kube_devops_core::{CheckOutcome, CheckResult, EvaluationError, Finding, Severity, Stage, Subject};

use crate::bindings::check::devops::policy::types;
use crate::instance::Objects;
use crate::{CallError, Limits, Rule, convert};

/// A batch of subjects, converted to the types of the contract once for all rules.
pub struct Batch<'a, S> {
    subjects: &'a [S],
    converted: Vec<types::Subject>,
    objects: Option<(Objects, usize)>,
}

/// The remaining number of failed calls and the remaining time of a rule in one evaluation.
pub struct RetryBudget {
    failed_calls: AtomicUsize,
    /// The time limit of a call.
    batch_time: Duration,
    /// The deadline of the evaluation.
    deadline: Option<Instant>,
}

impl RetryBudget {
    pub fn new(limits: &Limits, deadline: Option<Instant>) -> Self {
        Self { failed_calls: AtomicUsize::new(limits.failed_calls), batch_time: limits.batch_time, deadline }
    }

    fn is_exhausted(&self) -> bool {
        self.failed_calls.load(Ordering::Relaxed) == 0
    }

    /// Returns the time limit of the next call.
    fn time(&self) -> Duration {
        let remaining = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        remaining.map_or(self.batch_time, |remaining| remaining.min(self.batch_time))
    }

    /// Records a failed call. A timeout exhausts the budget: a retry would take as long.
    fn record_failure(&self, cause: &CallError) {
        match cause {
            CallError::Time(_) => self.failed_calls.store(0, Ordering::Relaxed),
            _ => {
                // Other threads may have reached zero before: the budget never becomes negative.
                let _ = self
                    .failed_calls
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |remaining| remaining.checked_sub(1));
            }
        }
    }
}

/// Splits subjects into batches, each of which is evaluated in one call.
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
    /// Creates a batch. `objects` are the complete objects of all subjects of the evaluation, and the position of the
    /// first subject of this batch.
    pub fn new(subjects: &'a [S], objects: Option<(Objects, usize)>) -> Self {
        let converted = subjects.iter().map(|subject| convert::subject(subject.borrow())).collect();
        Self { subjects, converted, objects }
    }

    /// Evaluates the batch with a rule.
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
            self.evaluate_applicable(rule, &self.converted, &positions, budget, &mut outcome);
        } else if !positions.is_empty() {
            let applicable: Vec<_> = positions.iter().map(|&position| self.converted[position].clone()).collect();
            self.evaluate_applicable(rule, &applicable, &positions, budget, &mut outcome);
        }
        outcome.findings.sort_by_key(|finding| finding.subject);
        outcome
    }

    /// Evaluates `subjects`, which are at `positions` of the batch. If that fails, retries with each half.
    fn evaluate_applicable(
        &self,
        rule: &Rule,
        subjects: &[types::Subject],
        positions: &[usize],
        budget: &RetryBudget,
        outcome: &mut CheckOutcome,
    ) {
        if budget.is_exhausted() {
            let cause = "its retry budget is exhausted: too many calls failed, or one exceeded the time limit";
            return not_evaluated(rule, positions, cause.to_owned(), false, outcome);
        }
        let time = budget.time();
        if time.is_zero() {
            let cause = "the deadline of the evaluation passed before the call";
            return not_evaluated(rule, positions, cause.to_owned(), true, outcome);
        }
        match rule.call(subjects, self.objects_at(rule, positions), time) {
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
                budget.record_failure(&cause);
                let timed_out = matches!(cause, CallError::Time(_));
                if subjects.len() == 1 || timed_out {
                    not_evaluated(rule, positions, cause.to_string(), timed_out, outcome);
                } else {
                    let half = subjects.len() / 2;
                    self.evaluate_applicable(rule, &subjects[..half], &positions[..half], budget, outcome);
                    self.evaluate_applicable(rule, &subjects[half..], &positions[half..], budget, outcome);
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
