//! The decision about one workload: whether and how to patch it, as a function of the workload as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use kube_devops_cluster::install::FIELD_MANAGER;
use kube_devops_core::object::{Context, Object};
use kube_devops_core::text::number;
use kube_devops_core::{Needs, Subject, complete_object};
use serde_json::Value;

use super::added::{added, containers, foreign, give_up, is_own, other_owners};
use super::job::{JobResult, PatchCount, Patched, RemediationJob, RolloutFailure, Step};
use super::plan::{self, Addition, IGNORE, PATCHED_BY, Plan, REVERTED, REVERTED_BECAUSE, ROLLING_OUT};
use super::progress::{Furthest, Progress};
use super::restored;
use super::rollout::{Rollout, is_observed, is_recorded, reason_to_skip, rollout};

/// The patches of one template after which another client is assumed to remove the fields.
const MAX_PATCHES: u32 = 2;

/// What to do with a workload.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Nothing, with this result.
    Done(JobResult),
    /// Apply a patch.
    Patch {
        /// The body of the server-side apply.
        patch: Value,
        /// The result if it succeeds.
        result: JobResult,
    },
    /// Give up the ownership of the added fields.
    GiveUp {
        /// The body of the merge patch.
        patch: Value,
        /// The result if it succeeds.
        result: JobResult,
    },
    /// Remove the added fields, for this reason.
    Revert(String),
    /// Delete the pods of the failed revision of a StatefulSet that was reverted, with the reason of the revert.
    DeleteStuckPods(String),
}

/// Decides about the workload of a pod with violations. `patches` are the patches of this workload so far.
pub fn remediation(
    workload: &Value,
    job: &RemediationJob,
    patches: Option<&PatchCount>,
    now: DateTime<Utc>,
) -> Decision {
    let done = |result| Decision::Done(result);
    if annotation(workload, IGNORE) == Some("true") {
        return done(JobResult::Ignored);
    }
    if workload["metadata"].get("deletionTimestamp").is_some() {
        return done(JobResult::Gone);
    }
    let edits = match subject(workload, now).map(|subject| job.rules.remediate(&subject)) {
        None => return done(JobResult::Skipped("failed to read its pod template".to_owned())),
        Some(Err(error)) => return done(JobResult::Waiting(error.to_string())),
        Some(Ok(edits)) => edits,
    };
    let plan = plan::plan(workload, &job.spec, &edits);
    if plan.additions.is_empty() {
        return nothing_to_add(workload, &plan);
    }
    let template = plan::own_template(workload);
    if annotation(workload, REVERTED) == Some(&template) {
        let result = JobResult::Reverted(reason_of_revert(workload));
        // An earlier version did not give up the fields in a revert.
        return if job.dry_run { done(result) } else { given_up(workload, result) };
    }
    if let Some(reason) = reason_to_skip(workload, job.spec.remediate_daemon_sets.unwrap_or_default()) {
        return done(JobResult::Skipped(reason));
    }
    if patches.is_some_and(|patches| patches.template == template && patches.count >= MAX_PATCHES) {
        let reason = format!("another client removed the added fields {MAX_PATCHES} times; they are not added again");
        return done(JobResult::Conflict(reason));
    }
    match rollout(workload) {
        Rollout::Complete => {}
        Rollout::InProgress(Progress { pods: 0, .. }) => return done(JobResult::Waiting("it has no pods".to_owned())),
        // The effect of the patch could not be distinguished from problems that exist already.
        Rollout::InProgress(_) | Rollout::Failed(_) => {
            return done(JobResult::Waiting("not all of its pods are up to date and available".to_owned()));
        }
    }
    let what = description(&plan.additions);
    if job.dry_run {
        return done(JobResult::WouldPatch(what));
    }
    if let Some(patch) = restored::removal(workload, None) {
        return Decision::GiveUp { patch, result: JobResult::Unprotected(what) };
    }
    let is_recorded = job.recorded.as_ref().is_some_and(|key| {
        (workload["kind"].as_str(), workload["metadata"]["name"].as_str()) == (Some(&key.kind), Some(&key.name))
    });
    if !job.is_protected || !is_recorded {
        return done(JobResult::Unprotected(what));
    }
    if let Some(decision) = foreign_given_up(workload) {
        return decision;
    }
    let patch = plan::patch(workload, &plan.additions, &job.policy);
    let fields = recognizing(&plan.additions);
    Decision::Patch { patch, result: JobResult::Patched(Patched { what, fields, template }) }
}

/// The reason of a revert, which may have been in another cluster, from which the annotations were exported.
fn reason_of_revert(workload: &Value) -> String {
    let reason = annotation(workload, REVERTED_BECAUSE).unwrap_or("the new pods did not become available");
    match other_owners(workload, REVERTED).next() {
        Some(_) => {
            let hint = plan::removal_hint(&[REVERTED, REVERTED_BECAUSE]);
            format!("{reason}; if this was in another cluster, {hint}")
        }
        None => reason.to_owned(),
    }
}

