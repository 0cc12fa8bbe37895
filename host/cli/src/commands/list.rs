//! `list`: resources of the cluster.

use std::fmt::Write;

use anyhow::Result;
use kube_devops_cluster::pods::{self, PodQuery};
use kube_devops_core::Needs;
use serde::{Deserialize, Serialize};

use super::evaluate::no_pods;
use super::{Outcome, print};
use crate::arguments::{ClusterArguments, ListCommand, ListFormat, ListPodsArguments};
use crate::connection::with_cluster;
use crate::output;
use crate::progress::Progress;
use crate::terminal::{print_message, print_note};

/// A pod in the list.
#[derive(Debug, Serialize)]
struct Row {
    namespace: String,
    name: String,
    phase: String,
    /// Empty if the pod is not bound to a node.
    node: String,
}

impl Row {
    /// Escapes control characters, which the names of a hostile API server can contain.
    fn printable(&self) -> Self {
        let Self { namespace, name, phase, node } = self;
        let [namespace, name, phase, node] = [namespace, name, phase, node].map(|text| output::name(text));
        Self { namespace, name, phase, node }
    }
}

/// The part of the spec of a pod that is listed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Placement {
    node_name: Option<String>,
}

/// The part of the status of a pod that is listed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Lifecycle {
    phase: Option<String>,
}

/// Runs the command.
pub fn run(cluster: &ClusterArguments, command: &ListCommand) -> Result<Outcome> {
    let ListCommand::Pods(arguments) = command;
    let rows = read(cluster, arguments)?;
    let text = match arguments.output {
        ListFormat::Text => columns(&rows.iter().map(Row::printable).collect::<Vec<_>>()),
        ListFormat::Json => format!("{}\n", serde_json::to_string_pretty(&rows)?),
        ListFormat::Yaml => serde_norway::to_string(&rows)?,
        ListFormat::Name => names(&rows, arguments.selection.namespaces.len() == 1),
    };
    if rows.is_empty() && arguments.output == ListFormat::Text {
        print_note("no pods found");
    }
    print(&text)
}

fn read(cluster: &ClusterArguments, arguments: &ListPodsArguments) -> Result<Vec<Row>> {
    let selection = &arguments.selection;
    let query = PodQuery {
        namespaces: selection.namespaces.clone(),
        selector: selection.selector.clone(),
        needs: Needs::default(),
    };
    with_cluster(cluster, async |connection| {
        let progress = Progress::new("listing pods");
        let listed = pods::list::<Placement, Lifecycle>(&connection, &query, |count| progress.set(count)).await?;
        listed.unverified.iter().for_each(|namespace| print_message("warning", &no_pods(namespace)));
        let rows = listed.pods.into_iter().map(|pod| Row {
            name: pod.metadata.name.unwrap_or_default(),
            namespace: pod.metadata.namespace.unwrap_or_default(),
            phase: pod.status.and_then(|status| status.0.ok()?.phase).unwrap_or_else(|| "Unknown".to_owned()),
            node: pod.spec.0.ok().and_then(|spec| spec.node_name).unwrap_or_default(),
        });
        Ok(rows.collect())
    })
}

/// Formats the rows as arguments of kubectl, with the namespaces unless there is only one.
fn names(rows: &[Row], is_one_namespace: bool) -> String {
    let namespace = |row: &'_ Row| if is_one_namespace { String::new() } else { row.namespace.clone() };
    rows.iter().map(|row| output::arguments_of_kubectl("pod", &row.name, &namespace(row)) + "\n").collect()
}

/// Formats the rows as columns. Their minimum widths are fixed, because scripts rely on them; longer names widen a column.
fn columns(rows: &[Row]) -> String {
    let widest = |minimum: usize, column: fn(&Row) -> &str| {
        rows.iter().map(|row| column(row).len() + 1).max().unwrap_or_default().max(minimum)
    };
    let namespaces = widest(20, |row| &row.namespace);
    let names = widest(33, |row| &row.name);
    let phases = widest(16, |row| &row.phase);
    rows.iter().fold(String::new(), |mut text, row| {
        let Row { namespace, name, phase, node } = row;
        let line = format!("{namespace:<namespaces$}{name:<names$}{phase:<phases$}{node}");
        let _ = writeln!(text, "{}", line.trim_end());
        text
    })
}
