//! `policy export`: the policies of a cluster as manifests.

use anyhow::Result;
use kube_devops_cluster::connection::Connection;
use kube_devops_cluster::crd::GROUP;
use kube_devops_cluster::gitops::{self, StoredKind};
use serde_json::{Value, json};

use super::super::document::document;
use super::{Outcome, print};
use crate::arguments::{ClusterArguments, ExportArguments, ExportFormat};
use crate::connection::with_cluster;
use crate::output;
use crate::terminal::print_note;

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &ExportArguments) -> Result<Outcome> {
    with_cluster(cluster, async |connection| {
        let namespaces = match (arguments.all_namespaces, arguments.namespaces.as_slice()) {
            (true, _) => Vec::new(),
            (false, []) => vec![connection.client.default_namespace().to_owned()],
            (false, names) => names.to_vec(),
        };
        let mut objects = gitops::list(&connection, StoredKind::Policy, &namespaces).await?;
        if arguments.modules {
            objects.extend(gitops::list(&connection, StoredKind::Module, &[]).await?);
        }
        if arguments.audit_results {
            objects.extend(gitops::list(&connection, StoredKind::AuditResult, &namespaces).await?);
        }
        if objects.is_empty() {
            match namespaces.as_slice() {
                [] => print_note("no policies found"),
                names => print_note(&format!("no policies found in {}", names.join(", "))),
            }
        }
        print(&text(&objects, &origin(&connection), arguments.output, namespaces.len() == 1)?)
    })
}

/// Describes the cluster, for comments and headings.
pub fn origin(connection: &Connection) -> String {
    let server = output::name(&connection.server);
    match &connection.context {
        Some(context) => format!("{server} (context {})", output::name(context)),
        None => server,
    }
}

fn text(objects: &[Value], origin: &str, format: ExportFormat, is_one_namespace: bool) -> Result<String> {
    let field = |object: &Value, field: &str| output::name(object["metadata"][field].as_str().unwrap_or_default());
    let kind = |object: &Value| object["kind"].as_str().unwrap_or_default().to_owned();
    Ok(match format {
        ExportFormat::Yaml => {
            let documents: Vec<String> = objects
                .iter()
                .map(|object| {
                    let namespace = object["metadata"]["namespace"].as_str();
                    let namespace = namespace.map(|name| format!("{}/", output::name(name))).unwrap_or_default();
                    let name = field(object, "name");
                    let text = document(&gitops::exported(object));
                    format!("# {} {namespace}{name} from {origin}\n{text}", kind(object))
                })
                .collect();
            documents.join("---\n")
        }
        ExportFormat::Json => {
            let items: Vec<Value> = objects.iter().map(gitops::exported).collect();
            let mut text = Vec::new();
            output::write_json(&json!({ "apiVersion": "v1", "kind": "List", "items": items }), &mut text)?;
            String::from_utf8(text)?
        }
        ExportFormat::Name => {
            let line = |object: &Value| {
                let resource = format!("{}.{GROUP}", kind(object).to_lowercase());
                let [name, namespace] =
                    ["name", "namespace"].map(|field| object["metadata"][field].as_str().unwrap_or_default());
                output::arguments_of_kubectl(&resource, name, if is_one_namespace { "" } else { namespace }) + "\n"
            };
            objects.iter().map(line).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_states_where_it_comes_from() {
        let policy = |name: &str| {
            json!({
                "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
                "metadata": { "name": name, "namespace": "shop", "uid": "1" }, "spec": { "forbidLatestTag": true },
            })
        };
        let policies = [policy("a"), policy("b")];
        let yaml = text(&policies, "https://one (context dev)", ExportFormat::Yaml, true).unwrap_or_default();
        let expected = "\
# DevOpsPolicy shop/a from https://one (context dev)
apiVersion: devops.stochastic.io/v1
kind: DevOpsPolicy
metadata:
  name: a
  namespace: shop
spec:
  forbidLatestTag: true
---
# DevOpsPolicy shop/b from https://one (context dev)
";
        assert!(yaml.starts_with(expected), "{yaml}");
        assert_eq!(text(&[], "", ExportFormat::Yaml, true).unwrap_or_default(), "");
    }
    #[test]
    fn names_are_arguments_of_kubectl() {
        let object = |kind: &str, metadata: Value| json!({ "kind": kind, "metadata": metadata });
        let objects = [
            object("DevOpsPolicy", json!({ "name": "a", "namespace": "shop" })),
            object("DevOpsPolicy", json!({ "name": "a", "namespace": "web" })),
            object("PolicyModule", json!({ "name": "m" })),
        ];
        let names = |is_one: bool| text(&objects, "", ExportFormat::Name, is_one).unwrap_or_default();
        let policy = "devopspolicy.devops.stochastic.io/a";
        let module = "policymodule.devops.stochastic.io/m\n";
        assert_eq!(names(true), format!("{policy}\n{policy}\n{module}"));
        assert_eq!(names(false), format!("{policy} -n shop\n{policy} -n web\n{module}"));
    }
}
