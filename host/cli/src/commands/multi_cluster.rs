//! `multi-cluster`: the contexts of a kubeconfig, and the evaluation of their clusters.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::StreamExt;
use futures::stream;
use globset::GlobBuilder;
use kube_devops_cluster::connection::{Connection, ContextInfo, Contexts};
use kube_devops_cluster::pods::{self, ListedPods, PodQuery};
use kube_devops_core::report::Extent;
use kube_devops_core::text::number;
use kube_devops_core::{ClusterOutcome, Report};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::evaluate::{
    Evaluator, exclude_system_namespaces, outcome, report_unverified, warn_that_nothing_was_evaluated,
};
use super::{Outcome, print};
use crate::arguments::{
    ClusterArguments, ContextFormat, ListContextsArguments, MultiClusterArguments, MultiClusterCommand,
};
use crate::output;
use crate::progress::Progress;
use crate::terminal::{print_message, print_note};

/// The time that a thread has to notice its timeout. A plugin for credentials blocks its thread.
const GRACE: Duration = Duration::from_secs(1);

/// Runs the command.
pub fn run(cluster: &ClusterArguments, command: &MultiClusterCommand, program: &str) -> Result<Outcome> {
    if cluster.context.is_some() {
        match command {
            MultiClusterCommand::ListContexts(_) => bail!("--context has no effect: all contexts are listed"),
            MultiClusterCommand::Analyze(_) => bail!("use --contexts instead of --context"),
        }
    }
    let contexts = Contexts::read(cluster.kubeconfig.as_deref())?;
    match command {
        MultiClusterCommand::ListContexts(arguments) => list_contexts(&contexts, arguments),
        MultiClusterCommand::Analyze(arguments) => analyze(cluster, contexts, arguments, program),
    }
}

fn list_contexts(contexts: &Contexts, arguments: &ListContextsArguments) -> Result<Outcome> {
    let contexts = &contexts.contexts;
    if contexts.is_empty() && arguments.output == ContextFormat::Text {
        print_note("no contexts found");
    }
    print(&match arguments.output {
        ContextFormat::Text => columns(contexts),
        ContextFormat::Json => {
            let mut text = Vec::new();
            output::write_json(contexts, &mut text)?;
            String::from_utf8(text)?
        }
        ContextFormat::Name => contexts.iter().map(|context| format!("{}\n", output::name(&context.name))).collect(),
    })
}

/// Formats the contexts as columns, in the style of `kubectl config get-contexts`.
fn columns(contexts: &[ContextInfo]) -> String {
    let row = |context: &ContextInfo| {
        let ContextInfo { name, current, cluster, user, namespace, .. } = context;
        let mark = if *current { "*" } else { "" };
        [mark.to_owned(), output::name(name), output::name(cluster), output::name(user), output::name(namespace)]
    };
    let headings = ["CURRENT", "NAME", "CLUSTER", "USER", "NAMESPACE"].map(str::to_owned);
    let rows: Vec<[String; 5]> = if contexts.is_empty() { Vec::new() } else { vec![headings] };
    let rows: Vec<[String; 5]> = rows.into_iter().chain(contexts.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2), width(3)];
    rows.iter().fold(String::new(), |mut text, [current, name, cluster, user, namespace]| {
        let [first, second, third, fourth] = widths;
        let line = format!("{current:<first$}  {name:<second$}  {cluster:<third$}  {user:<fourth$}  {namespace}");
        let _ = writeln!(text, "{}", line.trim_end());
        text
    })
}

