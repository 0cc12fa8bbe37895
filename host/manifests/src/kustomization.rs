//! The files that a kustomization uses as patches, which contain incomplete objects, and the objects that only a rendered
//! kustomization contains.
//!
//! <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/>

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kube_devops_core::text::{cut, escape_controls};
use kube_devops_core::workload::{Workload, group};

use crate::found::NO_KIND;
use crate::input::{self, Input};
use crate::options::{Limits, ReadOptions};
use crate::origin::joined;
use crate::split::Notation;
use crate::tree::{Item, Kind, Tree};
use crate::{json, split, yaml};

/// The names of kustomization files.
pub(crate) const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The fields with charts that kustomize renders with Helm.
const CHARTS: [&str; 2] = ["helmCharts", "helmChartInflationGenerator"];

/// The kind of a generator that is a chart, in a separate file.
const CHART_GENERATOR: &str = "HelmChartInflationGenerator";

/// The maximum length of a URL in messages, in bytes.
const MAX_URL: usize = 200;

/// The fields that name files, folders and repositories with objects.
const RESOURCES: [&str; 4] = ["resources", "bases", "components", "generators"];

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

/// Reports whether a file has the name of a kustomization.
pub(crate) fn is_name(file: &Path) -> bool {
    file.file_name().is_some_and(|name| NAMES.iter().any(|known| name == *known))
}

/// Returns why a kustomization was not evaluated completely: it contains objects that are in none of its files. `None` for
/// other documents, and for a kustomization that is rendered separately. `kind` is the one under which it is counted.
pub(crate) fn unread(item: Item<'_>, kind: &str, file: &str, options: &ReadOptions) -> Option<String> {
    let is_kustomization = match kind {
        NO_KIND => is_name(Path::new(file)),
        "Kustomization" | "Component" => ["", "kustomize.config.k8s.io"].contains(&group(item.text_of("apiVersion"))),
        kind => kind == CHART_GENERATOR,
    };
    if !is_kustomization {
        return None;
    }
    let folder = match Path::new(file).parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ if is_name(Path::new(file)) => Path::new("."),
        // Such as standard input.
        _ => Path::new("FOLDER"),
    };
    let shown = escape_controls(&folder.to_string_lossy());
    let has_chart = |key: &&str| item.get(key).is_some_and(|charts| charts.items().next().is_some());
    let charts = CHARTS.into_iter().find(has_chart);
    if charts.is_some() || kind == CHART_GENERATOR {
        return Some(format!(
            "contains charts ({}), which were not rendered; evaluate them with \
             `kustomize build --enable-helm {shown} | kube-devops analyze -f -`",
            charts.unwrap_or(kind)
        ));
    }
    let mut resources = RESOURCES.into_iter().flat_map(|key| item.get(key).into_iter().flat_map(Item::items));
    let remote = resources.find_map(|resource| resource.text().filter(|resource| is_remote(resource)))?;
    let is_same = |real: PathBuf| {
        options.rendered_kustomizations.iter().any(|other| other.canonicalize().is_ok_and(|other| other == real))
    };
    if folder.canonicalize().is_ok_and(is_same) {
        return None;
    }
    let remote = cut(&escape_controls(remote), MAX_URL);
    Some(format!("refers to {remote}, which was not read; evaluate the kustomization with --kustomize {shown}"))
}

/// Reports whether kustomize gets a resource from a repository or server.
/// <https://github.com/kubernetes-sigs/kustomize/blob/kustomize/v5.7.1/api/internal/git/repospec.go>
fn is_remote(resource: &str) -> bool {
    let is_user = |(user, rest): (&str, &str)| !user.contains('/') && rest.contains(':');
    if resource.contains('\n') {
        // The text of a generator.
        return false;
    }
    resource.contains("://")
        || ["git::", "gh:", "github.com/", "github.com:"].iter().any(|prefix| resource.starts_with(prefix))
        || resource.split_once('@').is_some_and(is_user)
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
