//! The rules of a policy, evaluated together. The CLI, the webhook and the controllers all evaluate subjects with
//! [`RuleSet`].

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::BitOr;
use std::sync::Arc;
use std::time::Instant;

use kube_devops_core::{
    Bundle, CheckInfo, CheckOutcome, CheckResult, Edit, EvaluationError, Needs, Policy, RuleConfig, Subject,
};
use rayon::prelude::*;

use crate::batch::{Batch, EnabledRule, Group, split};
use crate::budget::RetryBudget;
use crate::check::Calls;
use crate::facts::Encoded;
use crate::{CallError, Limits, LoadedCheck, RuleError};

/// The available checks. Policies with the same settings for a check share a rule and its instances, so that a thousand policies
/// created from one bundle cost as much as one.
pub struct Checks {
    checks: BTreeMap<String, Arc<LoadedCheck>>,
    bundles: BTreeMap<String, Bundle>,
    limits: Limits,
}

impl Checks {
    /// Creates the set of checks, by id, with their resource limits, and without bundles.
    pub fn new(checks: BTreeMap<String, Arc<LoadedCheck>>, limits: Limits) -> Self {
        Self { checks, bundles: BTreeMap::new(), limits }
    }

    /// Adds bundles, which policies can refer to by name.
    pub fn with_bundles(mut self, bundles: impl IntoIterator<Item = Bundle>) -> Self {
        self.bundles = bundles.into_iter().map(|bundle| (bundle.name.clone(), bundle)).collect();
        self
    }

    /// Returns the bundle with a name.
    pub fn bundle(&self, name: &str) -> Option<&Bundle> {
        self.bundles.get(name)
    }

    /// Returns the metadata of all checks, sorted by id.
    pub fn infos(&self) -> impl Iterator<Item = &CheckInfo> {
        self.checks.values().map(|check| check.info())
    }

    /// Returns a policy that enables all checks, with their default settings and severities.
    pub fn policy_of_all(&self) -> Policy {
        let rules = self.checks.keys().map(|check| RuleConfig::default_of(check));
        Policy { name: "default".to_owned(), rules: rules.collect() }
    }

    /// Returns what the checks need in addition to the usual facts.
    pub fn needs(&self) -> Needs {
        self.checks.values().map(|check| check.needs()).fold(Needs::default(), Needs::bitor)
    }

    /// Creates the rules of a policy. A check that does not exist, for example because its module could not be loaded, is an
    /// error of its rule: the other rules of the policy are evaluated.
    ///
    /// # Errors
    ///
    /// If a check rejects its settings, or fails to process them.
    pub fn rule_set(&self, policy: &Policy) -> Result<RuleSet, RuleError> {
        self.rule_set_until(policy, None)
    }

    /// Like [`Checks::rule_set`], with a deadline.
    ///
    /// # Errors
    ///
    /// If a check rejects its settings, or fails to process them before the deadline.
    pub fn rule_set_until(&self, policy: &Policy, deadline: Option<Instant>) -> Result<RuleSet, RuleError> {
        self.create(policy, deadline.map_or(Calls::All, Calls::Within), |_, error| Err(error))
    }

    /// Creates those rules of a policy that can be created, and returns the errors of the others. Checks that have not failed yet are
    /// called first, and none after the deadline; a call may take its time limit longer. With `only_prompt`, no check is called of a
    /// module that has ever exceeded its time limit, so that the call takes no longer than one for each module.
    pub fn possible_rules(&self, policy: &Policy, deadline: Instant, only_prompt: bool) -> (RuleSet, Vec<RuleError>) {
        let mut errors = Vec::new();
        let created = self.create(policy, Calls::Before { deadline, only_prompt }, |position, error| {
            errors.push((position, error));
            Ok::<_, Infallible>(())
        });
        errors.sort_by_key(|(position, _)| *position);
        let Ok(rules) = created;
        (rules, errors.into_iter().map(|(_, error)| error).collect())
    }

    /// Creates the rules of a policy, without those whose errors `failed` accepts, with their positions in the policy.
    fn create<E>(
        &self,
        policy: &Policy,
        calls: Calls,
        mut failed: impl FnMut(usize, RuleError) -> Result<(), E>,
    ) -> Result<RuleSet, E> {
        let (mut rules, mut missing, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for (position, config) in policy.rules.iter().enumerate() {
            match self.checks.get(&config.check) {
                Some(check) => known.push((position, config, check)),
                None => missing.push(config.clone()),
            }
        }
        // What failed before takes no time from what was not called yet.
        known.sort_by_cached_key(|(_, config, check)| check.has_failed(config));
        for (position, config, check) in known {
            match check.rule(config, calls) {
                Ok(rule) => rules.push((
                    position,
                    EnabledRule {
                        severity: config.severity.unwrap_or(check.info().severity),
                        weight: config.weight.unwrap_or(check.info().weight),
                        rule,
                    },
                )),
                Err(error) => failed(position, error)?,
            }
        }
        rules.sort_by_key(|(position, _)| *position);
        let rules: Vec<EnabledRule> = rules.into_iter().map(|(_, rule)| rule).collect();
        Ok(RuleSet { groups: Group::of(&rules), rules, missing, limits: self.limits.clone() })
    }
}

/// The rules of a policy.
pub struct RuleSet {
    rules: Vec<EnabledRule>,
    /// The rules whose checks do not exist.
    missing: Vec<RuleConfig>,
    /// The rules of each module.
    groups: Vec<Group>,
    limits: Limits,
}

impl RuleSet {
    /// Divides the rules into those of the program and those of added modules, which may take all the time that they get.
    pub fn by_origin(self) -> (Self, Self) {
        let Self { rules, missing, groups: _, limits } = self;
        let (added, built_in): (Vec<_>, Vec<_>) =
            rules.into_iter().partition(|enabled| enabled.rule.module().is_added());
        let of = |rules: Vec<EnabledRule>, missing| Self {
            groups: Group::of(&rules),
            rules,
            missing,
            limits: limits.clone(),
        };
        (of(built_in, Vec::new()), of(added, missing))
    }

