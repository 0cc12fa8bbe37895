//! `release`: the removal of the fields that remediation added to workloads.

use anyhow::{Result, bail};
use kube_devops_remediation::{Released, release};

use super::{Outcome, print};
use crate::arguments::{ClusterArguments, ReleaseArguments};
use crate::connection::with_cluster;

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &ReleaseArguments) -> Result<Outcome> {
    with_cluster(cluster, async |connection| {
        let namespace = arguments.namespace.as_deref().unwrap_or(connection.client.default_namespace());
        for key in &arguments.workloads {
            let workload = format!("{}/{}", key.kind.to_lowercase(), key.name);
            match release(&connection, namespace, key).await? {
                Released::Fields(fields) => {
                    let fields: String = fields.iter().map(|field| format!("  {field}\n")).collect();
                    print(&format!("{workload} released; removed fields:\n{fields}"))?;
                }
                Released::Annotations => drop(print(&format!(
                    "{workload} has no added fields: other clients have set them since; removed the annotations of the operator\n"
                ))?),
                Released::Nothing => drop(print(&format!("{workload} has no added fields\n"))?),
                Released::NotFound => bail!(
                    "{workload} does not exist in the namespace {namespace}; to list all: kubectl get {}s -n {namespace}",
                    key.kind.to_lowercase()
                ),
            }
        }
        Ok(Outcome::Success)
    })
}
