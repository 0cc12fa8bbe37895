//! Builds checks and bundles from source into WebAssembly components.
//!
//! ```text
//!   folder of crates --cargo--> core modules --wit-component--> components
//! ```
//!
//! The input is a folder in a cargo workspace; the output is the bytes of a component for each `cdylib` crate below it.
//! The build of the program uses this for the embedded modules, tests for their guests, and `build-components` for
//! custom checks. This crate must not depend on the exports of components, which are validated by the engine.
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

/// The target of checks and bundles: without an operating system, and therefore without imports from one.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// The error if there is no cargo.
const NO_CARGO: &str = "failed to start cargo; install Rust from https://rustup.rs";

/// The cargo profile of checks and bundles.
const PROFILE: &str = "component";

/// The profile is optimized for speed, which makes components about 20% larger than for size, and has no unwinding,
/// because the instance ends after a panic. It is passed to cargo here, so that the workspaces of custom checks need
/// not define it.
const PROFILE_SETTINGS: [&str; 13] = [
    r#"profile.component.inherits="release""#,
    "profile.component.opt-level=3",
    r#"profile.component.lto="fat""#,
    "profile.component.codegen-units=1",
    r#"profile.component.panic="abort""#,
    r#"profile.component.strip="symbols""#,
    // Macros run once, so that their optimization would take longer than it saves.
    "profile.component.build-override.opt-level=0",
    "profile.component.build-override.codegen-units=256",
    "profile.component.build-override.debug=false",
    // The workspace optimizes these crates for the program; here only macros use them.
    "profile.component.package.wasm-encoder.opt-level=0",
    "profile.component.package.wasmparser.opt-level=0",
    "profile.component.package.wit-component.opt-level=0",
    "profile.component.package.wit-parser.opt-level=0",
];

/// A built component.
#[derive(Debug, Clone)]
pub struct Component {
    /// The name of the crate, such as `check-latest-tag`.
    pub package: String,
    /// The name of the folder of the crate, such as `latest-tag`.
    pub folder: String,
    /// The bytes of the component.
    pub bytes: Vec<u8>,
}

/// Builds all `cdylib` crates below `folders`, which belong to one cargo workspace, and returns the components sorted
/// by folder.
///
/// `target_directory` is the target directory of cargo, for incremental builds.
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
    let status = cargo.status().context(NO_CARGO)?;
    ensure!(status.success(), "cargo failed to build {}: see its messages above", list(folders));
    let output = target_directory.join(TARGET).join(PROFILE);
    packages.into_iter().map(|package| package.component(&output)).collect()
}

/// A crate of a component.
struct Package {
    name: String,
    library: String,
    folder: PathBuf,
    workspace: String,
}

impl Package {
    fn component(self, output: &Path) -> Result<Component> {
        let path = output.join(format!("{}.wasm", self.library.replace('-', "_")));
        let module = fs::read(&path).with_context(|| format!("cargo did not build {}", path.display()))?;
        let bytes = encode(&module).with_context(|| {
            format!("{} is not a component: does it call export_check! or export_bundle! of the SDK?", self.name)
        })?;
        let folder = self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Component { package: self.name, folder, bytes })
    }
}

/// Encodes a core module, whose custom sections describe its world, as a component.
fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// Returns the manifest of `folder`, or of the nearest parent or child folder with a manifest.
fn manifest_near(folder: &Path) -> Result<PathBuf> {
    let folder = folder.canonicalize().with_context(|| format!("{} does not exist", folder.display()))?;
    let above = folder.ancestors().map(|ancestor| ancestor.join("Cargo.toml")).find(|manifest| manifest.is_file());
    if let Some(manifest) = above {
        return Ok(manifest);
    }
    let mut below: Vec<_> = fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path().join("Cargo.toml")))
        .filter(|manifest| manifest.is_file())
        .collect();
    below.sort();
    below.into_iter().next().with_context(|| format!("no Cargo.toml found in, above or below {}", folder.display()))
}

/// Returns the `cdylib` packages of the workspace of `manifest` that are below one of `folders`.
fn packages(manifest: &Path, folders: &[PathBuf]) -> Result<Vec<Package>> {
    let mut cargo = cargo();
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"]).arg(manifest);
    let output = cargo.output().context(NO_CARGO)?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("the output of cargo metadata is not JSON")?;
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

/// Returns compiler flags that remove the paths of this machine from the components, so that builds are reproducible.
fn remapped_paths(packages: &[Package]) -> String {
    let cargo_home = env::var("CARGO_HOME").ok().or_else(|| env::var("HOME").ok().map(|home| format!("{home}/.cargo")));
    let workspace = packages.first().map(|package| package.workspace.clone());
    [(workspace, "/source"), (cargo_home, "/cargo")]
        .into_iter()
        .filter_map(|(from, to)| Some(format!("--remap-path-prefix={}={to}", from?)))
        .collect::<Vec<_>>()
        .join("\u{1f}")
}

/// Returns a command for cargo, without the environment variables of an outer run of cargo or clippy.
fn cargo() -> Command {
    const KEPT: [&str; 6] =
        ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_MAKEFLAGS"];
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let is_outer = text.starts_with("CARGO_") && !KEPT.iter().any(|kept| text.starts_with(kept));
        if is_outer || matches!(&*text, "RUSTFLAGS" | "RUSTC" | "RUSTDOC" | "RUSTC_WORKSPACE_WRAPPER") {
            command.env_remove(&name);
        }
    }
    command
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}
