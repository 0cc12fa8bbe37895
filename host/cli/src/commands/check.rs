//! `check`: the connection to the cluster, and the permissions there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::Result;
use kube_devops_cluster::permissions::{self, Answer, Component};

use super::{Outcome, installation, print};
use crate::arguments::{CheckArguments, ClusterArguments};
use crate::connection::with_cluster;

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &CheckArguments) -> Result<Outcome> {
    with_cluster(cluster, async |connection| {
        if arguments.installation {
            return installation::run(&connection, arguments).await;
        }
        let version = connection.server_version().await?;
        let mut text = format!("Cluster    {}\n", connection.server);
        if let Some(context) = &connection.context {
            let _ = writeln!(text, "Context    {context}");
        }
        let _ = writeln!(text, "Version    {version}\n");
        let analyzed = &arguments.analyze_namespaces;
        let answers = if analyzed.is_empty() {
            permissions::ask(&connection, &arguments.namespace).await?
        } else {
            permissions::ask_to_analyze(&connection, analyzed).await?
        };
        text.push_str(&table(&answers, arguments));
        text.push_str(&if analyzed.is_empty() {
            component_advice(&answers, &arguments.namespace)
        } else {
            analyze_advice(&answers, analyzed)
        });
        print(&text)?;
        Ok(if answers.iter().all(|answer| answer.allowed) { Outcome::Success } else { Outcome::GateNotMet })
    })
}

/// Formats one line per permission.
fn table(answers: &[Answer], arguments: &CheckArguments) -> String {
    let is_for_analyze = !arguments.analyze_namespaces.is_empty();
    let mut by_resource: BTreeMap<(usize, bool), (&Answer, Vec<&str>)> = BTreeMap::new();
    let mut order = Vec::new();
    for answer in answers {
        let permission = (&answer.permission, &answer.namespace);
        let known = order.iter().position(|known| *known == permission);
        let position = known.unwrap_or_else(|| {
            order.push(permission);
            order.len() - 1
        });
        by_resource.entry((position, answer.allowed)).or_insert((answer, Vec::new())).1.push(answer.verb);
    }
    let rows: Vec<[String; 4]> =
        by_resource.values().map(|(answer, verbs)| row(answer, verbs, is_for_analyze)).collect();
    let headings = ["ALLOWED", "PERMISSION", "NEEDED BY", "PURPOSE"].map(str::to_owned);
    let width = |column: usize| rows.iter().chain([&headings]).map(|row| row[column].len()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [allowed, permission, needed_by, purpose] in [&headings].into_iter().chain(&rows) {
        let [first, second, third] = widths;
        let _ = writeln!(text, "{allowed:<first$}  {permission:<second$}  {needed_by:<third$}  {purpose}");
    }
    text
}

/// Returns the cells of a permission: whether it is granted, verbs and resource, the components, and the purpose.
fn row(answer: &Answer, verbs: &[&str], is_for_analyze: bool) -> [String; 4] {
    let permission = &answer.permission;
    let mut resource = match permission.group {
        "" => permission.resource.to_owned(),
        group => format!("{}.{group}", permission.resource),
    };
    if let Some(name) = permission.object_name() {
        let _ = write!(resource, "/{name}");
    }
    let allowed = if answer.allowed { "yes" } else { "NO" };
    let (needed_by, location) = match &answer.namespace {
        Some(namespace) if is_for_analyze => ("analyze".to_owned(), format!(" in {namespace}")),
        _ => {
            let components = permission.needed_by.iter().map(|component| component.as_str());
            (components.collect::<Vec<_>>().join(", "), String::new())
        }
    };
    let verbs = verbs.join(",");
    [allowed.to_owned(), format!("{verbs} {resource}{location}"), needed_by, permission.purpose.to_owned()]
}

/// Describes how to get the missing permissions for `analyze -n`.
fn analyze_advice(answers: &[Answer], analyzed: &[String]) -> String {
    let denied: BTreeSet<_> =
        answers.iter().filter(|answer| !answer.allowed).filter_map(|answer| answer.namespace.as_deref()).collect();
    if denied.is_empty() {
        let options: String = analyzed.iter().map(|name| format!(" -n {name}")).collect();
        return format!("\nYou can run: kube-devops analyze{options}\n");
    }
    let namespaces = denied.into_iter().collect::<Vec<_>>().join(", ");
    format!(
        "\nWith these credentials the pods of {namespaces} cannot be evaluated.\n\
         Ask a cluster administrator for a Role in each of these namespaces with the permissions marked NO, bound to\n\
         you. Without the permission to get namespaces, one that does not exist is reported in the same way.\n"
    )
}

/// Describes how to get the missing permissions of the components.
fn component_advice(answers: &[Answer], namespace: &str) -> String {
    let denied: BTreeSet<Component> = answers
        .iter()
        .filter(|answer| !answer.allowed)
        .flat_map(|answer| answer.permission.needed_by.iter().copied())
        .collect();
    if denied.is_empty() {
        return "\nAll permissions are granted.\n".to_owned();
    }
    let names = denied.iter().map(|component| component.as_str()).collect::<Vec<_>>().join(", ");
    format!(
        "\nWith these credentials you cannot run: {names}.\n\
         Ask a cluster administrator for a ClusterRole with the permissions marked NO, bound to you or to the\n\
         ServiceAccount of the component. For leases and secrets, a Role in the namespace {namespace} is sufficient.\n\
         To print the roles of the components: kube-devops deploy generate-rbac -n {namespace}\n"
    )
}
