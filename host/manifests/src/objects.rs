//! Complete objects of selected kinds, for commands that do not evaluate but apply them.

use std::path::PathBuf;

use kube_devops_core::Source;
use kube_devops_core::report::ReportError;
use kube_devops_core::workload::group;
use serde_json::Value;

use crate::found::Found;
use crate::pods::title;
use crate::problem::Problem;
use crate::tree::Item;
use crate::walk::{Walk, text_of_metadata};
use crate::{ReadOptions, read_paths, values};

/// The groups and kinds of the wanted objects; `None` if subjects are wanted.
pub(crate) type Wanted<'a> = Option<&'a [(&'a str, &'a str)]>;

/// An object of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestObject {
    /// The object. `apiVersion` and kind are those of its list if it has none.
    pub value: Value,
    /// The file, the document and the line of the object.
    pub source: Source,
}

/// An object of a kind that is not wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedObject {
    /// The `apiVersion`; empty if the document has none.
    pub api_version: String,
    /// The kind; empty if the document has none, such as the values of a chart.
    pub kind: String,
    /// The namespace; empty if the object has none.
    pub namespace: String,
    /// The name; empty if the object has none.
    pub name: String,
    /// The file, the document and the line of the object.
    pub source: Source,
}

/// The objects of manifests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    /// The objects of the wanted kinds, in the order of the paths, documents and items.
    pub objects: Vec<ManifestObject>,
    /// The objects of other kinds.
    pub skipped: Vec<SkippedObject>,
    /// The errors of paths, documents and items that could not be read.
    pub errors: Vec<ReportError>,
    /// The number of files that were not read: patches of a kustomization, excluded files, and hidden files that kubectl
    /// reads.
    pub files_not_read: usize,
}

/// Reads the objects of some kinds, each as group and kind, from the same paths, in the same way and with the same errors
/// as [`read`](crate::read).
pub fn read_objects(paths: &[PathBuf], kinds: &[(&str, &str)], options: &ReadOptions) -> Objects {
    let (inputs, files) = read_paths(paths, options, Some(kinds));
    let mut found = Found::default();
    files.into_iter().for_each(|read| found.add(read.found));
    Objects {
        objects: found.objects,
        skipped: found.skipped,
        errors: found.errors,
        files_not_read: inputs.patches + inputs.excluded + inputs.hidden,
    }
}

impl Walk<'_> {
    /// Adds an object of a wanted kind, or counts it as skipped.
    pub(crate) fn collect(
        &mut self,
        item: Item<'_>,
        api_version: &str,
        kind: &str,
        line: usize,
        kinds: &[(&str, &str)],
    ) -> Result<(), Problem> {
        if !kinds.contains(&(group(api_version), kind)) {
            self.skip(item, api_version, kind, line);
            return Ok(());
        }
        let mut value: Value = values::read(item).map_err(|error| {
            let title = title(kind, text_of_metadata(item, "namespace"), text_of_metadata(item, "name"));
            Problem::at(error.line(), format!("invalid {title}: {}", error.message("")))
        })?;
        if let Some(object) = value.as_object_mut() {
            object.insert("apiVersion".to_owned(), api_version.into());
            object.insert("kind".to_owned(), kind.into());
        }
        self.found.objects.push(ManifestObject { value, source: self.reader.source(line) });
        Ok(())
    }

    /// Adds an object that is not wanted.
    pub(crate) fn skip(&mut self, item: Item<'_>, api_version: &str, kind: &str, line: usize) {
        self.found.skipped.push(SkippedObject {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: text_of_metadata(item, "namespace").to_owned(),
            name: text_of_metadata(item, "name").to_owned(),
            source: self.reader.source(line),
        });
    }
}
