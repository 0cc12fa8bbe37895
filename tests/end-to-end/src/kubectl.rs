//! Files as kubectl reads them, without a cluster.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Reads a file with kubectl. Returns the objects it could read, and its error output if it failed.
///
/// # Panics
/// If kubectl cannot be started, or prints something else than objects.
pub fn objects_by_kubectl(kubectl: &Path, file: &Path) -> (Vec<Value>, Option<String>) {
    let mut command = Command::new(kubectl);
    command.args(["annotate", "--local", "x=y", "-o", "json", "-f"]).arg(file);
    let output = command.env("KUBECONFIG", "/nowhere").stdin(Stdio::null()).output().expect("kubectl can be started");
    let objects = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("kubectl prints objects");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (objects, (!output.status.success()).then_some(error))
}