    /// Whether there are no rules, and none whose checks do not exist.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.missing.is_empty()
    }

    /// Returns what the rules need in addition to the usual facts. The subjects must have it.
    pub fn needs(&self) -> Needs {
        self.rules.iter().map(|enabled| enabled.rule.needs()).fold(Needs::default(), Needs::bitor)
    }

    /// Returns the ids of the checks that do not exist.
    pub fn missing(&self) -> Vec<&str> {
        self.missing.iter().map(|config| config.check.as_str()).collect()
    }

    /// Returns the ids of the checks that can remediate subjects.
    pub fn remediating(&self) -> impl Iterator<Item = &str> {
        let infos = self.rules.iter().map(|enabled| enabled.rule.info());
        infos.filter(|info| info.remediates).map(|info| info.id.as_str())
    }

    /// Returns the edits of all rules that can remediate the subject. An edit sets a missing value; its field and value
    /// come from the check, and are untrusted.
    pub fn remediate(&self, subject: &Subject) -> Result<Vec<Edit>, EvaluationError> {
        let subjects = [subject];
        let batch = Batch::new(&subjects);
        let mut edits = Vec::new();
        let rules = self.rules.iter().map(|enabled| &enabled.rule);
        for rule in rules.filter(|rule| rule.info().remediates) {
            let facts = &batch.facts_of(rule).typed()[0];
            edits.extend(rule.remediate(subject, facts).map_err(|cause| EvaluationError {
                check: rule.info().id.clone(),
                module: rule.module().digest().to_owned(),
                cause: cause.to_string(),
                timed_out: matches!(cause, CallError::Time(_)),
                subjects: Vec::new(),
            })?);
        }
        Ok(edits)
    }

    /// Evaluates the subjects with every rule, on all cores if there are several batches. Returns the outcomes in the
    /// order of the policy. Rules that read complete objects do not evaluate subjects without one.
    pub fn evaluate<S: Borrow<Subject> + Sync>(&self, subjects: &[S]) -> Vec<CheckOutcome> {
        self.evaluate_until(subjects, None)
    }

    /// Like [`RuleSet::evaluate`], with a deadline. Subjects that were not evaluated by then have the result
    /// `NotEvaluated`.
    pub fn evaluate_until<S: Borrow<Subject> + Sync>(
        &self,
        subjects: &[S],
        deadline: Option<Instant>,
    ) -> Vec<CheckOutcome> {
        let budgets: Vec<RetryBudget> = self.rules.iter().map(|_| RetryBudget::new(&self.limits, deadline)).collect();
        let evaluate = |subjects: &[S]| Batch::new(subjects).evaluate(&self.rules, &self.groups, &budgets);
        let mut outcomes = match split(subjects, &self.limits).as_slice() {
            [] => vec![evaluate(&[])],
            [only] => vec![evaluate(only)],
            several => several.par_iter().map(|batch| evaluate(batch)).collect(),
        }
        .into_iter();
        let mut total = outcomes.next().unwrap_or_default();
        for (position, total) in total.iter_mut().enumerate() {
            total.reserve(outcomes.as_slice().iter().filter_map(|batch| batch.get(position)));
        }
        for outcome in outcomes {
            total.iter_mut().zip(outcome).for_each(|(total, outcome)| total.append(outcome));
        }
        total.extend(self.missing.iter().map(|config| missing(config, subjects.len())));
        total
    }
}

/// The outcome of a rule whose check does not exist.
fn missing(config: &RuleConfig, subjects: usize) -> CheckOutcome {
    CheckOutcome {
        check: config.check.clone(),
        title: config.check.clone(),
        severity: config.severity.unwrap_or_default(),
        weight: config.weight.unwrap_or_default(),
        results: vec![CheckResult::NotEvaluated; subjects],
        findings: Vec::new(),
        errors: vec![EvaluationError {
            check: config.check.clone(),
            module: String::new(),
            cause: "there is no such check; it is misspelt, or its module is not loaded".to_owned(),
            timed_out: false,
            subjects: (0..subjects).collect(),
        }],
    }
}
