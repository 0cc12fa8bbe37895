//! Manifests rendered by programs that the user has installed: kustomizations by kubectl or kustomize, charts by Helm.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use kube_devops_manifests::Rendered;

/// The programs that render a kustomization, with their arguments before the folder.
const KUSTOMIZE: [(&str, &[&str]); 2] = [("kubectl", &["kustomize", "--"]), ("kustomize", &["build", "--"])];

/// Renders the manifests of a kustomization.
pub fn kustomization(folder: &Path) -> Result<Rendered> {
    if !folder.is_dir() {
        bail!("{} is not a folder; --kustomize requires the folder of a kustomization", folder.display());
    }
    for (program, arguments) in KUSTOMIZE {
        let mut command = Command::new(program);
        command.args(arguments).arg(folder);
        if let Some(text) = output(command, folder)? {
            return Ok(Rendered { name: folder.to_string_lossy().into(), folder: Some(folder.to_owned()), text });
        }
    }
    bail!("neither kubectl nor kustomize was found; install one of them, or pipe the rendered manifests to `-f -`")
}

/// The values of a chart.
#[derive(Debug, Clone, Copy)]
pub struct ChartValues<'a> {
    /// Values files.
    pub files: &'a [PathBuf],
    /// Single values in the form `key=value`.
    pub set: &'a [String],
    /// The namespace of the release.
    pub namespace: Option<&'a str>,
}

/// Renders the manifests of a chart, which is a folder or a packaged chart.
pub fn chart(chart: &Path, values: ChartValues<'_>) -> Result<Rendered> {
    // Helm interprets a path that does not exist as the name of a chart in a repository.
    if !chart.exists() {
        bail!("{} was not found; --helm-chart requires the folder of a chart, or a packaged chart", chart.display());
    }
    let mut command = Command::new("helm");
    // `helm install` also applies the objects in `crds/`, which can be of any kind.
    command.args(["template", "--include-crds"]);
    command.args(chart_arguments(values)).args(["--", "release-name"]).arg(chart);
    match output(command, chart)? {
        Some(text) => {
            let folder = chart.is_dir().then(|| chart.to_owned());
            Ok(Rendered { name: chart.to_string_lossy().into(), folder, text })
        }
        None => bail!("helm was not found; install it, or pipe the rendered manifests to `-f -`"),
    }
}

fn chart_arguments(values: ChartValues<'_>) -> Vec<OsString> {
    let mut arguments = Vec::new();
    for file in values.files {
        arguments.extend(["--values".into(), file.into()]);
    }
    for set in values.set {
        arguments.extend(["--set".into(), set.into()]);
    }
    if let Some(namespace) = values.namespace {
        arguments.extend(["--namespace".into(), namespace.into()]);
    }
    arguments
}

/// Returns the output of a program; `None` if it is not installed.
fn output(mut command: Command, rendered: &Path) -> Result<Option<String>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        output => output.with_context(|| format!("failed to run {program}"))?,
    };
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let subcommand = command.get_args().next().unwrap_or_default().to_string_lossy();
        let hint = hint(&message, rendered);
        bail!("failed to render {}: {program} {subcommand}: {}{hint}", rendered.display(), message.trim());
    }
    let text = String::from_utf8(output.stdout).with_context(|| format!("the output of {program} is not UTF-8"))?;
    Ok(Some(text))
}

/// Returns how to render what a program has refused to render; empty if there is no other way. Charts in kustomizations run
/// Helm, which a repository must not cause unless the user asks for it.
fn hint(message: &str, rendered: &Path) -> String {
    if message.contains("--enable-helm") {
        let folder = rendered.display();
        return format!("; pipe its output: `kustomize build --enable-helm {folder} | kube-devops analyze -f -`");
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kustomization_with_charts_has_a_hint() {
        let folder = Path::new("overlays/production");
        let message = "error: trouble configuring builtin HelmChartInflationGenerator with config: `x`: must specify --enable-helm";
        assert!(hint(message, folder).contains("`kustomize build --enable-helm overlays/production | "));
        assert_eq!(hint("error: no such file", folder), "");
    }
}
