//! One running component.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{component::Component, eventually};

/// An API server that is asked to stop first lets its clients finish, for up to a minute.
const STOP_DEADLINE: Duration = Duration::from_secs(90);
const LINES_IN_ERRORS: usize = 25;

/// A component with all that is needed to start it, and start it again.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) component: Component,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) folder: PathBuf,
    pub(crate) group: i32,
    pub(crate) child: Mutex<Option<Child>>,
}

impl Process {
    /// Starts the component unless it runs already. Does not wait until it answers.
    pub(crate) fn start(&self) -> Result<()> {
        let mut child = self.lock();
        if child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))) {
            return Ok(());
        }
        let log = self.log_file();
        let mut output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        writeln!(output, "==> {} {}", self.program.display(), self.arguments.join(" "))?;
        let started = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .process_group(self.group)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        *child = Some(started);
        Ok(())
    }

    /// Asks the process to stop, and waits until it has.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.end(Signal::TERM).await
    }

    /// Ends the process on the spot, and waits until it is gone.
    pub(crate) async fn kill(&self) -> Result<()> {
        self.end(Signal::KILL).await
    }

    async fn end(&self, signal: Signal) -> Result<()> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        self.send(signal)?;
        // A paused process does not see that it is to stop.
        self.send(Signal::CONT)?;
        eventually(STOP_DEADLINE, "its end", async || {
            ensure!(self.exit_status()?.is_some(), "it still runs");
            Ok(())
        })
        .await
        .with_context(|| format!("{} does not stop{}", self.component, self.log_for_error()))
    }

    /// Sends a signal; one that is not running does not get it.
    pub(crate) fn send(&self, signal: Signal) -> Result<()> {
        // Holding the lock: nobody can collect the exit status meanwhile, so the process id cannot have been reused.
        let child = self.lock();
        if let Some(child) = child.as_ref() {
            match kill_process(Pid::from_child(child), signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => bail!("cannot send signal {signal:?} to {}: {error}", self.component),
            }
        }
        Ok(())
    }

    /// The process id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        let mut child = self.lock();
        let child = child.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then(|| child.id())
    }

    /// How the process ended; none while it runs.
    fn exit_status(&self) -> Result<Option<ExitStatus>> {
        match self.lock().as_mut() {
            Some(child) => child.try_wait().with_context(|| format!("cannot look after {}", self.component)),
            None => Ok(Some(ExitStatus::from_raw(0))),
        }
    }

    /// An error with the end of the log when the process does not run.
    pub(crate) fn ensure_running(&self) -> Result<()> {
        match self.exit_status()? {
            None => Ok(()),
            Some(status) => bail!("{} does not run ({status}){}", self.component, self.log_for_error()),
        }
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.component.log_file(&self.folder)
    }

    /// Where the log is and how it ends, to be put behind the message of an error. The file itself is removed at the end of
    /// the run, hence the lines.
    pub(crate) fn log_for_error(&self) -> String {
        let path = self.log_file();
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(LINES_IN_ERRORS)..].join("\n    ");
        format!(
            "\n  the log {} (TEST_CLUSTER_KEEP=1 keeps it after the test) ends with:\n    {end}\n  ",
            path.display()
        )
    }

    /// Collects the exit status after the supervisor has killed the process, so that no zombie stays.
    pub(crate) fn collect(&self) {
        if let Some(mut child) = self.lock().take() {
            let _ = child.wait();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        // Nothing panics while it is held, and a panicking test must still be able to stop its processes.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
