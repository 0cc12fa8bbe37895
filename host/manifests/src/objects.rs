//! Complete objects of selected kinds, for commands that do not evaluate but apply them.

use std::path::PathBuf;

use kube_devops_core::report::ReportError;

use crate::files::read_paths;
use crate::found::{ManifestObject, Parts, SkippedObject};
use crate::options::ReadOptions;

/// The objects of manifests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    /// The objects of the wanted kinds, in the order of the paths, documents and items.
    pub objects: Vec<ManifestObject>,
    /// The objects of other kinds.
    pub skipped: Vec<SkippedObject>,
    /// The errors of paths, documents and items that could not be read.
    pub errors: Vec<ReportError>,
    /// The number of files that were not read because a kustomization uses them as patches.
    pub patches: usize,
    /// The number of excluded files.
    pub excluded: usize,
    /// The number of hidden files that kubectl reads.
    pub hidden: usize,
}

/// Reads the objects of some kinds, each as group and kind, from the same paths, in the same way and with the same errors
/// as [`read`](crate::read).
pub fn read_objects(paths: &[PathBuf], kinds: &[(&str, &str)], options: &ReadOptions) -> Objects {
    let (inputs, files) = read_paths(paths, options, Some(kinds));
    let mut parts = Parts::default();
    files.into_iter().for_each(|read| parts.append(read.parts));
    let found = parts.sum();
    Objects {
        objects: found.objects,
        skipped: found.skipped,
        errors: found.errors,
        patches: inputs.patches,
        excluded: inputs.excluded,
        hidden: inputs.hidden,
    }
}
