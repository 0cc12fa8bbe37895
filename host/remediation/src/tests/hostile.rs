//! Tests of references and statuses that anyone can write, and of workloads beyond the list.

use kube_devops_cluster::crd::WorkloadStatus;

use super::*;
use crate::state::MAX_LISTED;

#[test]
fn a_status_names_only_workloads() {
    let now = start();
    let status = |kind: &str, name: &str| WorkloadStatus {
        kind: kind.to_owned(),
        name: name.to_owned(),
        state: WorkloadState::RollingOut,
        message: "a".repeat(60_000),
        time: now.utc,
    };
    let long = "a".repeat(60_000);
    let statuses =
        [("Deployment", "web"), ("Secret", "web"), ("Deployment", "a b%"), ("Deployment", &*long), ("../x", "web")];
    let statuses = statuses.map(|(kind, name)| status(kind, name));
    let restored = Remediations::restore(&statuses, false, &options(), now).statuses();
    let names: Vec<_> = restored.iter().map(|status| (&*status.kind, &*status.name)).collect();
    assert_eq!(names, [("Deployment", "web")]);
    assert!(restored[0].message.len() <= 512);
}

#[test]
fn workloads_that_are_not_remediated_count_although_the_list_is_cut() {
    let now = start();
    let mut remediations = Remediations::default();
    let skipped = JobResult::Skipped("it is paused".to_owned());
    remediations.remediated(&owner("first"), Some(key("first")), &skipped, &options(), now);
    for index in 0..=MAX_LISTED {
        let name = format!("web-{index}");
        let later = now + seconds(1);
        remediations.remediated(&owner(&name), Some(key(&name)), &JobResult::Ignored, &options(), later);
    }
    let states: BTreeSet<_> = remediations.statuses().iter().map(|status| format!("{:?}", status.state)).collect();
    assert_eq!(states, ["Ignored".to_owned()].into());
    assert_eq!(remediations.incomplete(), 1);
}

#[test]
fn a_patch_whose_pods_are_gone_waits_for_no_finalizer() {
    let now = start();
    let mut remediations = due(&["web", "other"], now);
    remediations.remediated(&owner("web"), Some(key("web")), &unprotected(), &options(), now);
    remediations.pods_removed(["web"].into_iter());
    assert!(remediations.needs_finalizer());
    remediations.pods_removed(["other"].into_iter());
    assert!(!remediations.needs_finalizer());
    assert_eq!(next(&mut remediations, now + seconds(3600)), None, "no pod of them remains");
}

#[test]
fn a_workload_that_may_not_be_read_is_denied() {
    let now = start();
    let mut remediations = due(&["web"], now);
    assert_eq!(remediations.denials(), None);
    let denied = JobResult::Denied("forbidden".to_owned());
    remediations.remediated(&owner("web"), None, &denied, &options(), now);
    assert_eq!(remediations.denials(), Some((1, "forbidden")));
    assert!(remediations.statuses().is_empty());
}
