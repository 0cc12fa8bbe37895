//! `cleanup`: the removal of what the components created.

use std::time::Duration;

use anyhow::{Result, bail};
use kube_devops_cluster::cleanup;
use kube_devops_cluster::permissions::ObjectNames;
use kube_devops_remediation::{PatchedWorkload, patched_workloads};

use super::{Outcome, print};
use crate::arguments::{CleanupArguments, ClusterArguments};
use crate::connection::with_cluster;

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &CleanupArguments) -> Result<Outcome> {
    with_cluster(cluster, async |connection| {
        let names = ObjectNames::with_prefix(&arguments.name_prefix);
        if !arguments.force {
            let wait = Duration::from_secs(arguments.wait.into());
            let held = cleanup::wait_for_components(&connection, &arguments.namespace, &names, wait).await?;
            if !held.is_empty() {
                bail!(
                    "components are still running: {}; remove them first, wait with --wait, or remove their objects with --force",
                    held.join(", ")
                );
            }
        }
        // The finalizers are those of all installations: an operator that is running needs them.
        let operators = if arguments.force {
            Vec::new()
        } else {
            cleanup::other_operators(&connection, &arguments.namespace, &names).await?
        };
        let mut removed = cleanup::objects(&connection, &arguments.namespace, &names).await?;
        if operators.is_empty() {
            removed.extend(cleanup::finalizers(&connection).await?);
        } else if removed.is_empty() {
            bail!("{}", refusal(&arguments.namespace, &operators));
        }
        match &removed[..] {
            [] => print("nothing to remove\n")?,
            removed => print(&removed.iter().map(|object| format!("{object} removed\n")).collect::<String>())?,
        };
        if !operators.is_empty() {
            print(&format!(
                "the finalizers of policies were kept for the running operator: {}\n",
                operators.join(", ")
            ))?;
        }
        let left = patched_workloads(&connection).await?;
        print(&left.iter().map(line).collect::<String>())
    })
}

/// Why nothing is removed while operators of other installations are running.
fn refusal(namespace: &str, operators: &[String]) -> String {
    format!(
        "nothing to remove in the namespace {namespace}, and an operator is running elsewhere: {}; it needs the finalizers of policies. Remove the operator and pass its namespace with --namespace and the prefix of its name with --name-prefix, or remove the finalizers with --force",
        operators.join(", ")
    )
}

/// What remains of a patch, and how to remove it.
fn line(workload: &PatchedWorkload) -> String {
    let PatchedWorkload { namespace, key, is_rolling_out } = workload;
    let name = format!("{}/{}", key.kind.to_lowercase(), key.name);
    let state = if *is_rolling_out { ", whose rollout was not complete" } else { "" };
    format!(
        "{name} in {namespace} keeps the fields that remediation added{state}; to remove them: kube-devops release {name} -n {namespace}\n"
    )
}

#[cfg(test)]
mod tests {
    use kube_devops_remediation::WorkloadKey;

    use super::*;

    #[test]
    fn the_command_that_removes_the_fields_of_a_workload_is_printed() {
        let key = WorkloadKey { kind: "StatefulSet".to_owned(), name: "store".to_owned() };
        let workload =
            |is_rolling_out| PatchedWorkload { namespace: "shop".to_owned(), key: key.clone(), is_rolling_out };
        let text = line(&workload(false));
        assert!(text.ends_with("; to remove them: kube-devops release statefulset/store -n shop\n"), "{text}");
        assert!(line(&workload(true)).contains("rollout was not complete"), "{text}");
    }
}