/// Returns the names of the contexts that match one of the patterns, or of all contexts without patterns.
fn select(contexts: &[ContextInfo], patterns: &[String]) -> Result<Vec<String>> {
    let names = || contexts.iter().map(|context| context.name.as_str());
    let is_given = !patterns.is_empty();
    let patterns: Vec<&str> =
        patterns.iter().map(|pattern| pattern.trim()).filter(|pattern| !pattern.is_empty()).collect();
    if contexts.is_empty() {
        bail!("the kubeconfig contains no contexts");
    }
    if patterns.is_empty() && is_given {
        bail!("--contexts is empty; name at least one context, or omit it to select all of them");
    }
    if patterns.is_empty() {
        return Ok(names().map(str::to_owned).collect());
    }
    let mut selected = vec![false; contexts.len()];
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).build();
        let glob = glob.map_err(|error| anyhow::anyhow!("invalid pattern of --contexts: {error}"))?.compile_matcher();
        // A name can contain characters that have a meaning in patterns.
        let matches = |name: &str| name == pattern || glob.is_match(name);
        let mut found = false;
        for (is_selected, name) in selected.iter_mut().zip(names()) {
            found |= matches(name);
            *is_selected |= matches(name);
        }
        if !found {
            bail!("no context matches {pattern:?}; the contexts are {}", names().collect::<Vec<_>>().join(", "));
        }
    }
    Ok(names().zip(selected).filter(|(_, is_selected)| *is_selected).map(|(name, _)| name.to_owned()).collect())
}

/// Returns the groups of selected contexts with the same API server, which may be the same cluster.
fn same_servers(contexts: &[ContextInfo], selected: &[String]) -> Vec<String> {
    let mut by_server = std::collections::BTreeMap::<&str, Vec<&str>>::new();
    for context in contexts.iter().filter(|context| selected.contains(&context.name) && !context.server.is_empty()) {
        by_server.entry(&context.server).or_default().push(&context.name);
    }
    by_server.into_values().filter(|names| names.len() > 1).map(|names| names.join(", ")).collect()
}

