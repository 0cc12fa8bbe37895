//! `policy import`: applies the policies of files.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use futures::stream;
use kube_devops_cluster::connection::Connection;
use kube_devops_cluster::gitops::prune::Deleted;
use kube_devops_cluster::gitops::{self, Applied, ApplyError, ApplyOptions, prune};
use kube_devops_cluster::install::ApplyOutcome;
use kube_devops_cluster::key::ObjectKey;
use kube_devops_cluster::policies::{self, RulesError};
use kube_devops_cluster::policy_file;
use kube_devops_core::text::number;

use super::files::{self, DeclaredPolicy, PolicyFiles};
use super::{Outcome, PARALLEL, RESOURCE, print, stored_beside};
use crate::arguments::{ClusterArguments, ImportArguments};
use crate::connection::with_cluster;
use crate::terminal::{print_message, print_note};

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &ImportArguments) -> Result<Outcome> {
    let source = &arguments.source;
    let objects = files::read(source);
    with_cluster(cluster, async |connection| {
        let files = PolicyFiles::of(objects, source, connection.client.default_namespace(), "imported")?;
        let imported = import(&connection, &files.policies, arguments).await?;
        let mut failures = files.failures + imported.failures;
        if arguments.prune && failures == 0 {
            // The policies were imported, whatever prevents the deletion of others.
            failures += prune(&connection, &files.policies, arguments).await.unwrap_or_else(|error| {
                print_message("error", &format!("nothing was pruned: {error:#}"));
                1
            });
        } else if arguments.prune {
            print_message("not pruned", "nothing is deleted after a failure");
        }
        if failures == 0 {
            return Ok(Outcome::Success);
        }
        if imported.applied == 0 {
            bail!("{}: nothing was imported", number(failures, "error"));
        }
        print_note(&format!("{}: not everything was imported", number(failures, "error")));
        Ok(Outcome::NotImported)
    })
}

/// Returns the end of a line about a policy.
fn suffix(dry_run: bool) -> &'static str {
    if dry_run { " (server dry run)" } else { "" }
}

/// The numbers of policies.
#[derive(Debug, Default)]
struct Imported {
    /// Those that the API server accepted.
    applied: usize,
    /// Those that were not applied, or do not remain.
    failures: usize,
}

/// Applies the policies, and prints the results in their order.
async fn import(connection: &Connection, policies: &[DeclaredPolicy], arguments: &ImportArguments) -> Result<Imported> {
    let options = ApplyOptions {
        manager: arguments.source.field_manager.clone(),
        force: arguments.force_conflicts,
        dry_run: arguments.dry_run,
    };
    let apply = async |policy: &DeclaredPolicy| gitops::apply(connection, &policy.key, &policy.value, &options).await;
    let mut results = stream::iter(policies).map(apply).buffered(PARALLEL).enumerate();
    let (mut imported, mut has_conflict) = (Imported::default(), false);
    while let Some((index, result)) = results.next().await {
        let policy = &policies[index];
        match result {
            Ok(Applied { outcome, is_terminating }) => {
                imported.applied += 1;
                print(&line(&policy.key, outcome.as_str(), arguments.dry_run))?;
                if let Some(warning) = warning(policy, outcome) {
                    print_message("warning", &warning);
                }
                if is_terminating {
                    imported.failures += 1;
                    print_message("error", &terminating(policy));
                }
            }
            Err(ApplyError::Cluster(error)) => {
                return Err(error).context(format!("stopped after {index} of {}", number(policies.len(), "policy")));
            }
            Err(error) => {
                imported.failures += 1;
                has_conflict |= matches!(error, ApplyError::Conflict(_));
                print_message("error", &failure(policy, &error));
            }
        }
    }
    if has_conflict {
        print_message(
            "hint",
            "--force-conflicts takes over the fields; to keep the values of the other managers, remove the fields from the \
             manifests",
        );
    }
    Ok(imported)
}

/// Describes a policy that is being deleted: an apply does not keep it.
pub fn terminating(policy: &DeclaredPolicy) -> String {
    let DeclaredPolicy { place, key, .. } = policy;
    format!(
        "{place}: DevOpsPolicy {key} is being deleted in the cluster; import it again when it does not exist any more"
    )
}

fn line(key: &ObjectKey, word: &str, dry_run: bool) -> String {
    format!("{RESOURCE}/{} {word} in {}{}\n", key.name, key.namespace, suffix(dry_run))
}

/// Describes why a policy was not applied: the message of the API server, and what validation in this program adds to it.
pub fn failure(policy: &DeclaredPolicy, error: &ApplyError) -> String {
    let mut text = format!("{}: DevOpsPolicy {}: {error}", policy.place, policy.key);
    if let (ApplyError::Invalid(message), Err(reason)) = (error, policy_file::check(&policy.value)) {
        let reason = reason.to_string();
        if !message.contains(&reason) {
            text.push_str(&format!("\n{reason}"));
        }
    }
    text
}

/// Returns what is wrong with a policy that the API server accepts.
fn warning(policy: &DeclaredPolicy, outcome: ApplyOutcome) -> Option<String> {
    let reason = match policy_file::check(&policy.value) {
        // The custom resources of the cluster are of another version.
        Err(reason) if outcome != ApplyOutcome::Unchanged => reason.to_string(),
        Ok(read) if policies::enables_no_check(&read.spec) => RulesError::NoChecks.to_string(),
        _ => return None,
    };
    Some(format!("{}: DevOpsPolicy {}: {reason}", policy.place, policy.key))
}

/// Lists the imported policies that the files do not contain, deletes them, and returns the number of failures.
async fn prune(connection: &Connection, policies: &[DeclaredPolicy], arguments: &ImportArguments) -> Result<usize> {
    let declared: BTreeSet<ObjectKey> = policies.iter().map(|policy| policy.key.clone()).collect();
    let stored = stored_beside(connection, policies).await?;
    let plan = prune::plan(&stored, &declared, &arguments.source.field_manager);
    for (key, reason) in &plan.keep {
        print_message("kept", &format!("DevOpsPolicy {key} is not in the files, but {reason}"));
    }
    for policy in &plan.delete {
        print(&line(&policy.key, "will be deleted", arguments.dry_run))?;
    }
    let mut failures = 0;
    for policy in &plan.delete {
        match prune::delete(connection, policy, &arguments.source.field_manager, arguments.dry_run).await {
            Ok(Deleted::Waiting(finalizers)) if !arguments.dry_run => {
                print(&line(&policy.key, "marked for deletion", false))?;
                let finalizers = finalizers.join(", ");
                print_message(
                    "waiting",
                    &format!("DevOpsPolicy {} is deleted after its finalizers: {finalizers}", policy.key),
                );
            }
            Ok(_) => drop(print(&line(&policy.key, "pruned", arguments.dry_run))?),
            Err(reason) => {
                failures += 1;
                print_message("error", &format!("DevOpsPolicy {} was not deleted: {reason}", policy.key));
            }
        }
    }
    Ok(failures)
}
