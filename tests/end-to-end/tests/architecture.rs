//! The structure of the workspace: which crate may depend on which, and the size of files.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use walkdir::WalkDir;

/// The crates of the workspace that each crate of `host/` may use. docs/architecture.md draws this table.
const ALLOWED: [(&str, &[&str]); 14] = [
    ("kube-devops-build-components", &[]),
    ("kube-devops-core", &["kube-devops-facts"]),
    ("kube-devops-engine", &["kube-devops-core", "kube-devops-facts", "kube-devops-files"]),
    ("kube-devops-files", &[]),
    ("kube-devops-manifests", &["kube-devops-core"]),
    (
        "kube-devops-modules",
        &["kube-devops-build-components", "kube-devops-core", "kube-devops-engine", "kube-devops-files"],
    ),
    ("kube-devops-oci", &["kube-devops-files"]),
    ("kube-devops-cluster", &["kube-devops-core", "kube-devops-engine", "kube-devops-oci"]),
    ("kube-devops-runtime", &["kube-devops-cluster"]),
    (
        "kube-devops-policy-modules",
        &["kube-devops-cluster", "kube-devops-engine", "kube-devops-oci", "kube-devops-runtime"],
    ),
    ("kube-devops-remediation", &["kube-devops-cluster", "kube-devops-core", "kube-devops-runtime"]),
    (
        "kube-devops-controllers",
        &[
            "kube-devops-cluster",
            "kube-devops-core",
            "kube-devops-engine",
            "kube-devops-policy-modules",
            "kube-devops-remediation",
            "kube-devops-runtime",
        ],
    ),
    (
        "kube-devops-webhook",
        &[
            "kube-devops-cluster",
            "kube-devops-core",
            "kube-devops-engine",
            "kube-devops-policy-modules",
            "kube-devops-remediation",
            "kube-devops-runtime",
        ],
    ),
    (
        "kube-devops",
        &[
            "kube-devops-build-components",
            "kube-devops-cluster",
            "kube-devops-controllers",
            "kube-devops-core",
            "kube-devops-engine",
            "kube-devops-files",
            "kube-devops-manifests",
            "kube-devops-modules",
            "kube-devops-oci",
            "kube-devops-policy-modules",
            "kube-devops-remediation",
            "kube-devops-runtime",
            "kube-devops-webhook",
        ],
    ),
];

/// Libraries that a crate must not use, because its module documentation says so.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    ("kube-devops-core", &["kube", "k8s-openapi", "wasmtime", "tokio"]),
    ("kube-devops-engine", &["kube", "k8s-openapi", "tokio"]),
    ("kube-devops-oci", &["kube", "k8s-openapi", "wasmtime"]),
    ("kube-devops-manifests", &["kube", "k8s-openapi", "wasmtime", "tokio"]),
    ("kube-devops-cluster", &["axum", "prometheus", "wasmtime"]),
    ("kube-devops-remediation", &["axum", "prometheus", "wasmtime"]),
];

/// The most lines of a file in `host/`.
const MAX_LINES: usize = 400;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The normal and build dependencies of each crate of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(root());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of_package = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let used = dependencies.filter(|dependency| dependency["kind"] != "dev");
        let names = used.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
        (package["name"].as_str().unwrap().to_owned(), names.collect())
    };
    metadata["packages"].as_array().unwrap().iter().map(of_package).collect()
}

#[test]
fn crates_depend_only_on_those_that_the_architecture_allows() {
    let dependencies = dependencies();
    let crates: BTreeSet<&String> = dependencies.keys().collect();
    let host: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    for folder in fs::read_dir(root().join("host")).unwrap().map(|entry| entry.unwrap().path()) {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"');
        assert!(host.contains(name), "{name} is missing in this table");
    }
    for (name, allowed) in ALLOWED {
        let used = dependencies[name].iter().filter(|used| crates.contains(used)).map(String::as_str);
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let forbidden: Vec<&str> = used.filter(|used| !allowed.contains(used)).collect();
        assert!(forbidden.is_empty(), "{name} must not depend on {forbidden:?}");
    }
}

#[test]
fn crates_do_not_use_the_libraries_of_other_layers() {
    let dependencies = dependencies();
    for (name, libraries) in FORBIDDEN {
        for library in libraries {
            assert!(!dependencies[name].contains(*library), "{name} must not depend on {library}");
        }
    }
}

#[test]
fn files_of_the_program_are_short() {
    let mut long = Vec::new();
    let mut count = 0;
    for entry in WalkDir::new(root().join("host")).into_iter().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "rs") {
            count += 1;
            let lines = fs::read_to_string(entry.path()).unwrap().lines().count();
            if lines > MAX_LINES {
                long.push(format!("{}: {lines} lines", entry.path().display()));
            }
        }
    }
    assert!(count > 100, "only {count} files were found");
    assert!(long.is_empty(), "files of more than {MAX_LINES} lines: {long:#?}");
}

/// Otherwise these crates would be built twice: for the program, and for the build script that compiles the checks.
#[test]
fn the_release_profile_names_the_crates_of_the_build_script() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--offline", "--edges", "normal,no-proc-macro", "--package", "kube-devops-engine"]);
    command.args(["--package", "kube-devops-build-components"]);
    let output = command.args(["--prefix", "none", "--format", "{p}"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let used: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, section) = manifest.split_once("[profile.release.package]\n").unwrap();
    let named: BTreeSet<&str> = section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter(|line| line.contains("opt-level"))
        .filter_map(|line| line.split(['.', ' ']).next())
        .collect();
    let missing: Vec<_> = used.difference(&named).collect();
    assert!(missing.is_empty(), "add these crates to [profile.release.package] in Cargo.toml: {missing:?}");
}

/// The owner of an action can move a tag, and thereby change a release.
#[test]
fn workflows_use_actions_of_a_commit() {
    let mut count = 0;
    for entry in WalkDir::new(root().join(".github/workflows")) {
        let entry = entry.unwrap();
        if !entry.file_type().is_file() {
            continue;
        }
        for line in fs::read_to_string(entry.path()).unwrap().lines() {
            let Some((_, action)) = line.split_once("uses: ").filter(|(_, action)| !action.starts_with("./")) else {
                continue;
            };
            count += 1;
            let commit = action.split_once('@').and_then(|(_, reference)| reference.split_once(" # v"));
            let is_commit = |text: &str| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(commit.is_some_and(|(commit, _)| is_commit(commit)), "{}: {action}", entry.path().display());
        }
    }
    assert!(count > 10, "only {count} actions were found");
}