fn analyze(
    cluster: &ClusterArguments,
    contexts: Contexts,
    arguments: &MultiClusterArguments,
    program: &str,
) -> Result<Outcome> {
    let evaluator = Evaluator::new(cluster, &arguments.evaluation, &[], program)?;
    let selected = select(&contexts.contexts, &arguments.contexts)?;
    for names in same_servers(&contexts.contexts, &selected) {
        print_message(
            "warning",
            &format!(
                "the contexts {names} have the same server; if it is the same cluster, select one with --contexts"
            ),
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let clusters = runtime.block_on(evaluate(Arc::new(contexts), &selected, arguments, &evaluator));
    // Threads that are still blocked end with the process.
    runtime.shutdown_background();
    let report = Report::of_clusters(clusters);
    if report.subjects == 0 && report.errors.is_empty() {
        warn_that_nothing_was_evaluated(&report.extent, &target(&selected), ["pods", "pods"]);
    }
    evaluator.warn_if_inapplicable(&report, &target(&selected));
    evaluator.write(&report, &target(&selected), arguments.per_cluster)?;
    let unread: Vec<&str> =
        report.clusters.iter().filter(|cluster| !cluster.evaluated).map(|cluster| &*cluster.name).collect();
    if !unread.is_empty() {
        let total = number(selected.len(), "cluster");
        print_message("not evaluated", &format!("{} of {total}: {}", unread.len(), unread.join(", ")));
    }
    let outcome = outcome(&report, &arguments.evaluation);
    // The process exits next; freeing a hundred thousand strings one by one would only take time.
    std::mem::forget(report);
    Ok(outcome)
}

/// Describes the clusters, for the heading of the report.
fn target(selected: &[String]) -> String {
    const MAX_NAMES: usize = 4;
    if selected.len() <= MAX_NAMES { selected.join(", ") } else { format!("{} clusters", selected.len()) }
}

/// Reads the clusters in parallel, and evaluates each as soon as it was read.
async fn evaluate(
    contexts: Arc<Contexts>,
    selected: &[String],
    arguments: &MultiClusterArguments,
    evaluator: &Evaluator<'_>,
) -> Vec<ClusterOutcome> {
    let query = PodQuery {
        namespaces: arguments.selection.namespaces.clone(),
        selector: arguments.selection.selector.clone(),
        needs: evaluator.needs(),
    };
    let limit = Duration::from_secs(arguments.timeout.into());
    let progress = Progress::of("reading clusters", Some(selected.len()));
    let reading = stream::iter(selected).map(|name| {
        let (contexts, query) = (contexts.clone(), query.clone());
        async move { (name, read(contexts, name.clone(), query, limit).await) }
    });
    let mut reading = reading.buffer_unordered(arguments.parallel.into());
    let mut clusters = Vec::with_capacity(selected.len());
    while let Some((name, listed)) = reading.next().await {
        clusters.push(match listed {
            Ok(ListedPods { mut subjects, finished, unverified }) => {
                let errors = report_unverified(&unverified, Some(name), &arguments.evaluation);
                let excluded = exclude_system_namespaces(&mut subjects, &arguments.evaluation);
                let outcomes = evaluator.evaluate(&subjects);
                let extent = Extent { finished, excluded, ..Extent::default() };
                ClusterOutcome::new(name, &subjects, outcomes, extent, errors)
            }
            Err(reason) => ClusterOutcome::failed(name, reason, evaluator.evaluate(&[])),
        });
        progress.set(clusters.len());
    }
    clusters
}

/// Lists the pods of a cluster within a time.
async fn read(contexts: Arc<Contexts>, name: String, query: PodQuery, limit: Duration) -> Result<ListedPods, String> {
    let late = || format!("its pods were not listed within {} s; set --timeout to a longer time", limit.as_secs());
    // A plugin for credentials blocks the thread that calls it, also while its cluster is being listed.
    let thread = spawn_blocking(move || {
        Handle::current().block_on(timeout(limit, async {
            let connection = Connection::to(&contexts, &name).await?;
            pods::subjects(&connection, &query, |_| {}).await
        }))
    });
    match timeout(limit + GRACE, thread).await {
        Ok(Ok(Ok(listed))) => {
            // The report shows a reason and its hint on one line.
            listed.map_err(|error| error.to_string().replace('\n', ". "))
        }
        Ok(Ok(Err(_))) | Err(_) => Err(late()),
        Ok(Err(error)) => Err(error.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn contexts(names: &[&str]) -> Vec<ContextInfo> {
        let context = |name: &&str| ContextInfo {
            name: (*name).to_owned(),
            current: *name == "dev",
            cluster: "one".to_owned(),
            server: format!("https://{}", name.chars().next().unwrap_or_default()),
            user: "me".to_owned(),
            namespace: String::new(),
        };
        names.iter().map(context).collect()
    }

    fn selected(patterns: &[&str]) -> Result<Vec<String>, String> {
        let contexts = contexts(&["arn:aws:eks:eu:1:cluster/a", "dev", "prod-eu", "prod-us", "x[1]"]);
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        select(&contexts, &patterns).map_err(|error| error.to_string())
    }

    #[test]
    fn contexts_are_selected_by_name_and_by_pattern() {
        let names = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(selected(&["prod-*"]), names(&["prod-eu", "prod-us"]));
        assert_eq!(selected(&["prod-us", "dev", "prod-u?"]), names(&["dev", "prod-us"]));
        assert_eq!(selected(&["arn*a", ""]), names(&["arn:aws:eks:eu:1:cluster/a"]));
        assert_eq!(selected(&["x[1]"]), names(&["x[1]"]));
        assert_eq!(selected(&[]).map(|all| all.len()), Ok(5));
        assert!(
            selected(&[" "]).unwrap_err().starts_with("--contexts is empty"),
            "an unset variable must not select all"
        );
        let error = selected(&["dev", "stage"]).unwrap_err();
        assert!(error.starts_with("no context matches \"stage\"; the contexts are arn:"), "{error}");
        assert!(selected(&["["]).unwrap_err().starts_with("invalid pattern of --contexts: "));
        assert!(select(&[], &[]).is_err());
    }

    #[test]
    fn contexts_of_the_same_server_are_found() {
        let contexts = contexts(&["a", "b", "abc"]);
        let all: Vec<String> = contexts.iter().map(|context| context.name.clone()).collect();
        assert_eq!(same_servers(&contexts, &all), ["a, abc"]);
        assert_eq!(same_servers(&contexts, &all[..2]), Vec::<String>::new());
    }

    #[test]
    fn the_current_context_is_marked() {
        let text = columns(&contexts(&["dev", "production"]));
        let expected = "\
CURRENT  NAME        CLUSTER  USER  NAMESPACE
*        dev         one      me
         production  one      me
";
        assert_eq!(text, expected);
        assert_eq!(columns(&[]), "");
    }
}
