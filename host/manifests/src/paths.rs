//! The files to read, from the paths on the command line.

use std::collections::BTreeSet;
use std::fs::{FileType, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube_devops_core::text::escape_controls;
use walkdir::{DirEntry, WalkDir};

use crate::charts::{self, Charts};
use crate::exclude::{self, Exclusions};
use crate::input::Input;
use crate::kustomization::{self, Kustomizations};
use crate::options::{ReadOptions, STANDARD_INPUT};
use crate::problem::Problem;

/// The path of standard input.
const STANDARD_INPUT_PATH: &str = "-";

/// The extensions of files that are read from folders.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// The inputs to read.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// The inputs. An invalid path is a problem, with its name.
    pub inputs: Vec<Result<Input, (Arc<str>, Problem)>>,
    /// The number of files that were skipped because a kustomization uses them as patches.
    pub patches: usize,
    /// The number of files that were excluded by `--exclude` or a `.kube-devopsignore` file.
    pub excluded: usize,
    /// The number of files that were skipped because their names have a leading dot, although kubectl reads them.
    pub hidden: usize,
}

/// Returns the inputs for the paths, in their order and sorted within folders.
pub(crate) fn find(paths: &[PathBuf], options: &ReadOptions) -> Inputs {
    let mut found = Inputs::default();
    let mut seen = Seen::default();
    for path in paths {
        if path.as_os_str() == STANDARD_INPUT_PATH {
            if !std::mem::replace(&mut seen.standard_input, true) {
                let name = options.stdin_name.as_deref().unwrap_or(STANDARD_INPUT).into();
                found.inputs.push(Ok(Input { name, path: None }));
            }
            continue;
        }
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => find_in_folder(path, options, &mut seen, &mut found),
            Ok(metadata) => {
                if seen.is_new(path, &metadata) {
                    found.inputs.push(Ok(Input { name: name(path), path: Some(path.clone()) }));
                }
            }
            Err(error) => found.inputs.push(Err((name(path), Problem::of_path(path, &error)))),
        }
    }
    found
}

fn find_in_folder(folder: &Path, options: &ReadOptions, seen: &mut Seen, found: &mut Inputs) {
    let before = found.inputs.len();
    let mut known = false;
    let entries: Vec<_> = WalkDir::new(folder)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry) || is_known_hidden_file(entry))
        .collect();
    let rules = Rules::of(folder, &entries, options);
    found.inputs.extend(rules.exclusions.problems.iter().map(|(path, problem)| Err((name(path), problem.clone()))));
    for entry in entries {
        match entry {
            Ok(entry) => known |= add_entry(entry, &rules, options, seen, found),
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_owned();
                // The target of a link that cannot be followed may be a folder.
                let is_excluded = || rules.exclusions.contain_folder(&path);
                if error.depth() > 0 && (can_be_ignored(&path, &error) || is_excluded()) {
                    continue;
                }
                found.inputs.push(Err((name(&path), walk_problem(&path, &error))));
            }
        }
    }
    if found.inputs.len() == before && !known {
        let problem = Problem::new(
            "the folder contains no manifests: only files with the extension .yaml, .yml or .json are read from folders, \
             and names with a leading dot are skipped; specify the path of a file to read it regardless of its name",
        );
        found.inputs.push(Err((name(folder), problem)));
    }
}

/// The rules for the files of a folder that are not read.
struct Rules {
    exclusions: Exclusions,
    kustomizations: Kustomizations,
    charts: Charts,
}

impl Rules {
    fn of(folder: &Path, entries: &[walkdir::Result<DirEntry>], options: &ReadOptions) -> Self {
        let named = |name: &'static str| entries.iter().flatten().filter(move |entry| is_readable_file(entry, name));
        let exclusions = Exclusions::of(folder, &options.exclude, named(exclude::NAME).map(DirEntry::path));
        let mut kustomizations = Kustomizations::default();
        for entry in kustomization::NAMES.into_iter().flat_map(named) {
            kustomizations.add(entry.path(), exclusions.contain(entry.path()));
        }
        let mut charts = Charts::new(&options.rendered_charts);
        named(charts::NAME)
            .map(DirEntry::path)
            .filter(|path| !exclusions.contain(path))
            .for_each(|path| charts.add(path));
        Self { exclusions, kustomizations, charts }
    }
}

