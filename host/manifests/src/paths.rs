//! Which files are read: what the paths on the command line stand for.

use std::collections::BTreeSet;
use std::fs::{FileType, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube_devops_core::text::escape_controls;
use walkdir::{DirEntry, WalkDir};

use crate::exclude::{self, Exclusions};
use crate::problem::Problem;
use crate::{ReadOptions, kustomization};

/// The path that stands for standard input.
const STANDARD_INPUT_PATH: &str = "-";

/// The endings of files that are read from folders.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Something to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    /// How reports call it.
    pub name: Arc<str>,
    /// The file; none for standard input.
    pub path: Option<PathBuf>,
}

/// What is to be read.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// The inputs. A path that leads nowhere is a problem in its place, together with its name.
    pub inputs: Vec<Result<Input, (Arc<str>, Problem)>>,
    /// How many files were left out because a kustomization names them as patches.
    pub patches: usize,
    /// How many files were left out because `--exclude` or a `.kube-devopsignore` says so.
    pub excluded: usize,
}

/// What the paths stand for, in their order and sorted within folders. A path that leads nowhere is a problem in its
/// place, together with its name.
pub(crate) fn find(paths: &[PathBuf], options: &ReadOptions) -> Inputs {
    let mut found = Inputs::default();
    let mut seen = Seen::default();
    for path in paths {
        if path.as_os_str() == STANDARD_INPUT_PATH {
            if !std::mem::replace(&mut seen.standard_input, true) {
                let name = options.stdin_name.as_deref().unwrap_or(crate::STANDARD_INPUT).into();
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
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry) || is_readable_file(entry, exclude::NAME))
        .collect();
    let named = |name: &'static str| entries.iter().flatten().filter(move |entry| is_readable_file(entry, name));
    let patches: BTreeSet<PathBuf> = kustomization::NAMES
        .into_iter()
        .flat_map(named)
        .flat_map(|entry| kustomization::patches(entry.path()))
        .collect();
    let exclusions = Exclusions::of(folder, &options.exclude, named(exclude::NAME).map(DirEntry::path));
    found.inputs.extend(exclusions.problems.iter().map(|(path, problem)| Err((name(path), problem.clone()))));
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_owned();
                if error.depth() > 0 && is_of_no_concern(&path, &error) {
                    continue;
                }
                found.inputs.push(Err((name(&path), of_walk(&path, &error))));
                continue;
            }
        };
        if !is_readable(entry.file_type()) || !has_manifest_ending(entry.path()) {
            continue;
        }
        known = true;
        if exclusions.contain(entry.path()) {
            found.excluded += 1;
            continue;
        }
        if patches.contains(entry.path()) {
            found.patches += 1;
            continue;
        }
        if entry.metadata().is_ok_and(|metadata| !seen.is_new(entry.path(), &metadata)) {
            continue;
        }
        found.inputs.push(Ok(Input { name: name(entry.path()), path: Some(entry.into_path()) }));
    }
    if found.inputs.len() == before && !known {
        let problem = Problem::new(
            "the folder holds no manifests: only files that end in .yaml, .yml or .json are read from folders, and names \
             with a leading dot are skipped; name a file itself to have it read whatever it is called",
        );
        found.inputs.push(Err((name(folder), problem)));
    }
}

fn of_walk(path: &Path, error: &walkdir::Error) -> Problem {
    if let Some(ancestor) = error.loop_ancestor() {
        return Problem::new(format!(
            "a symbolic link is_leader back to the folder {}, which is being read already; remove the link or name the folders \
             one by one",
            escape_controls(&ancestor.to_string_lossy())
        ));
    }
    match error.io_error() {
        Some(_) if path.is_symlink() => {
            Problem::new("the symbolic link leads to nothing that can be read; remove it or fix what it points to")
        }
        Some(error) => Problem::of_path(path, error),
        None => Problem::new(escape_controls(&error.to_string())),
    }
}

/// Dangling links come without the filter of names, and editors leave hidden ones as locks.
fn is_of_no_concern(path: &Path, error: &walkdir::Error) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let dangles = error.loop_ancestor().is_none() && path.is_symlink();
    is_hidden || dangles && path.extension().is_some() && !has_manifest_ending(path)
}

/// A name as it was given or found.
fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// A pipe or device in a folder could block for ever, and no repository holds one on purpose.
fn is_readable(file_type: FileType) -> bool {
    file_type.is_file()
}

fn is_readable_file(entry: &DirEntry, name: &str) -> bool {
    is_readable(entry.file_type()) && entry.file_name() == name
}

fn has_manifest_ending(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// What was found already, so that a file that is reached twice is evaluated once.
#[derive(Default)]
struct Seen {
    standard_input: bool,
    files: BTreeSet<PathBuf>,
}

impl Seen {
    fn is_new(&mut self, path: &Path, metadata: &Metadata) -> bool {
        // A pipe gives its content once, and two pipes can bear one name; each is read as often as it is named.
        if !metadata.is_file() {
            return true;
        }
        match path.canonicalize() {
            Ok(real) => self.files.insert(real),
            Err(_) => true,
        }
    }
}
