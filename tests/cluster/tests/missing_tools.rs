//! Error messages for missing programs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Result, ensure};

/// Runs the program `control-plane` from a folder outside of cargo's target folder, so that it finds no earlier build.
fn run(folder: &Path, path: &Path, assets: Option<&Path>) -> Result<Output> {
    let program = folder.join("control-plane");
    // A file written by this process could still be open in a child that another test is starting, and executing it would
    // fail with "text file busy".
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_control-plane")).arg(&program).status()?;
    ensure!(copied.success(), "cp: {copied}");
    let mut command = Command::new(program);
    command.env("CARGO_TARGET_DIR", folder.join("target")).env("PATH", path).env_remove("KUBEBUILDER_ASSETS");
    if let Some(assets) = assets {
        command.env("KUBEBUILDER_ASSETS", assets);
    }
    Ok(command.output()?)
}

#[test]
fn without_go_the_error_names_the_required_version() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = run(folder.path(), folder.path(), None)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("building needs Go 1."), "{stderr}");
    assert!(stderr.contains("failed to start `go`"), "{stderr}");
    assert!(stderr.contains("set KUBEBUILDER_ASSETS to a folder with these programs"), "{stderr}");
    Ok(())
}

#[test]
fn the_error_of_an_outdated_go_is_quoted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let go = folder.path().join("go");
    fs::write(&go, "#!/bin/sh\necho 'go: go.mod requires go >= 1.26.0 (running go 1.20)' >&2\nexit 1\n")?;
    fs::set_permissions(&go, fs::Permissions::from_mode(0o755))?;
    let output = run(folder.path(), folder.path(), None)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("`go` reports: go: go.mod requires go >= 1.26.0 (running go 1.20)"), "{stderr}");
    Ok(())
}

#[test]
fn programs_missing_from_the_assets_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let assets = folder.path().join("assets");
    fs::create_dir(&assets)?;
    for name in ["etcd", "kube-apiserver", "kubectl"] {
        fs::write(assets.join(name), "")?;
    }
    let output = run(folder.path(), folder.path(), Some(&assets))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains(
            "does not contain kube-controller-manager, kube-scheduler, kwok, and building from source failed"
        ),
        "{stderr}"
    );
    Ok(())
}
