//! Excluded files in folders: by `--exclude` and by `.kube-devopsignore`, in the syntax of `.gitignore`.

use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ignore::{Error, Match};

use crate::problem::Problem;

/// The name of ignore files.
pub(crate) const NAME: &str = ".kube-devopsignore";

/// The exclusion rules of a folder.
pub(crate) struct Exclusions {
    /// The rules with their folders, the outermost first.
    rules: Vec<(PathBuf, Gitignore)>,
    /// The problems of ignore files, with their paths.
    pub problems: Vec<(PathBuf, Problem)>,
}

impl Exclusions {
    /// Creates the rules of `patterns` and of the ignore files in the folder and its subfolders.
    pub fn of<'p>(folder: &Path, patterns: &[String], files: impl Iterator<Item = &'p Path>) -> Self {
        let mut exclusions = Self { rules: Vec::new(), problems: Vec::new() };
        let mut builder = GitignoreBuilder::new(folder);
        for pattern in patterns {
            // The patterns were validated when the arguments were parsed.
            let _ = builder.add_line(None, pattern);
        }
        if let Ok(rules) = builder.build() {
            exclusions.rules.push((folder.to_owned(), rules));
        }
        for file in files {
            let below = file.parent().unwrap_or(folder);
            let mut builder = GitignoreBuilder::new(below);
            let added = builder.add(file);
            match (added, builder.build()) {
                (None, Ok(rules)) => exclusions.rules.push((below.to_owned(), rules)),
                (Some(error), _) | (None, Err(error)) => {
                    exclusions.problems.push((file.to_owned(), Problem::new(message(&error))));
                }
            }
        }
        exclusions.rules.sort_by_key(|(folder, _)| folder.components().count());
        let mut problems = std::mem::take(&mut exclusions.problems);
        problems
            .retain(|(file, _)| file.parent().is_none_or(|below| below == folder || !exclusions.contain_folder(below)));
        Self { problems, ..exclusions }
    }

    /// Reports whether a file in the folder is excluded. The rules of the innermost folder with a matching rule apply.
    pub fn contain(&self, file: &Path) -> bool {
        self.matches(file, false)
    }

    /// Reports whether everything in a subfolder is excluded. All patterns for files also apply to folders.
    pub fn contain_folder(&self, folder: &Path) -> bool {
        self.matches(folder, true)
    }

    fn matches(&self, path: &Path, is_folder: bool) -> bool {
        let rules = self.rules.iter().rev().filter(|(folder, _)| path.starts_with(folder) && path != folder);
        let mut matches = rules.map(|(_, rules)| rules.matched_path_or_any_parents(path, is_folder));
        matches.find(|found| !found.is_none()).is_some_and(|found| matches!(found, Match::Ignore(_)))
    }
}

/// Validates a pattern of `--exclude`.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let mut builder = GitignoreBuilder::new("");
    let built = builder.add_line(None, pattern).and_then(|builder| builder.build());
    built.map(|_| ()).map_err(|error| message(&error))
}

fn message(error: &Error) -> String {
    format!("invalid pattern: {error}; use the syntax of .gitignore")
}
