//! The example of a check in JavaScript, which needs Node.js, npm and its registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{kube_devops, root, run};

/// Installs the packages of a project. Returns whether they can be had.
pub fn npm_install(project: &Path) -> bool {
    let installed = Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(project).output();
    let is_installed = installed.is_ok_and(|output| output.status.success());
    if !is_installed {
        eprintln!("skipped: npm is missing or cannot reach its registry");
    }
    is_installed
}

/// Copies the project of the example to a folder.
///
/// # Errors
///
/// If its files cannot be copied.
pub fn copy_example(folder: &Path) -> Result<PathBuf> {
    let (source, project) = (root().join("examples/modules/registries"), folder.join("registries"));
    for file in ["package.json", "check.js", "wit/policy.wit", "cases/images.yaml", "cases/images.expected.yaml"] {
        let copy = project.join(file);
        fs::create_dir_all(copy.parent().context("a file is in a folder")?)?;
        fs::write(copy, fs::read(source.join(file))?)?;
    }
    Ok(project)
}

/// Builds the component of the example as `registries.wasm` in a folder. Returns `false` if its packages cannot be had.
///
/// # Errors
///
/// If it cannot be built.
pub fn build_example(folder: &Path) -> Result<bool> {
    let temporary = tempfile::tempdir()?;
    let project = copy_example(temporary.path())?;
    if !npm_install(&project) {
        return Ok(false);
    }
    let mut build = kube_devops();
    build.args(["module", "build"]).arg(&project).arg("--output").arg(folder.join("registries.wasm"));
    run(build.env("HOME", std::env::var_os("HOME").unwrap_or_default())).exits(0);
    Ok(true)
}
