//! What the end-to-end tests share: the program under test, how it is run, and manifests for it.
//!
//! ```text
//!   test --> Folder, objects (manifests) --> run(kube_devops().args([...])) --> Ran (exit code, output, report)
//! ```
//!
//! Every test runs the real program and looks at what its user would see. Tests that need a cluster start one of their own;
//! none can reach the one that the person at the keyboard works with.
#![forbid(unsafe_code)]

mod controller;
mod hostile;
pub mod http;
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

/// The folder of the whole workspace, which the program runs in.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// A folder with files in it, which is gone when the test is over.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// An empty folder.
    ///
    /// # Panics
    /// When no temporary folder can be made.
    #[expect(clippy::new_without_default, reason = "a default should have no effect on the disk")]
    pub fn new() -> Self {
        Self(TempDir::with_prefix("kube-devops-").expect("a temporary folder can be made"))
    }

    /// A folder with these files.
    pub fn with<T: AsRef<[u8]>>(files: impl IntoIterator<Item = (impl AsRef<Path>, T)>) -> Self {
        let folder = Self::new();
        for (name, content) in files {
            folder.write(name, content);
        }
        folder
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, together with the folders on the way, and gives its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        let parent = path.parent().expect("a file is in a folder");
        fs::create_dir_all(parent).expect("a folder can be made");
        fs::write(&path, content).expect("a file can be written");
        path
    }
}

/// A kubeconfig of an API server that is not there.
pub fn kubeconfig_of_nothing() -> String {
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "gone",
        "clusters": [{ "name": "gone", "cluster": { "server": "https://127.0.0.1:1" } }],
        "users": [{ "name": "gone", "user": {} }],
        "contexts": [{ "name": "gone", "context": { "cluster": "gone", "user": "gone" } }],
    });
    kubeconfig.to_string()
}
