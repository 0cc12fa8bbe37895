//! The files that a kustomization names as patches: parts of objects, which mean nothing by themselves.
//!
//! <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/>

use std::fs;
use std::path::{Path, PathBuf};

use crate::origin::joined;
use crate::tree::Item;
use crate::{Limits, yaml};

/// The names of the file.
pub(crate) const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The largest kustomization that is looked into, in bytes.
const LARGEST: u64 = 1 << 20;

/// The patches that a kustomization names, with the paths that a walk through its folder gives them.
pub(crate) fn patches(file: &Path) -> Vec<PathBuf> {
    let is_small = fs::metadata(file).is_ok_and(|metadata| metadata.len() <= LARGEST);
    let text = if is_small { fs::read_to_string(file).unwrap_or_default() } else { String::new() };
    // What is wrong with the file is found where it is read as a manifest.
    let Ok(tree) = yaml::parse(&text, 1, &Limits::default()) else { return Vec::new() };
    let folder = file.parent().unwrap_or(Path::new(""));
    let Some(root) = tree.root() else { return Vec::new() };
    let list = |key| root.get(key).into_iter().flat_map(Item::items);
    let with_path = list("patches").chain(list("patchesJson6902")).filter_map(|patch| patch.get("path")?.text());
    let named = list("patchesStrategicMerge").filter_map(Item::text).filter(|patch| !patch.contains('\n'));
    with_path.chain(named).map(|path| joined(folder, path)).collect()
}
