//! The evaluations of a policy, and whether they are complete.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kube_devops_cluster::policies::RulesError;
use kube_devops_cluster::rules::PolicyRules;
use kube_devops_core::score::Classification;
use kube_devops_core::{Ledger, Totals};
#[cfg(test)]
use kube_devops_engine::RuleError;

/// The evaluations of a policy.
#[derive(Debug)]
pub struct Found<'a> {
    /// The evaluations of the pods, by the checks that exist.
    pub ledger: &'a Ledger,
    /// The ids of the checks that do not exist.
    pub missing: Vec<&'a str>,
    /// The reasons why rules could not be created.
    pub errors: &'a [RulesError],
}

impl<'a> Found<'a> {
    /// The evaluations by the rules of a policy.
    pub fn by(rules: &'a dyn PolicyRules, ledger: &'a Ledger) -> Self {
        Self { ledger, missing: rules.missing(), errors: rules.errors() }
    }

    /// The totals of the evaluations.
    pub fn total(&self) -> &'a Totals {
        self.ledger.total()
    }

    /// Whether every check evaluated every pod that it applies to.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.errors.is_empty() && self.total().not_evaluated == 0
    }

    /// Whether there is a score: something was evaluated, or there is nothing to evaluate.
    pub fn has_score(&self) -> bool {
        if self.total().subjects == 0 { self.is_complete() } else { self.total().has_score() }
    }

    /// The classification of the evaluations.
    pub fn classification(&self) -> String {
        if !self.has_score() {
            return "Not evaluated".to_owned();
        }
        match self.total().classification() {
            // What was not evaluated may have violations.
            Classification::Healthy if !self.is_complete() => "Incomplete".to_owned(),
            classification => classification.to_string(),
        }
    }

    /// What was not evaluated, and why; each text once, sorted.
    pub fn not_evaluated(&self) -> BTreeSet<Cow<'a, str>> {
        // The errors of pods include those of the rules.
        let mut texts: BTreeSet<Cow<'_, str>> = self.ledger.errors().map(Cow::Borrowed).collect();
        if texts.is_empty() {
            texts.extend(self.errors.iter().map(|error| Cow::Owned(error.to_string())));
            texts.extend(self.missing.iter().map(|check| Cow::Owned(format!("no such check: {check}"))));
        }
        texts
    }
}

/// The errors of a policy with a check that rejects its settings.
#[cfg(test)]
pub fn rejected() -> [RulesError; 1] {
    let (check, settings, reason) = ("latest-tag".to_owned(), "{\"allow\":1}".to_owned(), "unknown setting".to_owned());
    [RulesError::Rule(RuleError::Settings { check, settings, reason })]
}
