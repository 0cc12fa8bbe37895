//! Files in folders that are not to be read: by `--exclude`, and by `.kube-devopsignore`, in the syntax of `.gitignore`.

use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ignore::{Error, Match};

use crate::problem::Problem;

/// The name of the files of rules.
pub(crate) const NAME: &str = ".kube-devopsignore";

/// What is left out of a folder.
pub(crate) struct Exclusions {
    /// The outermost first.
    rules: Vec<(PathBuf, Gitignore)>,
    /// What is wrong with the files of rules, with their names.
    pub problems: Vec<(PathBuf, Problem)>,
}

impl Exclusions {
    /// What `patterns` and the files of rules in the folder and below it leave out.
    pub fn of<'p>(folder: &Path, patterns: &[String], files: impl Iterator<Item = &'p Path>) -> Self {
        let mut exclusions = Self { rules: Vec::new(), problems: Vec::new() };
        let mut builder = GitignoreBuilder::new(folder);
        for pattern in patterns {
            // Patterns were looked at when the arguments were read.
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
                    exclusions.problems.push((file.to_owned(), Problem::new(in_words(&error))));
                }
            }
        }
        exclusions.rules.sort_by_key(|(folder, _)| folder.components().count());
        exclusions
    }

    /// Whether a file in the folder is left out. The rules of the innermost folder that has any about it count.
    pub fn contain(&self, file: &Path) -> bool {
        let rules = self.rules.iter().rev().filter(|(folder, _)| file.starts_with(folder));
        let mut matches = rules.map(|(_, rules)| rules.matched_path_or_any_parents(file, false));
        matches.find(|found| !found.is_none()).is_some_and(|found| matches!(found, Match::Ignore(_)))
    }
}

/// Checks a pattern of `--exclude`.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let mut builder = GitignoreBuilder::new("");
    let built = builder.add_line(None, pattern).and_then(|builder| builder.build());
    built.map(|_| ()).map_err(|error| in_words(&error))
}

fn in_words(error: &Error) -> String {
    format!("invalid pattern: {error}; patterns have the syntax of .gitignore")
}
