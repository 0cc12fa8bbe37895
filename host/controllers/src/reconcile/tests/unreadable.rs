//! Tests of policies whose spec cannot be read.

use kube_devops_core::Totals;

use super::*;

#[test]
fn a_spec_that_cannot_be_read_replaces_the_results_of_the_last_one_once() {
    let (now, pods) = (start(), pods());
    let mut policy = evaluated(object(), &pods, now);
    writes(&mut policy, now);
    let mut unreadable = DevOpsPolicy::new("strict", DevOpsPolicySpec::default());
    unreadable.metadata = object().metadata;
    unreadable.metadata.generation = Some(2);
    let reason = "unknown variant";
    assert!(policy.needs_rules(&unreadable, Some(reason)));
    policy.update(unreadable.clone(), Some(Rules::Unreadable(reason.to_owned())));
    assert!(policy.readable().is_none(), "the rules of an empty spec would be a pass");
    policy.evaluate(&key(), &pods, now);
    assert_eq!((policy.score(), policy.is_complete()), (None, false));
    assert_eq!(policy.show().1, &Totals::default());
    let later = now + seconds(60);
    let Some(Write::Status { status, .. }) = policy.next_write(&options(), later) else { panic!("no status") };
    assert_eq!((status.observed_generation, status.healthy), (Some(2), Some(false)));
    assert_eq!((status.health_score, status.compliance, status.violation_count), (None, None, None));
    assert!(status.conditions.iter().all(|condition| condition.status == "False" && condition.reason == "Unreadable"));
    policy.written(WriteResult::Status(status.clone()), later);
    unreadable.status = Some(*status);
    assert!(!policy.needs_rules(&unreadable, Some(reason)));
    policy.update(unreadable.clone(), None);
    assert_eq!(writes(&mut policy, later + seconds(60)), Vec::<&str>::new());
    assert!(policy.needs_rules(&unreadable, None), "a new schema may change what is read");
}
