//! `module build`: the component of a project.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use kube_devops_engine::{Engine, Limits};

use super::{Outcome, print};
use crate::arguments::ModuleBuildArguments;
use crate::modules;

/// Runs the command.
pub fn run(arguments: &ModuleBuildArguments) -> Result<Outcome> {
    let file = build(&arguments.folder, arguments.output.as_deref())?;
    // What was built is loaded, so that an error appears here and not in a cluster.
    let module = modules::load_file(&Engine::new(Limits::default())?, &file)?;
    print(&format!("{} built: {} bytes, {}\n", file.display(), module.size, module.digest))
}

/// Builds the component of a project, and returns its file.
pub fn build(folder: &Path, output: Option<&Path>) -> Result<PathBuf> {
    let folder = folder.canonicalize().with_context(|| format!("{} does not exist", folder.display()))?;
    if folder.join("Cargo.toml").is_file() {
        return rust(&folder, output);
    }
    if folder.join("package.json").is_file() {
        return javascript(&folder, output);
    }
    bail!(
        "{} is not a project: it has neither Cargo.toml nor package.json; create one with `kube-devops module new NAME`",
        folder.display()
    )
}

fn rust(folder: &Path, output: Option<&Path>) -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| folder.join("target"), PathBuf::from);
    let components = kube_devops_build_components::build(&[folder.to_owned()], &target)?;
    let [component] = components.as_slice() else {
        let names: Vec<_> = components.iter().map(|component| component.package.as_str()).collect();
        bail!("{} contains several components: {}; specify the folder of one", folder.display(), names.join(", "));
    };
    let file = output.map_or_else(|| folder.join(format!("{}.wasm", component.package)), Path::to_owned);
    fs::write(&file, &component.bytes).with_context(|| format!("failed to write {}", file.display()))?;
    Ok(file)
}

fn javascript(folder: &Path, output: Option<&Path>) -> Result<PathBuf> {
    if !folder.join("node_modules").is_dir() {
        command(folder, "npm", &["install", "--no-audit", "--no-fund"])?;
    }
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let file = output.map_or_else(|| folder.join(format!("{name}.wasm")), Path::to_owned);
    let target = std::path::absolute(&file)?;
    // Without WASI, there is nothing that the component could import.
    let options = ["componentize-qjs", "--wit", "wit", "--world", "check-component", "--js", "check.js", "--sync"];
    let path = target.to_string_lossy();
    command(folder, "npx", &[&options[..], &["--stub-wasi", "--opt-size", "-o", &path]].concat())?;
    Ok(file)
}

/// Runs a command of the language, with its output on standard error.
fn command(folder: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .current_dir(folder)
        .args(arguments)
        .output()
        .with_context(|| format!("failed to start {program}; install Node.js 20 or later, which contains it"))?;
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    ensure!(output.status.success(), "{program} {} failed: {text}", arguments.join(" "));
    Ok(())
}
