//! One running process.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{DEADLINE, eventually, eventually::poll};

/// On SIGTERM an API server waits up to a minute for its clients to finish.
const STOP_DEADLINE: Duration = Duration::from_secs(90);
const LINES_IN_ERRORS: usize = 25;

/// A process with everything needed to start and restart it.
#[derive(Debug)]
pub(crate) struct Process {
    /// Identifies it in messages and in the name of its log.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Environment variables in addition to those of this process.
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) folder: PathBuf,
    pub(crate) group: i32,
    pub(crate) child: Mutex<Option<Child>>,
}

impl Process {
    /// Starts it unless it already runs. Does not wait until it responds.
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
            .with_context(|| format!("failed to open {}", log.display()))?;
        writeln!(output, "==> {} {}", self.program.display(), self.arguments.join(" "))?;
        let started = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .process_group(self.group)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("failed to start {}", self.program.display()))?;
        *child = Some(started);
        Ok(())
    }

    /// Sends SIGTERM and waits for the exit.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.end(Signal::TERM).await
    }

    /// Sends SIGKILL and waits for the exit.
    pub(crate) async fn kill(&self) -> Result<()> {
        self.end(Signal::KILL).await
    }

    async fn end(&self, signal: Signal) -> Result<()> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        self.send(signal)?;
        // A paused process does not handle the signal.
        self.send(Signal::CONT)?;
        eventually(STOP_DEADLINE, "its exit", async || {
            ensure!(self.exit_status()?.is_some(), "it still runs");
            Ok(())
        })
        .await
        .with_context(|| format!("{} does not stop{}", self.name, self.log_for_error()))
    }

    /// Sends a signal if the process runs.
    pub(crate) fn send(&self, signal: Signal) -> Result<()> {
        // While the lock is held no other thread can reap the process, so the process id cannot have been reused.
        let child = self.lock();
        if let Some(child) = child.as_ref() {
            match kill_process(Pid::from_child(child), signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => bail!("failed to send signal {signal:?} to {}: {error}", self.name),
            }
        }
        Ok(())
    }

    /// Returns the process id, or `None` if it does not run.
    pub(crate) fn id(&self) -> Option<u32> {
        let mut child = self.lock();
        let child = child.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then(|| child.id())
    }

    /// Returns the exit status, or `None` while the process runs.
    fn exit_status(&self) -> Result<Option<ExitStatus>> {
        match self.lock().as_mut() {
            Some(child) => child.try_wait().with_context(|| format!("failed to get the exit status of {}", self.name)),
            None => Ok(Some(ExitStatus::from_raw(0))),
        }
    }

    /// Returns an error with the end of the log if the process does not run.
    pub(crate) fn ensure_running(&self) -> Result<()> {
        match self.exit_status()? {
            None => Ok(()),
            Some(status) => bail!("{} does not run ({status}){}", self.name, self.log_for_error()),
        }
    }

    /// Waits until `answers` succeeds, or returns an error as soon as the process exits.
    pub(crate) async fn wait_for<T, Answer: Future<Output = Result<T>>>(
        &self,
        mut answers: impl FnMut() -> Answer,
    ) -> Result<T> {
        let outcome = poll(DEADLINE, Duration::from_millis(20), "a response", || {
            let running = self.ensure_running();
            let answer = answers();
            async {
                match running {
                    Ok(()) => answer.await.map(Ok),
                    Err(error) => Ok(Err(error)),
                }
            }
        });
        outcome.await.with_context(|| format!("{} does not respond{}", self.name, self.log_for_error()))?
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        log_file(&self.folder, self.name)
    }

    /// Returns the path and the last lines of the log, to be appended to an error message. The lines are included because the
    /// file is removed at the end of the run.
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

    /// Collects the exit status after the supervisor has killed the process, so that no zombie remains.
    pub(crate) fn collect(&self) {
        if let Some(mut child) = self.lock().take() {
            let _ = child.wait();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        // No code panics while it is held, and a panicking test must still be able to stop its processes.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log of the process `name` in the folder of a control plane or registry.
pub(crate) fn log_file(folder: &Path, name: &str) -> PathBuf {
    folder.join("logs").join(format!("{name}.log"))
}
