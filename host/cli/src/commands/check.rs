//! `check`: whether the cluster can be reached, and what is allowed there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::Result;
use kube_devops_cluster::permissions::{self, Answer, Component};

use super::{Outcome, print, with_cluster};
use crate::arguments::{CheckArguments, ClusterArguments};

/// Carries out the command.
pub fn run(cluster: &ClusterArguments, arguments: &CheckArguments) -> Result<Outcome> {
    with_cluster(cluster, async |connection| {
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
        print(&text)?;
        Ok(if answers.iter().all(|answer| answer.allowed) { Outcome::Fine } else { Outcome::GateNotMet })
    })
}

/// One line for each permission, and what to do about those that are missing.
fn table(answers: &[Answer], arguments: &CheckArguments) -> String {
    let is_for_analyze = !arguments.analyze_namespaces.is_empty();
    let mut by_resource: BTreeMap<(usize, bool), (&Answer, Vec<&str>)> = BTreeMap::new();
    let mut order = Vec::new();
    for answer in answers {
        let permission = (&answer.permission, &answer.namespace);
        let known = order.iter().position(|known| *known == permission);
        let place = known.unwrap_or_else(|| {
            order.push(permission);
            order.len() - 1
        });
        by_resource.entry((place, answer.allowed)).or_insert((answer, Vec::new())).1.push(answer.verb);
    }
    let rows: Vec<[String; 4]> = by_resource
        .iter()
        .map(|((_, allowed), (answer, verbs))| {
            let permission = &answer.permission;
            let resource = match permission.group {
                "" => permission.resource.to_owned(),
                group => format!("{}.{group}", permission.resource),
            };
            let allowed = if *allowed { "yes" } else { "NO" };
            let (by, place) = match &answer.namespace {
                Some(namespace) if is_for_analyze => ("analyze".to_owned(), format!(" in {namespace}")),
                _ => {
                    let components = permission.needed_by.iter().map(|component| component.as_str());
                    (components.collect::<Vec<_>>().join(", "), String::new())
                }
            };
            let what = format!("{} {resource}{place}", verbs.join(","));
            [allowed.to_owned(), what, by, permission.purpose.to_owned()]
        })
        .collect();
    let headings = ["ALLOWED", "PERMISSION", "NEEDED BY", "IN ORDER TO"].map(str::to_owned);
    let width = |column: usize| rows.iter().chain([&headings]).map(|row| row[column].len()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [allowed, what, by, purpose] in [&headings].into_iter().chain(&rows) {
        let [first, second, third] = widths;
        let _ = writeln!(text, "{allowed:<first$}  {what:<second$}  {by:<third$}  {purpose}");
    }
    if is_for_analyze {
        let refused: BTreeSet<_> =
            answers.iter().filter(|answer| !answer.allowed).filter_map(|answer| answer.namespace.as_deref()).collect();
        text.push_str(&if refused.is_empty() {
            let options: String = arguments.analyze_namespaces.iter().map(|name| format!(" -n {name}")).collect();
            format!("\nYou can run: kube-devops analyze{options}\n")
        } else {
            let namespaces = refused.into_iter().collect::<Vec<_>>().join(", ");
            format!(
                "\nWith these credentials the pods of {namespaces} cannot be evaluated.\n\
                 Ask an administrator of the cluster for a Role in each of these namespaces with the permissions marked NO, bound\n\
                 to you. Namespaces that do not exist are not told apart.\n"
            )
        });
        return text;
    }
    let crippled: BTreeSet<Component> = answers
        .iter()
        .filter(|answer| !answer.allowed)
        .flat_map(|answer| answer.permission.needed_by.iter().copied())
        .collect();
    if crippled.is_empty() {
        text.push_str("\nEverything is allowed.\n");
        return text;
    }
    let names = crippled.iter().map(|component| component.as_str()).collect::<Vec<_>>().join(", ");
    let _ = write!(
        text,
        "\nWith these credentials you cannot run: {names}.\n\
         Ask an administrator of the cluster for a ClusterRole with the permissions marked NO (for leases and secrets a\n\
         Role in the namespace {} is enough), bound to you or to the ServiceAccount that the component runs as.\n",
        arguments.namespace
    );
    text
}
