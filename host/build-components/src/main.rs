//! `build-components [FOLDER...]` builds checks and bundles into `target/policies/*.wasm`.
#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut folders: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        folders = vec!["policies".into(), "bundles".into()];
    }
    let output = Path::new("target/policies");
    fs::create_dir_all(output).with_context(|| format!("failed to create {}", output.display()))?;
    for component in kube_devops_build_components::build(&folders, Path::new("target/components"))? {
        let path = output.join(format!("{}.wasm", component.folder));
        let unfinished = path.with_extension("unfinished");
        fs::write(&unfinished, &component.bytes)
            .and_then(|()| fs::rename(&unfinished, &path))
            .with_context(|| format!("failed to write {}", path.display()))?;
        println!("{} ({} KB)", path.display(), component.bytes.len().div_ceil(1000));
    }
    Ok(())
}
