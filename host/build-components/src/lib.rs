//! Builds checks and bundles from source into WebAssembly components.
//!
//! ```text
//!   folder of crates --cargo--> core modules --wit-component--> components
//! ```
//!
//! In comes a folder in a cargo workspace; out come the bytes of a component for each `cdylib` crate below it. The
//! program's own build calls this for the embedded modules, tests for their guests, and `build-components` for people.
//! It must not know what a component exports: that is the engine's business.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod toolchain;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use wit_component::ComponentEncoder;

pub use toolchain::ensure_target;

/// The target that checks and bundles are compiled for: no operating system, and so nothing to import from one.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// The cargo profile that they are compiled with.
const PROFILE: &str = "component";

/// Fast, which makes a component a fifth larger than small would, and without unwinding, because a panic ends the instance
/// anyway. It is handed to cargo here, so that the workspaces of custom rules need not define it.
const PROFILE_SETTINGS: [&str; 6] = [
    r#"profile.component.inherits="release""#,
    "profile.component.opt-level=3",
    r#"profile.component.lto="fat""#,
    "profile.component.codegen-units=1",
    r#"profile.component.panic="abort""#,
    r#"profile.component.strip="symbols""#,
];

/// A component that was built.
#[derive(Debug, Clone)]
pub struct Component {
    /// The name of the crate, such as `check-latest-tag`.
    pub package: String,
    /// The name of the crate's folder, such as `latest-tag`.
    pub folder: String,
    /// The component's bytes.
    pub bytes: Vec<u8>,
}

/// Builds every `cdylib` crate below `folders`, which belong to one cargo workspace, and returns the components sorted
/// by folder.
///
/// `target_directory` keeps what cargo builds, so that a second call is quick.
pub fn build(folders: &[PathBuf], target_directory: &Path) -> Result<Vec<Component>> {
    let first = folders.first().context("no folder to build components from")?;
    let packages = packages(&manifest_near(first)?, folders)?;
    ensure!(!packages.is_empty(), "no crate with crate-type \"cdylib\" below {}", list(folders));
    ensure_target()?;
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--target", TARGET, "--profile", PROFILE]);
    cargo.args(PROFILE_SETTINGS.iter().flat_map(|setting| ["--config", setting]));
    cargo.arg("--target-dir").arg(target_directory).arg("--manifest-path").arg(manifest_near(first)?);
    for package in &packages {
        cargo.args(["--package", &package.name]);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", remapped_paths(&packages));
    let status = cargo.status().context("cargo could not be started")?;
    ensure!(status.success(), "cargo could not build {}: see its messages above", list(folders));
    let output = target_directory.join(TARGET).join(PROFILE);
    packages.into_iter().map(|package| package.component(&output)).collect()
}

/// A crate that becomes a component.
struct Package {
    name: String,
    library: String,
    folder: PathBuf,
    workspace: String,
}

impl Package {
    fn component(self, output: &Path) -> Result<Component> {
        let path = output.join(format!("{}.wasm", self.library.replace('-', "_")));
        let module = fs::read(&path).with_context(|| format!("cargo built no {}", path.display()))?;
        let bytes = encode(&module).with_context(|| {
            format!("{} is no component: does it call export_check! or export_bundle! of the SDK?", self.name)
        })?;
        let folder = self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Component { package: self.name, folder, bytes })
    }
}

/// Turns a core module, whose custom sections describe its world, into a component.
fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// The manifest of `folder`, or of the nearest folder above it or below it that has one.
fn manifest_near(folder: &Path) -> Result<PathBuf> {
    let folder = folder.canonicalize().with_context(|| format!("{} is not there", folder.display()))?;
    let above = folder.ancestors().map(|ancestor| ancestor.join("Cargo.toml")).find(|manifest| manifest.is_file());
    if let Some(manifest) = above {
        return Ok(manifest);
    }
    let mut below: Vec<_> = fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path().join("Cargo.toml")))
        .filter(|manifest| manifest.is_file())
        .collect();
    below.sort();
    below.into_iter().next().with_context(|| format!("there is no Cargo.toml in, above or below {}", folder.display()))
}

/// The `cdylib` packages of the workspace of `manifest` that are below one of `folders`.
fn packages(manifest: &Path, folders: &[PathBuf]) -> Result<Vec<Package>> {
    let mut cargo = cargo();
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"]).arg(manifest);
    let output = cargo.output().context("cargo could not be started")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let folders = folders.iter().map(|folder| folder.canonicalize()).collect::<Result<Vec<_>, _>>()?;
    let mut packages: Vec<_> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| {
            let folder = Path::new(package["manifest_path"].as_str()?).parent()?.to_owned();
            let library = package["targets"].as_array()?.iter().find(|target| {
                target["crate_types"].as_array().is_some_and(|types| types.iter().any(|kind| kind == "cdylib"))
            })?;
            Some(Package {
                name: package["name"].as_str()?.to_owned(),
                library: library["name"].as_str()?.to_owned(),
                workspace: metadata["workspace_root"].as_str()?.to_owned(),
                folder,
            })
        })
        .filter(|package| folders.iter().any(|folder| package.folder.starts_with(folder)))
        .collect();
    packages.sort_by(|one, other| one.folder.file_name().cmp(&other.folder.file_name()));
    Ok(packages)
}

/// Compiler flags that keep the paths of this machine out of the components, so that the same sources give the same bytes
/// everywhere.
fn remapped_paths(packages: &[Package]) -> String {
    let cargo_home = env::var("CARGO_HOME").ok().or_else(|| env::var("HOME").ok().map(|home| format!("{home}/.cargo")));
    let workspace = packages.first().map(|package| package.workspace.clone());
    [(workspace, "/source"), (cargo_home, "/cargo")]
        .into_iter()
        .filter_map(|(from, to)| Some(format!("--remap-path-prefix={}={to}", from?)))
        .collect::<Vec<_>>()
        .join("\u{1f}")
}

/// Cargo, without what an outer cargo or clippy run has put into the environment for itself.
fn cargo() -> Command {
    const KEPT: [&str; 6] =
        ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_MAKEFLAGS"];
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let outer = text.starts_with("CARGO_") && !KEPT.iter().any(|kept| text.starts_with(kept));
        if outer || matches!(&*text, "RUSTFLAGS" | "RUSTC" | "RUSTDOC" | "RUSTC_WORKSPACE_WRAPPER") {
            command.env_remove(&name);
        }
    }
    command
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}
