//! Helm and the chart of the platform.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::{Folder, root};

/// Returns a command that runs Helm with the files of the workspace. `home` holds its own files.
///
/// # Errors
///
/// If Helm cannot be built.
pub fn helm(home: &Path) -> Result<Command> {
    let mut command = Command::new(test_cluster::helm()?);
    command.current_dir(root());
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, home);
    }
    Ok(command)
}

/// Runs a command and returns its standard output.
///
/// # Errors
///
/// If it fails, with its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("failed to start {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Renders the chart as the release `kube-devops` in the namespace `kube-devops`, with additional arguments.
///
/// # Errors
///
/// If Helm fails.
pub fn template(arguments: &[&str]) -> Result<String> {
    let home = Folder::new();
    let mut command = helm(home.path())?;
    command.args(["template", "kube-devops", "chart", "--namespace", "kube-devops"]).args(arguments);
    output(&mut command)
}

/// Parses YAML documents, without the empty ones.
///
/// # Errors
///
/// If one is malformed.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_norway::Deserializer::from_str(text).map(Value::deserialize);
    let documents: Vec<Value> = documents.collect::<Result<_, _>>()?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Returns the object of a kind and name.
///
/// # Errors
///
/// If there is none.
pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.with_context(|| format!("there is no {kind} {name}"))
}
