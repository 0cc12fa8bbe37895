//! The evaluation of a batch of subjects by rules. The rules of a module are evaluated in one call. If it fails, the rules are
//! halved to isolate the one that fails, and then the subjects, to isolate those that it cannot evaluate.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use kube_devops_core::text::cut;
use kube_devops_core::{CheckOutcome, CheckResult, EvaluationError, Finding, Severity, Stage, Subject};

use crate::bindings::check::devops::policy::types;
use crate::budget::RetryBudget;
use crate::facts::{Encoded, Facts};
use crate::instance::RuleSpec;
use crate::listed::Listed;
use crate::object::CompleteObject;
use crate::rule::Rule;
use crate::{CallError, Limits};

/// A rule of a policy, with what the policy says about its violations.
pub struct EnabledRule {
    /// The rule.
    pub rule: Arc<Rule>,
    /// The severity.
    pub severity: Severity,
    /// The weight.
    pub weight: u32,
}

/// A batch of subjects, whose facts are encoded once for all rules.
pub struct Batch<'a, S> {
    subjects: &'a [S],
    facts: Facts<'a, S>,
    /// For rules that need annotations. Others receive none, so that their results do not depend on other rules.
    annotated: Facts<'a, S>,
}

/// The rules of a module in a rule set that receive the same facts, by their positions in it.
pub struct Group {
    /// Those of the spec.
    spec: Vec<usize>,
    /// Those of the runtime status.
    runtime: Vec<usize>,
    /// All of them, in the order of the rule set.
    all: Vec<usize>,
}

impl Group {
    /// Groups rules by their modules, and whether they need annotations.
    pub fn of(rules: &[EnabledRule]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (position, EnabledRule { rule, .. }) in rules.iter().enumerate() {
            let is_same = |group: &Self| {
                let first = &rules[group.all[0]].rule;
                Arc::ptr_eq(first.module(), rule.module()) && first.needs().annotations == rule.needs().annotations
            };
            let index = groups.iter().position(is_same).unwrap_or_else(|| {
                groups.push(Self { spec: Vec::new(), runtime: Vec::new(), all: Vec::new() });
                groups.len() - 1
            });
            let group = &mut groups[index];
            group.all.push(position);
            match rule.info().stage {
                Stage::Spec => group.spec.push(position),
                Stage::Runtime => group.runtime.push(position),
            }
        }
        groups
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

/// The rules and the outcomes of an evaluation of a batch.
struct Run<'r> {
    rules: &'r [EnabledRule],
    budgets: &'r [RetryBudget],
    outcomes: Vec<CheckOutcome>,
}

impl<'a, S: Borrow<Subject>> Batch<'a, S> {
    /// Creates a batch.
    pub fn new(subjects: &'a [S]) -> Self {
        Self { subjects, facts: Facts::new(subjects, false), annotated: Facts::new(subjects, true) }
    }

    /// Returns the facts that the check of a rule receives.
    pub fn facts_of(&self, rule: &Rule) -> &Facts<'a, S> {
        if rule.needs().annotations { &self.annotated } else { &self.facts }
    }

    /// Evaluates the batch with the rules of all groups. Returns the outcome of each rule.
    pub fn evaluate(&self, rules: &[EnabledRule], groups: &[Group], budgets: &[RetryBudget]) -> Vec<CheckOutcome> {
        let outcomes = rules.iter().map(|EnabledRule { rule, severity, weight }| {
            let info = rule.info();
            CheckOutcome {
                check: info.id.clone(),
                title: info.title.clone(),
                severity: *severity,
                weight: *weight,
                results: vec![CheckResult::NotApplicable; self.subjects.len()],
                findings: Vec::new(),
                errors: Vec::new(),
            }
        });
        let mut run = Run { rules, budgets, outcomes: outcomes.collect() };
        let positions = |applies: fn(&Subject) -> bool| -> Vec<usize> {
            (0..self.subjects.len()).filter(|&index| applies(self.subjects[index].borrow())).collect()
        };
        let spec = positions(|subject| subject.workload.is_none() && !is_unreadable(subject, Stage::Spec));
        let runtime = positions(|subject| subject.status.is_some() && !is_unreadable(subject, Stage::Runtime));
        for group in groups {
            if spec == runtime {
                self.evaluate_applicable(&mut run, &group.all, &spec);
            } else {
                self.evaluate_applicable(&mut run, &group.spec, &spec);
                self.evaluate_applicable(&mut run, &group.runtime, &runtime);
            }
        }
        run.unreadable(self.subjects);
        for outcome in &mut run.outcomes {
            outcome.findings.sort_by_key(|finding| finding.subject);
        }
        run.outcomes
    }

