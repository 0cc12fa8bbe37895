//! The files that a kustomization uses as patches: they contain incomplete objects, which cannot be evaluated.
//!
//! <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/>

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kube_devops_core::workload::Workload;

use crate::input::{self, Input};
use crate::options::Limits;
use crate::origin::joined;
use crate::split::Notation;
use crate::tree::{Item, Kind, Tree};
use crate::{json, split, yaml};

/// The names of kustomization files.
pub(crate) const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The maximum size of a kustomization whose patches are skipped, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// The files that the kustomizations of a folder name, with the same paths as in a walk through the folder.
#[derive(Debug, Default)]
pub(crate) struct Kustomizations {
    /// The patches, and whether they are in the folder of a kustomization that names them.
    patches: BTreeMap<PathBuf, bool>,
    resources: BTreeSet<PathBuf>,
}

impl Kustomizations {
    /// Adds the files that a kustomization names. If it is excluded, only its resources are added: they are complete
    /// objects in any case.
    pub fn add(&mut self, file: &Path, is_excluded: bool) {
        let is_small = fs::metadata(file).is_ok_and(|metadata| metadata.len() <= MAX_SIZE);
        let text = if is_small { fs::read_to_string(file).unwrap_or_default() } else { String::new() };
        // Errors are reported when the file is read as a manifest.
        let Ok(tree) = yaml::parse(&text, 1, &Limits::default()) else { return };
        let folder = file.parent().unwrap_or(Path::new(""));
        let Some(root) = tree.root() else { return };
        let list = |key| root.get(key).into_iter().flat_map(Item::items);
        self.resources.extend(list("resources").filter_map(Item::text).map(|path| joined(folder, path)));
        if is_excluded {
            return;
        }
        let with_path = list("patches").chain(list("patchesJson6902")).filter_map(|patch| patch.get("path")?.text());
        let named = list("patchesStrategicMerge").filter_map(Item::text).filter(|patch| !patch.contains('\n'));
        for path in with_path.chain(named) {
            let path = joined(folder, path);
            let is_below = path.starts_with(folder);
            *self.patches.entry(path).or_default() |= is_below;
        }
    }

    /// Reports whether a file is only used as a patch, so that it is not read.
    ///
    /// A resource is never a patch. The files in the folder of a kustomization belong to it. Those in other folders may
    /// be applied without it, so they are only patches if they cannot be applied as they are.
    pub fn is_patch(&self, file: &Path, limits: &Limits) -> bool {
        match self.patches.get(file) {
            Some(is_below) if !self.resources.contains(file) => *is_below || !may_be_applied(file, limits),
            _ => false,
        }
    }
}

/// Reports whether a file may contain complete workloads, or has errors, which are then reported.
fn may_be_applied(file: &Path, limits: &Limits) -> bool {
    let input = Input { name: file.to_string_lossy().into(), path: Some(file.to_owned()) };
    let Ok(text) = input::text(&input, limits) else { return true };
    split::documents(&text).iter().any(|document| {
        let text = &text[document.range.clone()];
        let tree = match document.notation {
            Notation::Invalid(_) => return true,
            Notation::Json => json::parse(text, document.line),
            Notation::Yaml { .. } => yaml::parse(text, document.line, limits),
        };
        tree.map_or(true, |tree| is_complete(&tree))
    })
}

/// Reports whether a document may be a complete workload. It then has an image.
fn is_complete(tree: &Tree) -> bool {
    // kubectl cannot apply a list, such as a JSON patch.
    let Some(object) = tree.root().filter(|root| root.kind() == Kind::Map) else { return false };
    // The API server rejects these without a selector, which a patch cannot change and therefore omits.
    let api_version = object.text_of("apiVersion");
    let needs_selector = api_version == "apps/v1"
        && Workload::find(api_version, object.text_of("kind")).is_some()
        && object.get("items").is_none();
    let is_rejected = needs_selector && object.at("spec.selector").is_none();
    !is_rejected && object.below().any(|(key, item)| key == "image" && item.text().is_some())
}
