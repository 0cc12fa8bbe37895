//! The files that a kustomization uses as patches: they contain incomplete objects, which cannot be evaluated.
//!
//! <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/>

use std::fs;
use std::path::{Path, PathBuf};

use crate::origin::joined;
use crate::tree::Item;
use crate::{Limits, yaml};

/// The names of kustomization files.
pub(crate) const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The maximum size of a kustomization whose patches are skipped, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// Returns the patches of a kustomization, with the same paths as in a walk through its folder.
pub(crate) fn patches(file: &Path) -> Vec<PathBuf> {
    let is_small = fs::metadata(file).is_ok_and(|metadata| metadata.len() <= MAX_SIZE);
    let text = if is_small { fs::read_to_string(file).unwrap_or_default() } else { String::new() };
    // Errors are reported when the file is read as a manifest.
    let Ok(tree) = yaml::parse(&text, 1, &Limits::default()) else { return Vec::new() };
    let folder = file.parent().unwrap_or(Path::new(""));
    let Some(root) = tree.root() else { return Vec::new() };
    let list = |key| root.get(key).into_iter().flat_map(Item::items);
    let with_path = list("patches").chain(list("patchesJson6902")).filter_map(|patch| patch.get("path")?.text());
    let named = list("patchesStrategicMerge").filter_map(Item::text).filter(|patch| !patch.contains('\n'));
    with_path.chain(named).map(|path| joined(folder, path)).collect()
}