    /// Evaluates the subjects at `positions` with rules of one module. Rules that fail are evaluated alone, and last.
    fn evaluate_applicable(&self, run: &mut Run<'_>, rules: &[usize], positions: &[usize]) {
        let Some(first) = rules.first().filter(|_| !positions.is_empty()) else { return };
        if run.rules[*first].rule.needs().objects {
            let has_object = |&position: &usize| self.subjects[position].borrow().object.is_some();
            let (complete, others): (Vec<usize>, Vec<usize>) =
                positions.iter().partition(|position| has_object(position));
            if !others.is_empty() {
                // The check would read no value, and find no violation.
                let cause = CallError::NoObject.to_string();
                rules.iter().for_each(|&rule| run.not_evaluated(rule, &others, cause.clone(), false));
            }
            return self.evaluate_positions(run, rules, &complete);
        }
        self.evaluate_positions(run, rules, positions);
    }

    fn evaluate_positions(&self, run: &mut Run<'_>, rules: &[usize], positions: &[usize]) {
        if positions.is_empty() {
            return;
        }
        if !rules.iter().any(|&rule| run.rules[rule].rule.fails()) {
            return self.call(run, rules, positions, None);
        }
        let (failing, others): (Vec<usize>, Vec<usize>) = rules.iter().partition(|&&rule| run.rules[rule].rule.fails());
        if !others.is_empty() {
            self.call(run, &others, positions, None);
        }
        failing.into_iter().for_each(|rule| self.call(run, &[rule], positions, None));
    }

    /// Evaluates the subjects at `positions` with rules of one module in one call, and isolates a failure.
    fn call(&self, run: &mut Run<'_>, rules: &[usize], positions: &[usize], time_limit: Option<Duration>) {
        if let [rule] = rules
            && run.budgets[*rule].is_exhausted()
        {
            let cause = "its retry budget is exhausted: too many calls failed, or one exceeded the time limit";
            return run.not_evaluated(*rule, positions, cause.to_owned(), false);
        }
        let budget = &run.budgets[rules[0]];
        let time = time_limit.unwrap_or_else(|| budget.time());
        if time.is_zero() {
            let cause = "the deadline of the evaluation passed before the call";
            return rules.iter().for_each(|&rule| run.not_evaluated(rule, positions, cause.to_owned(), true));
        }
        let first = &run.rules[rules[0]].rule;
        let (module, facts) = (first.module(), self.facts_of(first));
        let called: Vec<&RuleSpec> = rules.iter().map(|&rule| run.rules[rule].rule.spec()).collect();
        let selected = (positions.len() < self.subjects.len()).then_some(positions);
        let objects = if module.needs_objects() { self.objects(positions) } else { Vec::new() };
        let findings = module.with_instance(time, |instance| instance.evaluate(&called, facts, selected, objects));
        match findings.and_then(|findings| self.by_rule(findings, rules.len(), positions, module.engine().limits())) {
            Ok(by_rule) => {
                for (&rule, findings) in rules.iter().zip(by_rule) {
                    match findings {
                        Ok(findings) => run.evaluated(rule, positions, findings),
                        Err(cause) => self.isolate(run, rule, positions, &cause),
                    }
                }
            }
            Err(cause) => match rules {
                [rule] => self.isolate(run, *rule, positions, &cause),
                _ if matches!(cause, CallError::Time(_)) => {
                    for &rule in rules {
                        let share = run.budgets[rule].share();
                        self.call(run, &[rule], positions, Some(share));
                    }
                }
                _ => {
                    let (first, second) = rules.split_at(rules.len() / 2);
                    self.call(run, first, positions, None);
                    self.call(run, second, positions, None);
                }
            },
        }
    }

    /// A rule failed alone. Retries with each half of the subjects, unless that would take as long.
    fn isolate(&self, run: &mut Run<'_>, rule: usize, positions: &[usize], cause: &CallError) {
        run.rules[rule].rule.failed();
        run.budgets[rule].record_failure(cause);
        let timed_out = matches!(cause, CallError::Time(_));
        if positions.len() == 1 || timed_out {
            return run.not_evaluated(rule, positions, cause.to_string(), timed_out);
        }
        let (first, second) = positions.split_at(positions.len() / 2);
        self.call(run, &[rule], first, None);
        self.call(run, &[rule], second, None);
    }

