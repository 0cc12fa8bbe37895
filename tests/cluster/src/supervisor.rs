//! Stops a control plane or registry when the test process ends, for any reason.
//!
//! A destructor is not enough: statics are not dropped at exit, and an abort or a SIGKILL drops nothing. So two small
//! processes hold the read ends of pipes whose only write ends are in the test process, which the operating system always
//! closes:
//!
//! ```text
//!   test process ──pipe──► watchdog   at end of input: kills the process group, removes the folder
//!        │
//!        └───────pipe────► anchor     leads the process group of all components
//! ```
//!
//! The order leaves no gap: the watchdog runs, and knows group and folder, before the folder or a component exists; a
//! component is in the group before its first instruction; and the pipe ends only after a component that is being started
//! has been executed, because until then it holds a copy of the write end.

use std::{
    collections::hash_map::RandomState,
    env,
    fs::DirBuilder,
    hash::{BuildHasher, Hasher},
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result};

/// If set, the folders of control planes and registries and their logs are kept.
const KEEP_VARIABLE: &str = "TEST_CLUSTER_KEEP";

/// `$1` is the process group, `$2` the folder, `$3` whether to keep the folder. It retries, because a process that is being
/// killed can still finish creating a file.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
while read -r _; do :; done
tries=0
while [ "$tries" -lt 100 ]; do
    kill -s KILL -- "-$1" 2>/dev/null
    if [ "$3" = keep ] || rm -rf -- "$2" 2>/dev/null; then exit 0; fi
    tries=$((tries + 1))
    sleep 0.1
done
"#;

/// The folder and the process group of one control plane or registry. Both are removed when this is dropped or this
/// process ends.
#[derive(Debug)]
pub(crate) struct Supervisor {
    folder: PathBuf,
    anchor: Child,
    watchdog: Child,
    /// The write end that the watchdog waits for.
    pipe: Option<ChildStdin>,
}

impl Supervisor {
    pub(crate) fn start() -> Result<Self> {
        // The name must be known before the folder exists, and no other process may guess it and create it first.
        let random = RandomState::new().build_hasher().finish();
        let folder = env::temp_dir().join(format!("test-cluster-{}-{random:016x}", process::id()));
        let keep = env::var_os(KEEP_VARIABLE).is_some();

        let anchor =
            quiet("cat").process_group(0).spawn().context("failed to start `cat`, the leader of the process group")?;
        let mut watchdog = quiet("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(anchor.id().to_string())
            .arg(&folder)
            .arg(if keep { "keep" } else { "remove" })
            .process_group(0)
            .spawn()
            .context("failed to start `sh`, the watchdog")?;
        let pipe = watchdog.stdin.take();
        let supervisor = Self { folder, anchor, watchdog, pipe };

        let folder = supervisor.folder();
        // It contains private keys.
        DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        if keep {
            crate::tools::log(&format!("{KEEP_VARIABLE} is set: keeping {}", folder.display()));
        }
        Ok(supervisor)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process group of the components.
    pub(crate) fn group(&self) -> i32 {
        // Process ids are positive `i32` values on every platform; the standard library returns them as unsigned.
        self.anchor.id() as i32
    }

    pub(crate) fn process_ids(&self) -> [u32; 2] {
        [self.anchor.id(), self.watchdog.id()]
    }

    /// Kills all processes of the group and removes the folder. Idempotent.
    pub(crate) fn take_down(&mut self) {
        if self.pipe.take().is_some() {
            // Neither error could be handled.
            let _ = self.watchdog.wait();
            let _ = self.anchor.wait();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.take_down();
    }
}

fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
