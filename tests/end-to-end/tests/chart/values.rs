//! The values of the chart, their schema and their documentation.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result, ensure};
use end_to_end::helm::template;
use end_to_end::root;
use serde_json::Value;

use crate::generated::expect_files;

/// A value: its path, its default, and its description.
struct Documented {
    path: String,
    default: Value,
    description: String,
}

/// The values of an object of the schema, depth first.
fn values(schema: &Value, path: &str, found: &mut Vec<Documented>) -> Result<()> {
    for (name, property) in schema["properties"].as_object().context("an object has properties")? {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if property.get("properties").is_some() {
            values(property, &path, found)?;
        } else {
            let description = property["description"].as_str().with_context(|| format!("{path} has no description"))?;
            let default = property.get("default").with_context(|| format!("{path} has no default"))?;
            found.push(Documented { path, default: default.clone(), description: description.to_owned() });
        }
    }
    Ok(())
}

fn documented() -> Result<Vec<Documented>> {
    let schema: Value = serde_json::from_str(&fs::read_to_string(root().join("chart/values.schema.json"))?)?;
    let mut found = Vec::new();
    values(&schema, "", &mut found)?;
    Ok(found)
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_values_file() -> Result<()> {
    let file: Value = serde_norway::from_str(&fs::read_to_string(root().join("chart/values.yaml"))?)?;
    for Documented { path, default, .. } in documented()? {
        // It belongs to the parent chart.
        if path == "enabled" {
            continue;
        }
        let value =
            file.pointer(&format!("/{}", path.replace('.', "/"))).with_context(|| format!("no value {path}"))?;
        assert_eq!(value, &default, "{path}");
    }
    Ok(())
}

#[test]
fn the_readme_of_the_chart_lists_all_values() -> Result<()> {
    let mut table = String::from("| value | default | description |\n|---|---|---|\n");
    for Documented { path, default, description } in documented()? {
        let _ = writeln!(table, "| `{path}` | `{default}` | {} |", description.replace('|', "\\|"));
    }
    let introduction = fs::read_to_string(root().join("chart/files/introduction.md"))?;
    expect_files(&BTreeMap::from([("chart/README.md".to_owned(), format!("{introduction}\n{table}"))]))
}

#[test]
fn misspelt_values_are_rejected_and_global_is_open() -> Result<()> {
    for misspelt in
        ["replicas=3", "webhook.replica=3", "image.name=a", "webhook.denySeverity=severe", "policies[0].nam=a"]
    {
        let error = template(&["--set", misspelt]).err().with_context(|| format!("{misspelt} was accepted"))?;
        ensure!(error.to_string().contains("schema"), "{misspelt}: {error}");
    }
    for (impossible, reason) in [
        ("webhook.deadlineMilliseconds=9000", "must be less than webhook.timeoutSeconds"),
        ("pdb.minAvailable=2", "nodes cannot be drained"),
        ("pdb.minAvailable=100%", "nodes cannot be drained"),
        // Kubernetes rounds up.
        ("pdb.minAvailable=51%", "nodes cannot be drained"),
        ("webhook.replicaCount=3,replicaCount=1,pdb.minAvailable=67%", "nodes cannot be drained"),
        ("pdb.minAvailable=half", "schema"),
        ("image.repository=192.168.1.68:5000/a", "set image.registry=192.168.1.68:5000 and image.repository=a"),
        (
            "image.repository=registry.example.com/a/b",
            "set image.registry=registry.example.com and image.repository=a/b",
        ),
        ("image.repository=localhost/a", "set image.registry=localhost and image.repository=a"),
        ("global.imageRegistry=mirror.example.com,image.repository=a:5000/b", "set image.registry=a:5000"),
        ("systemNamespaces[0]=a b", "schema"),
        ("modules[0].name=a,modules[0].spec.sorce=b", "schema"),
    ] {
        let error = template(&["--set", impossible]).err().with_context(|| format!("{impossible} was accepted"))?;
        ensure!(error.to_string().contains(reason), "{impossible}: {error}");
    }
    for possible in [
        "pdb.minAvailable=50%",
        "replicaCount=3,pdb.minAvailable=66%",
        "replicaCount=1,pdb.minAvailable=100%",
        "image.registry=,image.repository=192.168.1.68:5000/a",
        "image.registry=mirror.example.com,image.repository=ghcr.io/a/b",
        "global.imageRegistry=mirror.example.com,image.repository=ghcr.io/a/b",
    ] {
        template(&["--set", possible])?;
    }
    template(&["--set", "global.cattle.systemDefaultRegistry=,enabled=true"])?;
    Ok(())
}
