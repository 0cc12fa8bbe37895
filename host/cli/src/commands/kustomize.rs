//! What a kustomization results in, rendered by the program that the user has: kubectl, or kustomize itself.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use kube_devops_manifests::Rendered;

/// The programs that render a kustomization, and their arguments before the folder.
const PROGRAMS: [(&str, &str); 2] = [("kubectl", "kustomize"), ("kustomize", "build")];

/// The manifests of a kustomization.
pub fn render(folder: &Path) -> Result<Rendered> {
    if !folder.is_dir() {
        bail!("{} is not a folder; --kustomize takes the folder with the kustomization", folder.display());
    }
    for (program, command) in PROGRAMS {
        let output = match run(program, command, folder.as_os_str()) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            output => output.with_context(|| format!("failed to run {program}"))?,
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("failed to render {}: {program} {command}: {}", folder.display(), said.trim());
        }
        let text = String::from_utf8(output.stdout)
            .with_context(|| format!("{program} printed something that is not UTF-8"))?;
        return Ok(Rendered { name: folder.to_string_lossy().into(), text });
    }
    bail!("neither kubectl nor kustomize was found; install one of them, or pipe what is rendered elsewhere to `-f -`")
}

fn run(program: &str, command: &str, folder: &OsStr) -> std::io::Result<std::process::Output> {
    Command::new(program).args([command, "--"]).arg(folder).stdin(Stdio::null()).output()
}
