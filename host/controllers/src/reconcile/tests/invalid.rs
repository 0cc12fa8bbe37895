//! Tests of policies of which some rules cannot be created.

use kube_devops_cluster::policies::{RulesError, SpecError};

use super::*;
use crate::reconcile::found::rejected;

#[test]
fn an_invalid_policy_is_evaluated_by_its_other_checks_and_changes_nothing() {
    let (now, pods) = (start(), pods());
    let rules = |errors| Rules::Known(Arc::new(Tags { errors }));
    let mut policy = Policy::new(enforcing(), rules(rejected().into()), &options().enforce, now);
    policy.set_audits(Vec::new());
    assert_eq!(policy.evaluate(&key(), &pods, now).scanned, 2);
    assert!(policy.rules_to_retry(now + seconds(600)).is_none(), "the settings stay rejected");
    assert_eq!((policy.ledger().total().violations, policy.is_complete()), (1, false));
    assert_eq!(writes(&mut policy, now), ["status", "audit"]);
    let later = now + seconds(60);
    assert!(policy.next_job(&key(), &pods, &options(), later).is_none());
    policy.set_rules(rules(Vec::new()));
    policy.evaluate(&key(), &pods, later);
    assert!(matches!(policy.next_job(&key(), &pods, &options(), later), Some(EnforcementJob::Remediate(_))));
}

#[test]
fn rules_are_created_again_if_another_attempt_may_succeed() {
    let now = start();
    let errors = vec![RulesError::Spec(SpecError::UnknownBundle { name: "own".to_owned() })];
    let mut policy = Policy::new(object(), Rules::Known(Arc::new(Tags { errors })), &options().enforce, now);
    assert!(policy.rules_to_retry(now).is_none());
    assert!(policy.rules_to_retry(now + seconds(600)).is_some());
}
