//! The rules of a policy, evaluated together. This is the one function between subjects and policies on one side and what
//! was found on the other; the CLI, the webhook and the controllers all call it.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use kube_devops_core::{CheckInfo, CheckOutcome, Edit, EvaluationError, Policy, RuleConfig, Severity, Subject};
use rayon::prelude::*;

use crate::batch::{Batch, RetryBudget, split};
use crate::instance::Objects;
use crate::{CallError, CheckModule, Limits, Rule, RuleError, convert};

/// The checks that there are, and the rules made of them. Policies that give a check the same settings share one rule with
/// its instances, so that a thousand policies made of one bundle cost as much as one.
pub struct Checks {
    modules: BTreeMap<String, Arc<CheckModule>>,
    limits: Limits,
    rules: Mutex<HashMap<(String, String), Weak<Rule>>>,
}

impl Checks {
    /// The checks by their id, and the limits that they run within.
    pub fn new(modules: BTreeMap<String, Arc<CheckModule>>, limits: Limits) -> Self {
        Self { modules, limits, rules: Mutex::default() }
    }

    /// What each check says of itself, by id.
    pub fn infos(&self) -> impl Iterator<Item = &CheckInfo> {
        self.modules.values().map(|module| module.info())
    }

    /// A policy that turns every check on, with its own settings and severity.
    pub fn policy_of_all(&self) -> Policy {
        let rule =
            |check: &String| RuleConfig { check: check.clone(), settings: serde_json::json!({}), severity: None };
        Policy { name: "default".to_owned(), rules: self.modules.keys().map(rule).collect() }
    }

    /// The rules of a policy, ready to evaluate.
    pub fn rule_set(&self, policy: &Policy) -> Result<RuleSet, RuleError> {
        let rules = policy.rules.iter().map(|config| {
            let module = self.modules.get(&config.check).ok_or_else(|| RuleError::UnknownCheck {
                check: config.check.clone(),
                known: self.modules.keys().cloned().collect::<Vec<_>>().join(", "),
            })?;
            let severity = config.severity.unwrap_or(module.info().severity);
            Ok((self.rule(module, config)?, severity))
        });
        Ok(RuleSet { rules: rules.collect::<Result<_, RuleError>>()?, limits: self.limits.clone() })
    }

    fn rule(&self, module: &Arc<CheckModule>, config: &RuleConfig) -> Result<Arc<Rule>, RuleError> {
        let key = (config.check.clone(), Rule::settings_text(module, config));
        // Nothing that holds the lock can panic half way through a change.
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rule) = rules.get(&key).and_then(Weak::upgrade) {
            return Ok(rule);
        }
        rules.retain(|_, rule| rule.strong_count() > 0);
        let rule = Arc::new(Rule::new(module.clone(), key.1.clone())?);
        rules.insert(key, Arc::downgrade(&rule));
        Ok(rule)
    }
}

/// The rules of a policy, ready to evaluate.
pub struct RuleSet {
    rules: Vec<(Arc<Rule>, Severity)>,
    limits: Limits,
}

impl RuleSet {
    /// Whether any rule reads whole objects, so that [`RuleSet::evaluate`] must be given them.
    pub fn needs_objects(&self) -> bool {
        self.rules.iter().any(|(rule, _)| rule.module().needs_objects())
    }

    /// The checks that can say what would mend a subject.
    pub fn remediating(&self) -> impl Iterator<Item = &str> {
        let infos = self.rules.iter().map(|(rule, _)| rule.module().info());
        infos.filter(|info| info.remediates).map(|info| info.id.as_str())
    }

    /// What would mend the subject, by all rules that can say so. An edit sets a value where there is none; what it is and
    /// where is the check's word, and not to be trusted.
    pub fn remediate(&self, subject: &Subject) -> Result<Vec<Edit>, EvaluationError> {
        let shown = convert::subject(subject);
        let mut edits = Vec::new();
        for (rule, _) in self.rules.iter().filter(|(rule, _)| rule.module().info().remediates) {
            edits.extend(rule.remediate(&shown).map_err(|cause| EvaluationError {
                check: rule.module().info().id.clone(),
                module: rule.module().digest().to_owned(),
                cause: cause.to_string(),
                timed_out: matches!(cause, CallError::Time(_)),
                subjects: Vec::new(),
            })?);
        }
        Ok(edits)
    }

    /// What every rule gives on the subjects, in the order of the policy; on all cores where there are several batches.
    ///
    /// `objects` are the whole objects behind the subjects, one for each, where [`RuleSet::needs_objects`].
    pub fn evaluate<S: Borrow<Subject> + Sync>(&self, subjects: &[S], objects: Option<&Objects>) -> Vec<CheckOutcome> {
        self.evaluate_until(subjects, objects, None)
    }

    /// The same for somebody who waits no longer than until `deadline`: what was not judged by then is said not to be.
    pub fn evaluate_until<S: Borrow<Subject> + Sync>(
        &self,
        subjects: &[S],
        objects: Option<&Objects>,
        deadline: Option<Instant>,
    ) -> Vec<CheckOutcome> {
        let budget: Vec<RetryBudget> = self.rules.iter().map(|_| RetryBudget::new(&self.limits, deadline)).collect();
        let mut first = 0;
        let batches: Vec<(usize, &[S])> = split(subjects, &self.limits)
            .into_iter()
            .map(|batch| {
                let start = first;
                first += batch.len();
                (start, batch)
            })
            .collect();
        let evaluate = |&(start, subjects): &(usize, &[S])| {
            let batch = Batch::new(subjects, objects.map(|objects| (objects.clone(), start)));
            let rules = self.rules.iter().zip(&budget);
            rules.map(|((rule, severity), budget)| batch.evaluate(rule, *severity, budget)).collect::<Vec<_>>()
        };
        let mut outcomes = match batches.as_slice() {
            [] => vec![evaluate(&(0, &[]))],
            [only] => vec![evaluate(only)],
            several => several.par_iter().map(evaluate).collect(),
        }
        .into_iter();
        let mut total = outcomes.next().unwrap_or_default();
        for outcome in outcomes {
            total.iter_mut().zip(outcome).for_each(|(total, outcome)| total.append(outcome));
        }
        total
    }
}