    /// Validates the findings of a call, and returns those of each rule with the positions of the subjects in the batch.
    fn by_rule(
        &self,
        findings: Vec<types::Finding>,
        rules: usize,
        positions: &[usize],
        limits: &Limits,
    ) -> Result<Vec<Result<Vec<Finding>, CallError>>, CallError> {
        if findings.is_empty() {
            return Ok((0..rules).map(|_| Ok(Vec::new())).collect());
        }
        let mut by_rule: Vec<Result<Listed, CallError>> = (0..rules).map(|_| Ok(Listed::default())).collect();
        let limit = |subject| (self.facts.containers(subject) + 1).saturating_mul(limits.findings_for_each_container);
        for finding in findings {
            let Some(found) = by_rule.get_mut(finding.rule as usize) else {
                return Err(CallError::UnknownRule { rule: finding.rule, count: rules });
            };
            if let Ok(list) = found {
                match self.validated(finding, positions, limits, list.last()) {
                    Ok(finding) => list.add(finding, self.subjects.len(), limit),
                    Err(cause) => *found = Err(cause),
                }
            }
        }
        Ok(by_rule.into_iter().map(|found| found.map(|list| list.into_findings(limit))).collect())
    }

    /// `last` is the last finding of the same rule. Most findings of a rule have the same texts, which they share.
    fn validated(
        &self,
        finding: types::Finding,
        positions: &[usize],
        limits: &Limits,
        last: Option<&Finding>,
    ) -> Result<Finding, CallError> {
        let unknown = CallError::UnknownSubject { subject: finding.subject, container: finding.container };
        let Some(&subject) = positions.get(finding.subject as usize) else { return Err(unknown) };
        let containers = self.facts.containers(subject);
        if finding.container.is_some_and(|container| container as usize >= containers) {
            return Err(unknown);
        }
        let field = finding.field.filter(|field| is_pointer(field));
        Ok(Finding {
            subject,
            container: finding.container,
            field: field.map(|field| shared(&field, last.and_then(|last| last.field.as_ref()))),
            message: shared(&cut(&finding.message, limits.message), last.map(|last| &last.message)),
            magnitude: finding.magnitude,
        })
    }

    fn objects(&self, positions: &[usize]) -> Vec<CompleteObject> {
        positions.iter().filter_map(|&position| CompleteObject::of(self.subjects[position].borrow())).collect()
    }
}

/// Whether a part of an object that checks of this stage need could not be read. Those of the runtime status also see the spec.
fn is_unreadable(subject: &Subject, stage: Stage) -> bool {
    subject.unreadable.as_ref().is_some_and(|part| part.stage == Stage::Spec || stage == Stage::Runtime)
}

impl Run<'_> {
    /// Subjects that could not be read completely are not evaluated by the rules that need what is missing.
    fn unreadable<S: Borrow<Subject>>(&mut self, subjects: &[S]) {
        for (position, subject) in subjects.iter().map(S::borrow).enumerate() {
            let Some(part) = &subject.unreadable else { continue };
            for rule in 0..self.rules.len() {
                if is_unreadable(subject, self.rules[rule].rule.info().stage) {
                    self.not_evaluated(rule, &[position], part.cause.to_string(), false);
                }
            }
        }
    }

    fn evaluated(&mut self, rule: usize, positions: &[usize], findings: Vec<Finding>) {
        let outcome = &mut self.outcomes[rule];
        for &position in positions {
            outcome.results[position] = CheckResult::Passed;
        }
        for finding in &findings {
            outcome.results[finding.subject] = CheckResult::Failed;
        }
        outcome.findings.extend(findings);
    }

    fn not_evaluated(&mut self, rule: usize, positions: &[usize], cause: String, timed_out: bool) {
        let outcome = &mut self.outcomes[rule];
        for &position in positions {
            outcome.results[position] = CheckResult::NotEvaluated;
        }
        match outcome.errors.iter_mut().find(|error| error.cause == cause) {
            Some(error) => error.subjects.extend(positions),
            None => outcome.errors.push(EvaluationError {
                check: outcome.check.clone(),
                module: self.rules[rule].rule.module().digest().to_owned(),
                cause,
                timed_out,
                subjects: positions.to_vec(),
            }),
        }
    }
}

/// Returns a text, which shares the memory of the last one if they are equal.
fn shared(text: &str, last: Option<&Arc<str>>) -> Arc<str> {
    last.filter(|last| ***last == *text).map_or_else(|| text.into(), Arc::clone)
}

/// Reports whether a text can be a JSON Pointer to a field; other texts are dropped from findings.
fn is_pointer(field: &str) -> bool {
    const MAX_LENGTH: usize = 512;
    field.starts_with('/') && field.len() <= MAX_LENGTH && !field.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_of_consecutive_findings_share_their_memory() {
        let first = shared("has no probe", None);
        let second = shared("has no probe", Some(&first));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(&*shared("is pending", Some(&second)), "is pending");
    }
}
