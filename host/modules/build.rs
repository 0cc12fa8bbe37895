//! Builds the checks and bundles of this repository, compiles them to native code, and embeds both.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube_devops_engine::{Limits, configuration};
use kube_devops_files::Digest;

/// The folders with checks and bundles, and the names of the generated lists.
const FOLDERS: [(&str, &str); 2] = [("policies", "CHECKS"), ("bundles", "BUNDLES")];

fn main() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let output = PathBuf::from(env::var("OUT_DIR")?);
    for watched in ["policies", "bundles", "wit", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let native = native_compiler()?;
    let mut source = String::new();
    for (folder, list) in FOLDERS {
        writeln!(source, "static {list}: &[Embedded] = &[")?;
        for component in kube_devops_build_components::build(&[root.join(folder)], &target_directory(&output))? {
            let compiled = native.precompile_component(&component.bytes).map_err(anyhow::Error::from)?;
            let file = output.join(format!("{}.cwasm", component.package));
            fs::write(&file, compiled).with_context(|| format!("failed to write {}", file.display()))?;
            let digest = Digest::of(&component.bytes);
            writeln!(
                source,
                "    Embedded {{ name: {:?}, digest: \"{digest}\", native: include_bytes!({file:?}) }},",
                component.folder
            )?;
        }
        writeln!(source, "];")?;
    }
    fs::write(output.join("embedded.rs"), source)?;
    Ok(())
}

/// Returns the compiler for the target of the program. An explicit target prevents the use of features of the processor
/// of the build machine.
fn native_compiler() -> Result<wasmtime::Engine> {
    let mut configuration = configuration(&Limits::default());
    configuration.target(&env::var("TARGET")?).map_err(anyhow::Error::from)?;
    wasmtime::Engine::new(&configuration).map_err(anyhow::Error::from)
}

/// Returns a folder next to those of the cargo profiles, so that all profiles share the components.
fn target_directory(output: &Path) -> PathBuf {
    let profile_directory = output.ancestors().nth(3);
    profile_directory.and_then(Path::parent).unwrap_or(output).join("components")
}
