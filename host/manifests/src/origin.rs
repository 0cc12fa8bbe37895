//! The source file of a rendered document, as recorded in the document by Helm and kustomize.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;

use crate::split::content;

/// The annotation of kustomize, for a kustomization with `buildMetadata: [originAnnotations]`.
/// <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/buildmetadata/>
const ANNOTATION: &str = "config.kubernetes.io/origin: |";

/// Returns the source file of a document, or `None` if it is not recorded. `folder` is the folder of the chart or
/// kustomization, if known.
pub(crate) fn of(document: &str, folder: Option<&Path>) -> Option<Arc<str>> {
    if let Some(source) = helm_source(document) {
        // Helm records the name of the chart instead of its folder.
        return Some(match (folder, source.split_once('/')) {
            (Some(folder), Some((_, path))) => folder.join(path).to_string_lossy().into(),
            _ => source.into(),
        });
    }
    let path = kustomize_path(document)?;
    Some(folder.map_or_else(|| path.into(), |folder| joined(folder, path).to_string_lossy().into()))
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
}