/// Decides about a pod template without missing fields, although a pod has violations.
fn nothing_to_add(workload: &Value, plan: &Plan) -> Decision {
    let template = plan::own_template(workload);
    if annotation(workload, ROLLING_OUT) == Some(&template) {
        // The old pods are being replaced, perhaps since before a restart of the operator.
        return Decision::Done(JobResult::Patched(adopted(workload, template)));
    }
    let without_port = [
        (&plan.without_port, "no port to probe: declare a containerPort, or set defaultProbe.tcpPort in the policy"),
        (
            &plan.without_tcp_port,
            "no TCP containerPort to probe: declare one; defaultProbe.tcpPort is for containers that declare no port",
        ),
    ];
    let reasons = without_port.into_iter().filter(|(names, _)| !names.is_empty()).map(|(names, reason)| {
        let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        format!("container {names}: {reason}")
    });
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    if !reasons.is_empty() {
        return Decision::Done(JobResult::Skipped(reasons));
    }
    let result = match plan.rejected.first() {
        Some((check, field)) => JobResult::Skipped(format!(
            "check {check} requests a value of {field} that is never added: only TCP probes, and requests and limits of cpu and memory are"
        )),
        None => return given_up(workload, JobResult::UpToDate),
    };
    Decision::Done(result)
}

/// Gives up the added fields, unless another write could make the controller lose the start of a rollout.
fn given_up(workload: &Value, result: JobResult) -> Decision {
    match give_up(workload).filter(|_| is_recorded(workload)) {
        Some(patch) => Decision::GiveUp { patch, result },
        None => Decision::Done(result),
    }
}

/// Gives up the fields that another client has applied with the field manager of the operator: the next apply would remove them.
fn foreign_given_up(workload: &Value) -> Option<Decision> {
    const MAX_LISTED: usize = 5;
    let fields = foreign(workload);
    if fields.is_empty() {
        return None;
    }
    let listed = fields.iter().take(MAX_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if fields.len() > MAX_LISTED { ", ..." } else { "" };
    let reason = format!(
        "another client uses the field manager {FIELD_MANAGER} of the operator for {listed}{more}; these fields remain, and have no owner now"
    );
    Some(Decision::GiveUp { patch: give_up(workload)?, result: JobResult::Conflict(reason) })
}

/// The patch of a previous leader, or one whose response was lost, by the added fields of the workload.
fn adopted(workload: &Value, template: String) -> Patched {
    // Old pods may have the probes of an earlier patch.
    Patched { what: String::new(), fields: plan::additions(workload), template }
}

/// Decides about a workload that was patched because of `policy`.
pub fn follow_up(workload: &Value, policy: &str, failure: Option<RolloutFailure>, step: Step) -> Decision {
    let template = plan::own_template(workload);
    let is_rolling_out = annotation(workload, ROLLING_OUT) == Some(&template);
    if annotation(workload, REVERTED) == Some(&template) && !is_rolling_out {
        let reason = annotation(workload, REVERTED_BECAUSE).unwrap_or_default().to_owned();
        return match (workload["kind"] == "StatefulSet", is_observed(workload)) {
            (true, false) => Decision::Done(JobResult::Reverting),
            (true, true) => Decision::DeleteStuckPods(reason),
            (false, _) => Decision::Done(JobResult::Reverted(reason)),
        };
    }
    // Only the rollout of the patch itself is reverted: another template is the change of another client.
    if !is_rolling_out {
        return superseded(workload, failure.as_ref());
    }
    let is_of_other = is_of_other(workload, policy);
    let rolled_out = || JobResult::RolledOut(settle(workload));
    let reason = match (rollout(workload), failure) {
        (Rollout::Failed(reason), _) | (_, Some(RolloutFailure::Restarted(reason))) => reason,
        _ if step == Step::Adopt => return Decision::Done(JobResult::Patched(adopted(workload, template))),
        (Rollout::InProgress(progress), Some(RolloutFailure::Overdue { furthest, limit, is_final: true }))
            if Furthest::from(progress) <= furthest =>
        {
            // Another policy has added fields since, and monitors its rollout.
            if is_of_other {
                return Decision::Done(JobResult::Completed);
            }
            let limit = number(limit.as_secs() as usize, "second");
            format!("the policy is being deleted, and not all pods became available within {limit}")
        }
        (Rollout::InProgress(progress), Some(RolloutFailure::Stalled { best, deadline, limit }))
            if progress.deadline == deadline && !best.is_improved_by(progress) =>
        {
            format!("no progress for {}", number(limit.as_secs() as usize, "second"))
        }
        (Rollout::InProgress(progress), _) if step == Step::Watch => {
            return Decision::Done(JobResult::InProgress(progress));
        }
        (Rollout::InProgress(progress), _) => return given_up(workload, JobResult::InProgress(progress)),
        // The settle time is that of the fields which the template has now: another policy may have added more of them, or a client
        // may have edited an added probe.
        (Rollout::Complete, failure)
            if step == Step::Complete(settle(workload)) || matches!(failure, Some(RolloutFailure::Overdue { .. })) =>
        {
            // Another policy has added fields since, and completes the rollout when it has monitored these, too.
            if is_of_other {
                return Decision::Done(JobResult::Completed);
            }
            return match give_up(workload) {
                None => Decision::Patch { patch: plan::complete(workload), result: JobResult::Completed },
                Some(_) => foreign_given_up(workload).unwrap_or_else(|| given_up(workload, rolled_out())),
            };
        }
        (Rollout::Complete, _) => return given_up(workload, rolled_out()),
    };
    Decision::Revert(reason)
}

/// Whether another policy has patched the workload since. A name that only another client has set is that of no policy which follows the
/// rollout.
fn is_of_other(workload: &Value, policy: &str) -> bool {
    let is_set_by_client = || other_owners(workload, PATCHED_BY).next().is_some() && !is_own(workload, PATCHED_BY);
    annotation(workload, PATCHED_BY).is_some_and(|by| by != plan::by(policy)) && !is_set_by_client()
}

/// Decides about a workload whose template was changed by another client during the rollout of the patch.
fn superseded(workload: &Value, failure: Option<&RolloutFailure>) -> Decision {
    let is_stalled = matches!(failure, Some(RolloutFailure::Stalled { .. } | RolloutFailure::Overdue { .. }));
    match rollout(workload) {
        // The added fields are given up when the rollout of the other client is recorded.
        Rollout::InProgress(progress) if give_up(workload).is_some() && !is_recorded(workload) && !is_stalled => {
            return Decision::Done(JobResult::InProgress(progress));
        }
        _ => {}
    }
    let result = if added(workload).is_empty() { JobResult::Superseded } else { JobResult::Completed };
    match plan::abandon(workload) {
        Some(patch) => Decision::GiveUp { patch, result },
        None => Decision::Done(result),
    }
}

fn annotation<'w>(workload: &'w Value, name: &str) -> Option<&'w str> {
    workload["metadata"]["annotations"][name].as_str()
}

