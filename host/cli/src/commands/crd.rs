//! `crd`: the custom resource definitions.

use std::fmt::Write;

use anyhow::Result;
use kube_devops_cluster::{crd, install};

use super::{Outcome, print};
use crate::arguments::{ClusterArguments, CrdCommand};
use crate::connection::with_cluster;

/// Runs the command.
pub fn run(cluster: &ClusterArguments, command: &CrdCommand) -> Result<Outcome> {
    match command {
        CrdCommand::Generate => {
            let documents = crd::definitions().map(|definition| serde_norway::to_string(&definition));
            let documents = documents.into_iter().collect::<Result<Vec<_>, _>>()?;
            print(&documents.join("---\n"))
        }
        CrdCommand::Install => with_cluster(cluster, async |connection| {
            let mut text = String::new();
            for (name, outcome) in install::install(&connection).await? {
                let outcome = outcome.as_str();
                let _ = writeln!(text, "customresourcedefinition.apiextensions.k8s.io/{name} {outcome}");
            }
            print(&text)
        }),
    }
}
