//! `policy diff`: what an import would change.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream;
use kube_devops_cluster::connection::Connection;
use kube_devops_cluster::gitops::{self, ApplyError, Compared, without_server_fields};
use kube_devops_cluster::key::ObjectKey;
use kube_devops_core::text::number;
use serde_json::Value;

use super::super::document::{document, unified_diff};
use super::files::{self, DeclaredPolicy, PolicyFiles};
use super::import::{failure, terminating};
use super::{Outcome, PARALLEL, export, print, stored_beside};
use crate::arguments::{ClusterArguments, DiffArguments};
use crate::connection::with_cluster;
use crate::output;
use crate::terminal::{print_message, print_note};

/// The name of the side on which a policy does not exist.
const NONE: &str = "/dev/null";

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &DiffArguments) -> Result<Outcome> {
    let source = &arguments.source;
    let objects = files::read(source);
    with_cluster(cluster, async |connection| {
        let files = PolicyFiles::of(objects, source, connection.client.default_namespace(), "compared")?;
        let compared = compare(&connection, &files.policies, &source.field_manager).await?;
        let failures = files.failures + compared.failures;
        let mut differ = compared.differ;
        if arguments.cluster_only {
            differ |= print_cluster_only(&connection, &files.policies).await?;
        }
        if failures > 0 {
            print_note(&format!("{}: not everything was compared", number(failures, "error")));
            return Ok(Outcome::Failure);
        }
        Ok(if differ { Outcome::Differences } else { Outcome::Success })
    })
}

#[derive(Default)]
struct Comparison {
    differ: bool,
    failures: usize,
}

/// Compares the policies with the stored ones, and prints the differences in their order.
async fn compare(connection: &Connection, policies: &[DeclaredPolicy], manager: &str) -> Result<Comparison> {
    let origin = export::origin(connection);
    let compare =
        async |policy: &DeclaredPolicy| gitops::compare(connection, &policy.key, &policy.value, manager).await;
    let mut results = stream::iter(policies).map(compare).buffered(PARALLEL).enumerate();
    let mut comparison = Comparison::default();
    while let Some((index, result)) = results.next().await {
        let policy = &policies[index];
        match result {
            Ok(Compared { live, merged, is_terminating, conflict }) => {
                if let Some(conflict) = conflict {
                    let message = format!("{}: DevOpsPolicy {}: {conflict}", policy.place, policy.key);
                    print_message("warning", &format!("{message}\nAn import needs --force-conflicts"));
                }
                if is_terminating {
                    print_message("warning", &terminating(policy));
                }
                let from_file = output::one_line(&policy.place);
                let text =
                    difference(&policy.key, live.as_ref().map(|live| (&*origin, live)), Some((&from_file, &merged)));
                comparison.differ |= !text.is_empty() || is_terminating;
                print(&text)?;
            }
            Err(ApplyError::Cluster(error)) => {
                return Err(error).context(format!("stopped after {index} of {}", number(policies.len(), "policy")));
            }
            Err(error) => {
                comparison.failures += 1;
                print_message("error", &failure(policy, &error));
            }
        }
    }
    Ok(comparison)
}

/// Prints the policies of the namespaces of the files that the files do not contain. Returns whether there are any.
async fn print_cluster_only(connection: &Connection, policies: &[DeclaredPolicy]) -> Result<bool> {
    let declared: BTreeSet<&ObjectKey> = policies.iter().map(|policy| &policy.key).collect();
    let origin = export::origin(connection);
    let mut differ = false;
    for stored in stored_beside(connection, policies).await? {
        let key = ObjectKey::of_value(&stored);
        if !declared.contains(&key) {
            differ = true;
            print(&difference(&key, Some((&origin, &stored)), None))?;
        }
    }
    Ok(differ)
}

/// Returns the unified diff of two states of a policy, each with its origin; empty if they are equal.
fn difference(key: &ObjectKey, live: Option<(&str, &Value)>, merged: Option<(&str, &Value)>) -> String {
    let text = |side: Option<(&str, &Value)>| {
        side.map(|(_, object)| document(&without_server_fields(object))).unwrap_or_default()
    };
    let label = |side: Option<(&str, &Value)>| match side {
        Some((origin, _)) => {
            let (namespace, name) = (output::name(&key.namespace), output::name(&key.name));
            format!("DevOpsPolicy {namespace}/{name} in {origin}")
        }
        None => NONE.to_owned(),
    };
    let (before, after) = (text(live), text(merged));
    if before == after {
        return String::new();
    }
    unified_diff((label(live), &before), (label(merged), &after))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(count: u32, version: &str) -> Value {
        json!({
            "kind": "DevOpsPolicy", "metadata": { "name": "a", "resourceVersion": version }, "spec": { "maxRestartCount": count },
        })
    }

    fn key() -> ObjectKey {
        ObjectKey { namespace: "shop".into(), name: "a".into() }
    }

    #[test]
    fn a_difference_is_a_unified_diff_with_the_origin_of_both_sides() {
        let text = difference(&key(), Some(("cluster", &policy(3, "1"))), Some(("a.yaml:5", &policy(4, "1"))));
        let expected = "\
--- DevOpsPolicy shop/a in cluster
+++ DevOpsPolicy shop/a in a.yaml:5
@@ -2,4 +2,4 @@
 metadata:
   name: a
 spec:
-  maxRestartCount: 3
+  maxRestartCount: 4
";
        assert_eq!(text, expected);
    }

    #[test]
    fn fields_of_the_server_are_no_differences_and_missing_policies_are_empty() {
        assert_eq!(difference(&key(), Some(("cluster", &policy(3, "1"))), Some(("a.yaml:5", &policy(3, "2")))), "");
        let only_file = difference(&key(), None, Some(("a.yaml:5", &policy(3, ""))));
        assert!(
            only_file.starts_with("--- /dev/null\n+++ DevOpsPolicy shop/a in a.yaml:5\n@@ -0,0 +1,5 @@\n+kind"),
            "{only_file}"
        );
        let only_cluster = difference(&key(), Some(("cluster", &policy(3, ""))), None);
        assert!(only_cluster.contains("\n+++ /dev/null\n@@ -1,5 +0,0 @@\n-kind"), "{only_cluster}");
    }
}
