//! The compiler target that components need.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::TARGET;

/// Makes sure that the compiler can build for [`TARGET`]; where rustup manages the toolchain, it fetches what is missing.
pub fn ensure_target() -> Result<()> {
    if is_installed()? {
        return Ok(());
    }
    eprintln!("fetching the standard library for {TARGET}, once");
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]);
    if let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") {
        rustup.arg("--toolchain").arg(toolchain);
    }
    let outcome = rustup.output();
    if is_installed()? {
        return Ok(());
    }
    let reason = match outcome {
        Ok(output) => format!("rustup said: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => format!("rustup could not be started: {error}"),
    };
    bail!(
        "the Rust compiler cannot build for {TARGET}, which checks and bundles are compiled to.\n\
         Run `rustup target add {TARGET}`, or install that target with the package manager that your Rust came from.\n{reason}"
    )
}

fn is_installed() -> Result<bool> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .with_context(|| format!("{} could not be started: is Rust installed?", rustc.to_string_lossy()))?;
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(folder.trim()).is_dir())
}
