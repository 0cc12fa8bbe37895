//! `module build`: the component of a project.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::super::report_file;
use super::{Outcome, print};
use crate::arguments::ModuleBuildArguments;
use crate::modules;

/// Runs the command.
pub fn run(arguments: &ModuleBuildArguments) -> Result<Outcome> {
    let file = build(&arguments.folder, arguments.output.as_deref())?;
    // What was built is loaded, so that an error appears here and not in a cluster.
    let module = modules::load_file(&modules::engine_in(None, &arguments.compile)?, &file)?;
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
    if folder.join("requirements.txt").is_file() {
        return python(&folder, output);
    }
    bail!(
        "{} is not a project: it has no Cargo.toml, package.json or requirements.txt; create one with `kube-devops module new NAME`",
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
    report_file::write_bytes(&file, &component.bytes)?;
    Ok(file)
}

fn javascript(folder: &Path, output: Option<&Path>) -> Result<PathBuf> {
    let needs = "install Node.js 20 or later, which contains it";
    // The tool of the project: npx would download another version if the packages are incomplete.
    let tool = folder.join("node_modules/.bin/componentize-qjs");
    if !tool.exists() {
        run_tool(Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(folder), needs)?;
    }
    ensure!(
        tool.exists(),
        "npm has not installed componentize-qjs; add it to devDependencies in {}",
        folder.join("package.json").display()
    );
    let (file, target) = component_file(folder, output)?;
    let world = world(folder, "js", javascript_imports_object)?;
    // Without WASI, there is nothing else that the component could import.
    let options = ["--wit", "wit", "--world", world, "--js", "check.js", "--sync"];
    let mut build = Command::new(&tool);
    build.args(options).args(["--stub-wasi", "--opt-size", "-o"]).arg(target);
    run_tool(build.current_dir(folder), needs)?;
    Ok(file)
}

fn python(folder: &Path, output: Option<&Path>) -> Result<PathBuf> {
    let environment = folder.join(".venv");
    let tool = environment.join("bin/componentize-py");
    let needs = "install Python 3.9 or later, with venv and pip";
    if !tool.is_file() {
        run_tool(Command::new("python3").args(["-m", "venv", ".venv"]).current_dir(folder), needs)?;
    }
    // Without network access, and fast, unless a package is missing.
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]);
    run_tool(pip.current_dir(folder), needs)
        .context("failed to install the packages in requirements.txt; this needs pip, and access to its registry")?;
    let (file, target) = component_file(folder, output)?;
    let world = world(folder, "py", python_imports_object)?;
    let mut build = Command::new(&tool);
    build.args(["--quiet", "--wit-path", "wit", "--world", world, "componentize", "check"]);
    // Without WASI, there is nothing else that the component could import.
    build.args(["--stub-wasi", "--output"]).arg(target);
    // Packages are taken from this environment, not from an active one; the stack of the tool says nothing about the check.
    build.env("VIRTUAL_ENV", &environment).env("RUST_BACKTRACE", "0");
    run_tool(build.current_dir(folder), "delete .venv, so that it is created again")?;
    Ok(file)
}

/// Returns the world of a check. An import is a permission, so that `object` is imported only if a file of the project imports it.
fn world(folder: &Path, extension: &str, imports_object: impl Fn(&str) -> bool) -> Result<&'static str> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let file = entry?.path();
        if file.extension().is_none_or(|found| found != extension) {
            continue;
        }
        // The tool of the language reports files that it cannot read.
        let code = fs::read(&file).unwrap_or_default();
        if imports_object(&String::from_utf8_lossy(&code)) {
            return Ok("check-component-with-object");
        }
    }
    Ok("check-component")
}

/// Whether JavaScript has an import of `object`.
fn javascript_imports_object(code: &str) -> bool {
    let lines = code.lines().map(|line| line.trim_start()).filter(|line| !line.starts_with("//"));
    lines.flat_map(|line| line.split(['"', '\''])).any(|text| text.starts_with("devops:policy/object@"))
}

/// Whether Python has an import of `object` from `wit_world.imports`, or uses it as an attribute of that module.
fn python_imports_object(code: &str) -> bool {
    let without_comments: Vec<&str> = code.lines().map(|line| line.split('#').next().unwrap_or_default()).collect();
    let code = without_comments.join("\n").replace("\\\n", " ");
    let is_name = |part: char| part.is_alphanumeric() || part == '_';
    let mut imports = code.split("wit_world.imports").skip(1).map(|rest| {
        let line = rest.split('\n').next().unwrap_or_default();
        if line.contains('(') { rest.split(')').next().unwrap_or_default() } else { line }
    });
    imports.any(|import| import.split(|part| !is_name(part)).any(|name| name == "object"))
        || code.contains("wit_world") && code.contains(".object.")
}

/// Returns the file of a component, and its absolute path.
fn component_file(folder: &Path, output: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let file = output.map_or_else(|| folder.join(format!("{name}.wasm")), Path::to_owned);
    let absolute = std::path::absolute(&file)?;
    Ok((file, absolute))
}

/// Runs a tool of the language; its output is part of the error. `needs` says how to get a program that cannot be started.
fn run_tool(tool: &mut Command, needs: &str) -> Result<()> {
    let program = tool.get_program().to_string_lossy().into_owned();
    let output = tool.output().with_context(|| format!("failed to start {program}; {needs}"))?;
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let arguments: Vec<_> = tool.get_args().map(|argument| argument.to_string_lossy()).collect();
    ensure!(output.status.success(), "{program} {} failed: {text}", arguments.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_of_object_in_python_are_recognized() {
        for code in [
            "from wit_world.imports import object",
            "from wit_world.imports import log, object as complete\n",
            "from wit_world.imports import log, \\\n    object\n",
            "from wit_world.imports.object import get",
            "import wit_world.imports.object",
            "import json\nfrom wit_world.imports import (\n    log,  # the log (of the host)\n    object,\n)\n",
            "from wit_world import imports\nimports.object.get(0, '/spec')",
        ] {
            assert!(python_imports_object(code), "{code}");
        }
        for code in [
            "",
            "class A(object): pass",
            "from wit_world.imports import log  # not object\nclass A(object): pass",
            "import objects",
        ] {
            assert!(!python_imports_object(code), "{code}");
        }
    }

    #[test]
    fn imports_of_object_in_javascript_are_recognized() {
        for code in [
            "import object from \"devops:policy/object@0.2.0\";",
            "import { get } from 'devops:policy/object@0.2.0'",
            "import {\n  get,\n} from \"devops:policy/object@0.2.0\";",
        ] {
            assert!(javascript_imports_object(code), "{code}");
        }
        for code in
            ["import log from \"devops:policy/log@0.2.0\";", "// import object from \"devops:policy/object@0.2.0\";"]
        {
            assert!(!javascript_imports_object(code), "{code}");
        }
    }
}