/// The facts of the pod template.
fn subject(workload: &Value, now: DateTime<Utc>) -> Option<Subject> {
    let object: Object = serde_json::from_value(workload.clone()).ok()?;
    let needs = Needs { annotations: true, objects: true };
    let context = Context { now, default_namespace: String::new(), source: None, needs };
    let subject = object.extract(&context).ok()?.into_subject()?;
    Some(Subject { object: Some(complete_object(workload.clone())), ..subject })
}

/// The added fields by which new pods are recognized. If the template had none of the added probes before, old pods have none either, and
/// no other admission controller changes probes. A vertical autoscaler changes the requests and limits of pods.
fn recognizing(additions: &[Addition]) -> Vec<Addition> {
    let is_probe = |addition: &&Addition| !addition.field.starts_with("/resources/");
    let probes: Vec<Addition> = additions.iter().filter(is_probe).cloned().collect();
    if probes.is_empty() { additions.to_vec() } else { probes }
}

/// How long new pods are watched after a rollout for restarts: the longest time that an added field of the template needs.
fn settle(workload: &Value) -> Duration {
    let additions = plan::additions(workload);
    additions.iter().filter_map(|addition| settle_of(workload, addition)).max().unwrap_or_default()
}

/// How long new pods are watched because of an added field.
fn settle_of(workload: &Value, addition: &Addition) -> Option<Duration> {
    // The kubelet restarts a container after three failures by default.
    const FAILURES: u64 = 3;
    const MARGIN: u64 = 5;
    // A container that needs more memory than its new limit is killed soon, or never.
    const LIMITS: u64 = 60;
    // That of a pod by default, in seconds.
    const GRACE_PERIOD: u64 = 30;
    let seconds = match addition.field.as_str() {
        "/livenessProbe" => {
            let container = containers(workload).iter().find(|container| container["name"] == *addition.container);
            // Another client may have changed a part of an added probe.
            let probe = container.map_or(&addition.value, |container| &container["livenessProbe"]);
            let seconds = |field: &str, default: u64| probe[field].as_u64().unwrap_or(default);
            let period = seconds("periodSeconds", 10).max(seconds("timeoutSeconds", 1));
            // The first probe is sent within a period.
            let periods = seconds("failureThreshold", FAILURES).saturating_add(1);
            // The restart is counted when the container has stopped.
            let of_pod = workload.pointer("/spec/template/spec/terminationGracePeriodSeconds").and_then(Value::as_u64);
            let grace = seconds("terminationGracePeriodSeconds", of_pod.unwrap_or(GRACE_PERIOD));
            let parts = [seconds("initialDelaySeconds", 0), periods.saturating_mul(period), grace, MARGIN];
            parts.into_iter().fold(0, u64::saturating_add)
        }
        field if field.starts_with("/resources/limits/") => LIMITS,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

/// The added fields, for people.
fn description(additions: &[Addition]) -> String {
    let mut by_container: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for addition in additions {
        by_container.entry(&addition.container).or_default().push(addition.field.trim_start_matches('/'));
    }
    let parts =
        by_container.into_iter().map(|(container, fields)| format!("container {container}: {}", fields.join(", ")));
    parts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
