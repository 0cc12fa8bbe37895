//! The source file of a rendered document, as recorded in the document by Helm and kustomize.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;

use crate::options::Limits;
use crate::split::content;
use crate::tree::Item;
use crate::{charts, yaml};

/// The annotation of kustomize, for a kustomization with `buildMetadata: [originAnnotations]`.
/// <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/buildmetadata/>
const ANNOTATION: &str = "config.kubernetes.io/origin: |";

/// Returns the source file of a document, or `None` if it is not recorded. `folder` is the folder of the chart or
/// kustomization, if known.
pub(crate) fn of(document: &str, folder: Option<&Path>) -> Option<Arc<str>> {
    if let Some(source) = helm_source(document) {
        // Helm records the name of the chart instead of its folder.
        return Some(match (folder, source.split_once('/')) {
            (Some(folder), Some((_, path))) => in_chart(folder, path).to_string_lossy().into(),
            _ => source.into(),
        });
    }
    let path = kustomize_path(document)?;
    Some(folder.map_or_else(|| path.into(), |folder| joined(folder, path).to_string_lossy().into()))
}

/// Returns the path of a template of a chart, or of a chart within it, for which Helm records the alias instead of the folder.
fn in_chart(folder: &Path, mut template: &str) -> PathBuf {
    let mut folder = folder.to_owned();
    while let Some((name, within)) = template.strip_prefix("charts/").and_then(|within| within.split_once('/')) {
        let chart = folder.join("charts").join(name);
        let original = if chart.exists() { None } else { original(&folder, name) };
        (folder, template) = (original.unwrap_or(chart), within);
    }
    folder.join(template)
}

/// Returns the folder of a dependency of a chart that has an alias. `None` if there is none.
fn original(chart: &Path, alias: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(chart.join(charts::NAME)).ok()?;
    let tree = yaml::parse(&text, 1, &Limits::default()).ok()?;
    let mut dependencies = tree.root()?.get("dependencies").into_iter().flat_map(Item::items);
    let dependency = dependencies.find(|dependency| dependency.text_of("alias") == alias)?;
    let original = chart.join("charts").join(dependency.text_of("name"));
    original.is_dir().then_some(original)
}

/// Returns the template that `helm template` records in a comment before the content.
fn helm_source(document: &str) -> Option<&str> {
    let comments = &document[..document.len() - content(document).len()];
    comments.lines().find_map(|line| line.strip_prefix("# Source: ")).map(str::trim).filter(|source| !source.is_empty())
}

/// Returns the path relative to the kustomization, or `None` for a file in a remote repository.
fn kustomize_path(document: &str) -> Option<&str> {
    let start = memmem::find(document.as_bytes(), ANNOTATION.as_bytes())?;
    let line_start = document[..start].rfind('\n').map_or(0, |end| end + 1);
    let margin = &document[line_start..start];
    if margin.is_empty() || !margin.bytes().all(|byte| byte == b' ') {
        return None;
    }
    let lines = document[start..].lines().skip(1);
    let mut entries = lines
        .map_while(|line| line.strip_prefix(margin)?.strip_prefix("  "))
        .filter_map(|line| line.split_once(": "))
        .take(8);
    let mut path = None;
    let is_remote = entries.any(|(key, value)| {
        if key == "path" {
            path = Some(value.trim());
        }
        key == "repo"
    });
    path.filter(|path| !is_remote && !path.is_empty())
}

/// Joins a relative path to a folder, without `.` and `..` if they can be resolved.
pub(crate) fn joined(folder: &Path, path: &str) -> PathBuf {
    let mut joined = folder.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if joined.file_name().is_some() => {
                joined.pop();
            }
            part => joined.push(part),
        }
    }
    joined
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rendered_documents_have_their_source_files() {
        let helm = "---\n# Source: shop/templates/a.yaml\nkind: Pod\n";
        let kustomize = |entries: &str| {
            format!("kind: Pod\nmetadata:\n  annotations:\n    config.kubernetes.io/origin: |\n{entries}  name: a\n")
        };
        let local = kustomize("      path: ../base/app.yaml\n");
        for (document, folder, expected) in [
            (helm, None, Some("shop/templates/a.yaml")),
            (helm, Some("./charts/web"), Some("./charts/web/templates/a.yaml")),
            ("kind: Pod\n# Source: shop/templates/a.yaml\n", None, None),
            (&local, None, Some("../base/app.yaml")),
            (&local, Some("overlays/production"), Some("overlays/base/app.yaml")),
            (&kustomize("      path: a.yaml\n      repo: https://example.com/x\n"), Some("x"), None),
            (&kustomize("      configuredIn: a.yaml\n"), None, None),
            (&kustomize(""), None, None),
            ("a: 'config.kubernetes.io/origin: |'\n", None, None),
            ("config.kubernetes.io/origin: |\n  path: a.yaml\n", None, None),
        ] {
            assert_eq!(of(document, folder.map(Path::new)).as_deref(), expected, "{document}");
        }
    }

    #[test]
    fn the_templates_of_a_chart_with_an_alias_are_in_the_folder_of_the_chart() {
        let folder = tempfile::TempDir::new().unwrap();
        let folder = folder.path();
        let chart = |path: &str, dependency: &str| {
            fs::create_dir_all(folder.join(path).join("charts")).unwrap();
            fs::write(folder.join(path).join("Chart.yaml"), format!("dependencies: [{dependency}]\n")).unwrap();
        };
        chart("", "{name: redis, alias: cache}, {name: packaged, alias: other}");
        chart("charts/redis", "{name: metrics, alias: exporter}");
        chart("charts/redis/charts/metrics", "");
        for (recorded, expected) in [
            ("templates/a.yaml", "templates/a.yaml"),
            ("charts/redis/templates/a.yaml", "charts/redis/templates/a.yaml"),
            ("charts/cache/templates/a.yaml", "charts/redis/templates/a.yaml"),
            ("charts/cache/charts/exporter/templates/a.yaml", "charts/redis/charts/metrics/templates/a.yaml"),
            // The chart is in no folder.
            ("charts/other/templates/a.yaml", "charts/other/templates/a.yaml"),
            ("charts/unknown/templates/a.yaml", "charts/unknown/templates/a.yaml"),
        ] {
            let found = of(&format!("# Source: shop/{recorded}\nkind: Pod\n"), Some(folder)).unwrap();
            assert_eq!(Path::new(&*found), folder.join(expected), "{recorded}");
        }
    }
}
