//! The rules of a policy, evaluated together. This is the one function between subjects and policies on one side and what
//! was found on the other; the CLI, the webhook and the controllers all call it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube_devops_core::{CheckOutcome, Policy, Subject};
use rayon::prelude::*;

use crate::batch::{Batch, Patience, split};
use crate::instance::Objects;
use crate::{CheckModule, Limits, Rule, RuleError};

/// The rules of a policy, ready to evaluate.
pub struct RuleSet {
    rules: Vec<Rule>,
    limits: Limits,
}

impl RuleSet {
    /// Makes the rules of a policy out of the checks that there are.
    pub fn new(
        policy: &Policy,
        checks: &BTreeMap<String, Arc<CheckModule>>,
        limits: &Limits,
    ) -> Result<Self, RuleError> {
        let rules = policy.rules.iter().map(|config| {
            let module = checks.get(&config.check).ok_or_else(|| RuleError::UnknownCheck {
                check: config.check.clone(),
                known: checks.keys().cloned().collect::<Vec<_>>().join(", "),
            })?;
            Rule::new(module.clone(), config)
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()?, limits: limits.clone() })
    }

    /// Whether any rule reads whole objects, so that [`RuleSet::evaluate`] must be given them.
    pub fn needs_objects(&self) -> bool {
        self.rules.iter().any(|rule| rule.module().needs_objects())
    }

    /// What every rule gives on the subjects, in the order of the policy; on all cores where there are several batches.
    ///
    /// `objects` are the whole objects behind the subjects, one for each, where [`RuleSet::needs_objects`].
    pub fn evaluate(&self, subjects: &[Subject], objects: Option<&Objects>) -> Vec<CheckOutcome> {
        let patience: Vec<Patience> = self.rules.iter().map(|_| Patience::new(&self.limits)).collect();
        let mut first = 0;
        let batches: Vec<(usize, &[Subject])> = split(subjects, &self.limits)
            .into_iter()
            .map(|batch| {
                let start = first;
                first += batch.len();
                (start, batch)
            })
            .collect();
        let evaluate = |&(start, subjects): &(usize, &[Subject])| {
            let batch = Batch::new(subjects, objects.map(|objects| (objects.clone(), start)));
            self.rules.iter().zip(&patience).map(|(rule, patience)| batch.evaluate(rule, patience)).collect::<Vec<_>>()
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
