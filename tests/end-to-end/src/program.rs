//! The program under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::root;

/// Returns a command that runs the program in the workspace folder in a fixed environment: no terminal, 100 columns, no
/// kubeconfig.
pub fn kube_devops() -> Command {
    let mut command = Command::new(program());
    command
        .current_dir(root())
        .env("COLUMNS", "100")
        .env("TERM", "xterm-256color")
        .env("HOME", root().join("no-such-home"))
        .env("KUBECONFIG", root().join("no-such-kubeconfig"))
        .stdin(Stdio::null());
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "RUST_BACKTRACE", "RUST_LOG", "KUBERNETES_SERVICE_HOST"] {
        command.env_remove(name);
    }
    command
}

/// Returns the path of the program.
///
/// Cargo provides no path to programs of other packages, and `cargo test` may not have built it. So it is built here, once
/// per test file; that takes no time if it is up to date.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build)
}

/// Builds the program in the target folder and the profile of this test.
fn build() -> PathBuf {
    let test = env::current_exe().expect("a process knows its executable");
    let build = Build::of(&test).unwrap_or_else(|| panic!("{} was not built by cargo", test.display()));
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(root())
        // The features of the whole workspace, like `cargo test --workspace`: nothing is compiled twice.
        .args(["build", "--workspace", "--bin", "kube-devops"])
        .args(["--message-format", "json-render-diagnostics", "--profile", &build.profile, "--target-dir"])
        .arg(&build.target)
        .stdin(Stdio::null());
    if let Some(platform) = &build.platform {
        command.args(["--target", platform]);
    }
    // These variables are set for the compilation of the test and would make cargo consider its cache outdated.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")) {
        command.env_remove(name);
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    let output = command.output().expect("cargo can be started");
    assert!(output.status.success(), "failed to build kube-devops:\n{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("cargo writes JSON");
    let executable = messages.lines().filter_map(executable).next_back();
    executable.expect("cargo names the program it built")
}

/// Returns the path of the program if a message of cargo reports it as built.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_program = message["target"]["name"] == "kube-devops";
    message["executable"].as_str().filter(|_| is_program).map(PathBuf::from)
}

/// The target folder, profile and platform of a build.
#[derive(Debug, PartialEq, Eq)]
struct Build {
    target: PathBuf,
    profile: String,
    platform: Option<String>,
}

impl Build {
    /// Parses the path of a test program, `<target>/[<platform>/]<profile>/deps/<test>`.
    fn of(test: &Path) -> Option<Self> {
        let profile = test.parent()?.parent()?;
        let name = profile.file_name()?.to_str()?;
        let name = if name == "debug" { "dev" } else { name };
        let above = profile.parent()?;
        let is_target = above.join("CACHEDIR.TAG").exists() || above.join(".rustc_info.json").exists();
        let (target, platform) =
            if is_target { (above, None) } else { (above.parent()?, Some(above.file_name()?.to_str()?.to_owned())) };
        Some(Self { target: target.to_owned(), profile: name.to_owned(), platform })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folder;

    #[test]
    fn the_path_of_a_test_contains_profile_and_platform() {
        let folder = Folder::with([("CACHEDIR.TAG", "")]);
        let build = |path: &str| Build::of(&folder.path().join(path)).map(|build| (build.profile, build.platform));
        assert_eq!(build("debug/deps/test"), Some(("dev".to_owned(), None)));
        assert_eq!(build("release/deps/test"), Some(("release".to_owned(), None)));
        let platform = "x86_64-unknown-linux-musl";
        let built = build(&format!("{platform}/debug/deps/test"));
        assert_eq!(built, Some(("dev".to_owned(), Some(platform.to_owned()))));
    }
}
