//! Shared code of the end-to-end tests: the program under test, its execution, and manifests.
//!
//! ```text
//!   test --> Folder, objects (manifests) --> run(kube_devops().args([...])) --> Ran (exit code, output, report)
//! ```
//!
//! Every test runs the real program and checks its user-visible output. Tests that need a cluster start their own; none can
//! reach the cluster of the user's kubeconfig.
#![forbid(unsafe_code)]

mod controller;
pub mod guests;
pub mod helm;
mod hostile;
pub mod http;
pub mod javascript;
pub mod kubectl;
pub mod objects;
pub mod operator;
mod program;
mod ran;
pub mod webhook;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub use controller::{Controller, service_account};
pub use hostile::checks_of_which_one_fails;
pub use program::{kube_devops, program};
pub use ran::{Ran, run, run_with_input};

/// Returns the workspace folder, the working folder of the program.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// A temporary folder, removed when this is dropped.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// Creates an empty folder.
    ///
    /// # Panics
    /// If no temporary folder can be created.
    #[expect(clippy::new_without_default, reason = "a default should have no effect on the disk")]
    pub fn new() -> Self {
        Self(TempDir::with_prefix("kube-devops-").expect("a temporary folder can be created"))
    }

    /// Creates a folder with these files.
    pub fn with<T: AsRef<[u8]>>(files: impl IntoIterator<Item = (impl AsRef<Path>, T)>) -> Self {
        let folder = Self::new();
        for (name, content) in files {
            folder.write(name, content);
        }
        folder
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, together with its parent folders, and returns its path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        let parent = path.parent().expect("a file is in a folder");
        fs::create_dir_all(parent).expect("a folder can be created");
        fs::write(&path, content).expect("a file can be written");
        path
    }
}

/// Returns a kubeconfig for an API server that does not exist.
pub fn unreachable_kubeconfig() -> String {
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "gone",
        "clusters": [{ "name": "gone", "cluster": { "server": "https://127.0.0.1:1" } }],
        "users": [{ "name": "gone", "user": {} }],
        "contexts": [{ "name": "gone", "context": { "cluster": "gone", "user": "gone" } }],
    });
    kubeconfig.to_string()
}
