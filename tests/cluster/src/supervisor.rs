//! Takes a control plane down when the test process ends, however it ends.
//!
//! A destructor is not enough: statics are not dropped at exit, and nothing is dropped by an abort or a SIGKILL. So two small
//! processes hold the read ends of pipes whose only write ends are in the test process, and the operating system closes
//! those for sure:
//!
//! ```text
//!   test process ──pipe──► watchdog   at the end of its input: kills the process group, removes the folder
//!        │
//!        └───────pipe────► anchor     leads the process group that all components are started in
//! ```
//!
//! The order closes every gap: the watchdog runs, and knows group and folder, before there is a folder or a component; a
//! component belongs to the group from before its first instruction; and the pipe is at its end only after a component that
//! was being started has become one, as up to then it holds a copy of the write end.

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

/// Set to anything to have the folders of control planes, with their logs, left behind.
const KEEP_VARIABLE: &str = "TEST_CLUSTER_KEEP";

/// `$1` is the process group, `$2` the folder, `$3` says whether to keep the folder. It tries more than once, since a
/// process that is being killed can still finish creating a file.
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

/// The folder and the process group of one control plane. Both are gone when this is dropped or this process ends.
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
        // The name must be known before the folder exists, and nobody must be able to guess it and be there first.
        let random = RandomState::new().build_hasher().finish();
        let folder = env::temp_dir().join(format!("test-cluster-{}-{random:016x}", process::id()));
        let keep = env::var_os(KEEP_VARIABLE).is_some();

        let anchor =
            quiet("cat").process_group(0).spawn().context("cannot start `cat`, which leads the process group")?;
        let mut watchdog = quiet("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(anchor.id().to_string())
            .arg(&folder)
            .arg(if keep { "keep" } else { "remove" })
            .process_group(0)
            .spawn()
            .context("cannot start `sh`, which takes the control plane down at the end")?;
        let pipe = watchdog.stdin.take();
        let supervisor = Self { folder, anchor, watchdog, pipe };

        let folder = supervisor.folder();
        // There are keys in it.
        DirBuilder::new().mode(0o700).create(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        if keep {
            crate::tools::tell(&format!("{KEEP_VARIABLE} is set: {} stays behind", folder.display()));
        }
        Ok(supervisor)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process group in which components are to be started.
    pub(crate) fn group(&self) -> i32 {
        // Process ids are positive numbers of this type everywhere; the standard library hands them out as unsigned.
        self.anchor.id() as i32
    }

    pub(crate) fn process_ids(&self) -> [u32; 2] {
        [self.anchor.id(), self.watchdog.id()]
    }

    /// Kills all processes of the group and removes the folder. Does nothing when called again.
    pub(crate) fn take_down(&mut self) {
        if self.pipe.take().is_some() {
            // Neither can fail in a way that anything could be done about.
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
