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
        let removed = cleanup::run(&connection, &arguments.namespace, &names).await?;
        match &removed[..] {
            [] => print("nothing to remove\n")?,
            removed => print(&removed.iter().map(|object| format!("{object} removed\n")).collect::<String>())?,
        };
        let left = patched_workloads(&connection).await?;
        print(&left.iter().map(line).collect::<String>())
    })
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
