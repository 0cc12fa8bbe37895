//! The compiler target for components.

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::TARGET;

/// Ensures that the compiler can build for [`TARGET`], and installs the target if rustup manages the toolchain.
pub fn ensure_target() -> Result<()> {
    if is_installed()? {
        return Ok(());
    }
    // A message that cannot be written does not matter.
    let _ = writeln!(std::io::stderr(), "installing the standard library for {TARGET}");
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
        Ok(output) => format!("rustup reported: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => format!("failed to start rustup: {error}"),
    };
    bail!(
        "the Rust compiler cannot build for {TARGET}, the target of checks and bundles.\n\
         Run `rustup target add {TARGET}`, or install the target with the package manager of your Rust compiler.\n{reason}"
    )
}

fn is_installed() -> Result<bool> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .with_context(|| format!("failed to start {}; install Rust from https://rustup.rs", rustc.to_string_lossy()))?;
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(folder.trim()).is_dir())
}