/// Adds an entry of a folder, and reports whether it is a file that is read unless a rule or its path prevents it.
fn add_entry(entry: DirEntry, rules: &Rules, options: &ReadOptions, seen: &mut Seen, found: &mut Inputs) -> bool {
    let is_hidden = entry.depth() > 0 && is_hidden(&entry);
    let is_manifest = match is_hidden {
        true => is_read_by_kubectl(&entry),
        false => has_manifest_extension(entry.path()) || kustomization::is_name(entry.path()),
    };
    if !is_readable(entry.file_type()) || !is_manifest {
        return false;
    }
    if rules.exclusions.contain(entry.path()) {
        found.excluded += 1;
    } else if is_hidden {
        found.hidden += 1;
    } else if let Some(problem) = rules.charts.problem(entry.path()) {
        found.inputs.push(Err((name(entry.path()), problem)));
    } else if rules.charts.describe(entry.path()) || rules.charts.contain_template(entry.path()) {
        // The chart is evaluated separately, or its problem reports that it is not.
    } else if rules.kustomizations.is_patch(entry.path(), &options.limits) {
        found.patches += 1;
    } else if entry.metadata().map_or(true, |metadata| seen.is_new(entry.path(), &metadata)) {
        found.inputs.push(Ok(Input { name: name(entry.path()), path: Some(entry.into_path()) }));
    }
    !is_hidden
}

fn walk_problem(path: &Path, error: &walkdir::Error) -> Problem {
    if let Some(ancestor) = error.loop_ancestor() {
        return Problem::new(format!(
            "a symbolic link points back to its parent folder {}; remove the link, or specify the folders one by one",
            escape_controls(&ancestor.to_string_lossy())
        ));
    }
    match error.io_error() {
        Some(_) if path.is_symlink() => {
            Problem::new("the target of the symbolic link cannot be read; remove the link or fix its target")
        }
        Some(error) => Problem::of_path(path, error),
        None => Problem::new(escape_controls(&error.to_string())),
    }
}

/// Reports whether an error can be ignored: dangling links are not filtered by name, and editors use hidden ones as
/// locks.
fn can_be_ignored(path: &Path, error: &walkdir::Error) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let dangles = error.loop_ancestor().is_none() && path.is_symlink();
    is_hidden || dangles && path.extension().is_some() && !has_manifest_extension(path)
}

/// Returns the name of a path in reports.
pub(crate) fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// Reports whether a hidden file is an ignore file, or one that kubectl reads.
fn is_known_hidden_file(entry: &DirEntry) -> bool {
    is_readable(entry.file_type()) && (entry.file_name() == exclude::NAME || is_read_by_kubectl(entry))
}

/// Reports whether kubectl reads a file of this name from a folder, in which case matters; `.yaml` is such a name.
/// <https://github.com/kubernetes/cli-runtime/blob/v0.37.2/pkg/resource/visitor.go>
fn is_read_by_kubectl(entry: &DirEntry) -> bool {
    let name = entry.file_name().as_encoded_bytes();
    EXTENSIONS.iter().any(|extension| name.strip_suffix(extension.as_bytes()).is_some_and(|name| name.ends_with(b".")))
}

/// Excludes pipes and devices in folders, which could block forever and are not part of repositories.
fn is_readable(file_type: FileType) -> bool {
    file_type.is_file()
}

fn is_readable_file(entry: &DirEntry, name: &str) -> bool {
    is_readable(entry.file_type()) && entry.file_name() == name
}

fn has_manifest_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// The inputs that were already found, so that a file with several paths is read once.
#[derive(Default)]
struct Seen {
    standard_input: bool,
    files: BTreeSet<PathBuf>,
}

impl Seen {
    fn is_new(&mut self, path: &Path, metadata: &Metadata) -> bool {
        // A pipe has its content once, and two pipes can have the same name; each is read as often as it is specified.
        if !metadata.is_file() {
            return true;
        }
        match path.canonicalize() {
            Ok(real) => self.files.insert(real),
            Err(_) => true,
        }
    }
}
