//! What a person is told who lacks the programs.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Result, ensure};

/// Runs the program `control-plane` from a folder outside of cargo's, so that it finds nothing that was built before.
fn run(folder: &Path, path: &Path, assets: Option<&Path>) -> Result<Output> {
    let program = folder.join("control-plane");
    // A file that this process writes could still be open in a child that another test is starting, and then be too busy to
    // be run.
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
fn without_go_it_says_what_is_needed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = run(folder.path(), folder.path(), None)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("building needs Go 1."), "{said}");
    assert!(said.contains("`go` cannot be started"), "{said}");
    assert!(said.contains("a folder that has them, named by KUBEBUILDER_ASSETS, spares the build"), "{said}");
    Ok(())
}

#[test]
fn a_go_that_is_too_old_is_quoted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let go = folder.path().join("go");
    fs::write(&go, "#!/bin/sh\necho 'go: go.mod requires go >= 1.26.0 (running go 1.20)' >&2\nexit 1\n")?;
    fs::set_permissions(&go, fs::Permissions::from_mode(0o755))?;
    let output = run(folder.path(), folder.path(), None)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`go` says: go: go.mod requires go >= 1.26.0 (running go 1.20)"), "{said}");
    Ok(())
}

#[test]
fn assets_that_lack_programs_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let assets = folder.path().join("assets");
    fs::create_dir(&assets)?;
    for name in ["etcd", "kube-apiserver", "kubectl"] {
        fs::write(assets.join(name), "")?;
    }
    let output = run(folder.path(), folder.path(), Some(&assets))?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("lacks kube-controller-manager, kube-scheduler, kwok, and building did not work either"),
        "{said}"
    );
    Ok(())
}
