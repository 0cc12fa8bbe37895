//! `module new`: a project for a check, which needs nothing from this repository.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use kube_devops_core::policy_fields::POLICY_FIELDS;

use super::{Outcome, print};
use crate::arguments::{Language, ModuleNewArguments};

/// A file of a project: its path, and its content before names are inserted.
type File = (&'static str, &'static str);

const COMMON: &[File] = &[
    ("README.md", include_str!("../../../templates/README.md")),
    ("cases/labels.yaml", include_str!("../../../templates/cases/labels.yaml")),
    ("cases/labels.expected.yaml", include_str!("../../../templates/cases/labels.expected.yaml")),
    ("cases/settings.yaml", include_str!("../../../templates/cases/settings.yaml")),
    ("cases/settings.expected.yaml", include_str!("../../../templates/cases/settings.expected.yaml")),
];

const RUST: &[File] = &[
    ("Cargo.toml", include_str!("../../../templates/rust/Cargo.toml")),
    ("rust-toolchain.toml", include_str!("../../../../../rust-toolchain.toml")),
    ("src/lib.rs", include_str!("../../../templates/rust/lib.rs")),
    (".gitignore", include_str!("../../../templates/rust/gitignore")),
];

const JAVASCRIPT: &[File] = &[
    ("package.json", include_str!("../../../templates/javascript/package.json")),
    ("check.js", include_str!("../../../templates/javascript/check.js")),
    (".gitignore", include_str!("../../../templates/javascript/gitignore")),
];

const PYTHON: &[File] = &[
    ("requirements.txt", include_str!("../../../templates/python/requirements.txt")),
    ("check.py", include_str!("../../../templates/python/check.py")),
    (".gitignore", include_str!("../../../templates/python/gitignore")),
];

const WIT: &str = include_str!("../../../../../wit/policy.wit");

/// The files of the SDK, by their paths in this repository. A test compares the list with the folders.
macro_rules! sdk {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../../", $path)))),+]
    };
}

/// The SDK for Rust.
pub const SDK: &[File] = sdk![
    "wit/policy.wit",
    "policies/facts/Cargo.toml",
    "policies/facts/src/flags.rs",
    "policies/facts/src/lib.rs",
    "policies/facts/src/read.rs",
    "policies/facts/src/write.rs",
    "policies/sdk/Cargo.toml",
    "policies/sdk/src/bindings.rs",
    "policies/sdk/src/bundle.rs",
    "policies/sdk/src/check.rs",
    "policies/sdk/src/export.rs",
    "policies/sdk/src/findings.rs",
    "policies/sdk/src/image/invalid.rs",
    "policies/sdk/src/image/mod.rs",
    "policies/sdk/src/image/usual.rs",
    "policies/sdk/src/lib.rs",
    "policies/sdk/src/object.rs",
    "policies/sdk/src/probe.rs",
    "policies/sdk/src/testing.rs",
    "policies/sdk/src/typed.rs",
];

/// Runs the command.
pub fn run(arguments: &ModuleNewArguments) -> Result<Outcome> {
    let path = Path::new(&arguments.name);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_valid =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    ensure!(
        name.len() <= 63 && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.split('-').all(is_valid),
        "{name:?} is not a valid name: it consists of at most 63 lowercase letters, digits and single dashes, and starts with a letter"
    );
    // Cargo would find two packages with the name.
    let reserved = ["kube-devops-sdk", "kube-devops-facts", "schemars", "serde", "serde-json", "wit-bindgen"];
    ensure!(!reserved.contains(&name), "{name} is the name of a package that the project needs; choose another one");
    ensure!(
        !POLICY_FIELDS.iter().any(|field| field.check == name),
        "there is already a check {name} in the program; choose another name"
    );
    if path.exists() {
        bail!("{} already exists", path.display());
    }
    let (files, source) = match arguments.language {
        Language::Rust => (RUST, "src/lib.rs"),
        Language::Javascript => (JAVASCRIPT, "check.js"),
        Language::Python => (PYTHON, "check.py"),
    };
    for (file, text) in COMMON.iter().chain(files) {
        write(&path.join(file), &named(text, name))?;
    }
    if arguments.language == Language::Rust {
        for (file, text) in SDK {
            write(&path.join("kube-devops").join(file), text)?;
        }
    } else {
        write(&path.join("wit/policy.wit"), WIT)?;
    }
    print(&format!(
        "{folder} created. Next:\n  edit {folder}/{source}\n  kube-devops module test {folder}\n",
        folder = path.display()
    ))
}

/// Inserts the names of the check into a template.
fn named(template: &str, name: &str) -> String {
    let capitalized = |part: &str| {
        let (first, rest) = part.split_at(1.min(part.len()));
        first.to_uppercase() + rest
    };
    // Without the last word, the names of some checks are names that the code uses, such as `Info`, or keywords, such as `Self`.
    let type_name: String = name.split('-').map(capitalized).chain(["Check".to_owned()]).collect();
    template.replace("NAME", name).replace("TYPE", &type_name).replace("VERSION", env!("CARGO_PKG_VERSION"))
}

fn write(file: &Path, text: &str) -> Result<()> {
    let create = || -> std::io::Result<()> {
        fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
        fs::write(file, text)
    };
    create().with_context(|| format!("failed to write {}", file.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_project_contains_the_whole_sdk() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = BTreeSet::from(["wit/policy.wit".to_owned()]);
        for package in ["policies/facts", "policies/sdk"] {
            files.insert(format!("{package}/Cargo.toml"));
            for entry in walkdir::WalkDir::new(root.join(package).join("src")).into_iter().map(Result::unwrap) {
                if entry.file_type().is_file() {
                    files.insert(entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        assert_eq!(SDK.iter().map(|(path, _)| (*path).to_owned()).collect::<BTreeSet<_>>(), files);
    }

    #[test]
    fn the_versions_of_a_project_are_those_of_the_workspace() {
        let workspace = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml")).unwrap();
        let template = include_str!("../../../templates/rust/Cargo.toml");
        for line in template.lines().filter(|line| {
            ["schemars", "serde", "wit-bindgen", "rust-version"]
                .iter()
                .any(|name| line.starts_with(name) && line.contains('"'))
        }) {
            assert!(workspace.lines().any(|known| known == line), "{line} is not in Cargo.toml");
        }
    }

    #[test]
    fn names_are_inserted() {
        assert_eq!(named("NAME TYPE", "required-labels"), "required-labels RequiredLabelsCheck");
    }

    #[test]
    fn the_type_of_a_check_has_no_name_that_the_code_uses() {
        let template = include_str!("../../../templates/rust/lib.rs");
        let is_part = |part: char| part.is_alphanumeric() || part == '_';
        let words: BTreeSet<&str> = template.split(|part| !is_part(part)).collect();
        for name in
            ["settings", "info", "check", "subject", "findings", "default", "string", "vec", "result", "ok", "self"]
        {
            let type_name = named("TYPE", name);
            assert!(!words.contains(type_name.as_str()), "{type_name}");
        }
    }
}
