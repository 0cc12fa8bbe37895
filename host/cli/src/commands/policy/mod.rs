//! `policy`: bundles, and policies between files and clusters.
//!
//! ```text
//!   files --> policies (PolicyFiles) --.--> import: server-side apply, deletion of what the files do not contain
//!                                      '--> diff: dry run on the API server, unified diff
//!   cluster --> export: YAML documents
//!   a file --> one policy, for `analyze`
//! ```

mod bundles;
mod diff;
mod export;
mod files;
mod import;
mod one;

use std::collections::BTreeSet;

use anyhow::Result;
use kube_devops_cluster::connection::Connection;
use kube_devops_cluster::gitops::{self, StoredKind};
use serde_json::Value;

use self::files::DeclaredPolicy;
pub use self::files::error_text;
pub use self::one::{FilePolicy, read_one};
use super::{Outcome, print};
use crate::arguments::{ClusterArguments, PolicyCommand};

/// The number of policies that are applied or compared at the same time.
const PARALLEL: usize = 8;

/// The plural and group of policies, as kubectl prints them.
const RESOURCE: &str = "devopspolicy.devops.stochastic.io";

/// Runs the command.
pub fn run(cluster: &ClusterArguments, command: &PolicyCommand) -> Result<Outcome> {
    match command {
        PolicyCommand::BundleList { modules } => bundles::list(modules, cluster),
        PolicyCommand::BundleShow { name, modules } => bundles::show(name, modules, cluster),
        PolicyCommand::BundleApply { name, namespace, policy_name, modules } => {
            bundles::apply(name, namespace, policy_name, modules, cluster)
        }
        PolicyCommand::Export(arguments) => export::run(cluster, arguments),
        PolicyCommand::Import(arguments) => import::run(cluster, arguments),
        PolicyCommand::Diff(arguments) => diff::run(cluster, arguments),
    }
}

/// Lists the stored policies of the namespaces of declared policies.
async fn stored_beside(connection: &Connection, declared: &[DeclaredPolicy]) -> Result<Vec<Value>> {
    let namespaces: BTreeSet<&str> = declared.iter().map(|policy| &*policy.key.namespace).collect();
    let namespaces: Vec<String> = namespaces.into_iter().map(str::to_owned).collect();
    // Without namespaces, all would be listed.
    if namespaces.is_empty() {
        return Ok(Vec::new());
    }
    Ok(gitops::list(connection, StoredKind::Policy, &namespaces).await?)
}
