//! `cleanup`: the removal of what the components created.

use std::time::Duration;

use anyhow::{Result, bail};
use kube_devops_cluster::cleanup;
use kube_devops_cluster::permissions::ObjectNames;

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
        if removed.is_empty() {
            return print("nothing to remove\n");
        }
        print(&removed.iter().map(|object| format!("{object} removed\n")).collect::<String>())
    })
}
