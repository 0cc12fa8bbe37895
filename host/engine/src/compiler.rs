//! The compiler of components that are not part of the program: a child process with separate limits.
//!
//! ```text
//!   component --stdin--> child: the same executable --stdout--> native code
//!                          '--stderr, status--> why there is none
//! ```
//!
//! A small component can make the compiler use hundreds of megabytes. In the process itself, that would end it; and a compilation that
//! takes too long could not be interrupted.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kube_devops_files::Digest;
use rustix::process::Signal;

use crate::compile_child::{INVALID, MEMORY, OUTPUT};
use crate::compiled::NativeCode;
use crate::memory;
use crate::{Limits, LoadError};

/// The least memory with which a compilation is tried. A small component of the SDK needs 40 MB.
const LEAST: u64 = 32 << 20;
/// What is left for this process while the child runs.
const MARGIN: u64 = 32 << 20;
/// The most that is read of the text of the child, in bytes.
const MOST_TEXT: u64 = 16 * 1024;
/// What the text of a child contains that has crashed because an allocation failed: by the standard library, and by the compiler.
const LACK: [&str; 2] = ["memory allocation of", "out of memory"];
/// The most modules that are remembered because they need too much memory.
const MOST_REFUSED: usize = 1000;

/// Where components are compiled that are not part of the program.
#[derive(Debug, Default)]
pub enum Compiler {
    /// In this process, without limits on memory and time: only for components that are trusted.
    #[default]
    Here,
    /// In a child process.
    Child(ChildCompiler),
}

/// Compiles components in child processes with the executable of this process.
#[derive(Debug)]
pub struct ChildCompiler {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    most: u64,
    /// One child runs at a time.
    refused: Mutex<Refused>,
}

/// The memory that was not enough, in bytes, by the digest of the component.
#[derive(Debug, Default)]
struct Refused(BTreeMap<Digest, MemoryLimit>);

/// The memory for a compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The memory, in bytes.
    pub bytes: u64,
    /// Whether the limit of the container leaves no more. Otherwise, a setting does not allow more.
    pub is_left: bool,
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = if self.is_left {
            "which is what the limit of the container leaves; raise the limit"
        } else {
            "which is the most that is allowed; raise --compile-memory if you trust the module"
        };
        write!(formatter, "{} MB of memory, {reason}", self.bytes / 1_000_000)
    }
}

/// Why there is no compiled component.
pub(crate) enum Failure {
    /// The component cannot be compiled.
    Load(LoadError),
    /// The native code cannot be written.
    Output(String),
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl ChildCompiler {
    /// Creates a compiler. With `arguments`, to which the limits of memory in bytes and of CPU time in seconds are added, the executable
    /// must call [`crate::compile_as_child`]. `environment` is the whole environment of the child. `most` is the most memory of a
    /// compilation in bytes; a child never gets more than the limit of the container leaves.
    pub fn new(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        most: u64,
    ) -> Self {
        let (arguments, environment) = (arguments.into_iter().collect(), environment.into_iter().collect());
        Self { arguments, environment, most, refused: Mutex::default() }
    }

    /// Compiles a component, and writes the native code to a file.
    pub(crate) fn compile_to(&self, bytes: &[u8], limits: &Limits, file: File) -> Result<(), Failure> {
        self.within_memory(bytes, 1, |memory| run(self.command(memory, limits), file.into(), bytes, limits, memory))?;
        Ok(())
    }

    /// Compiles a component, and returns the native code.
    pub(crate) fn compile(&self, bytes: &[u8], limits: &Limits) -> Result<NativeCode, LoadError> {
        // The native code is in the memory of both processes.
        let run = |memory| run(self.command(memory, limits), Stdio::piped(), bytes, limits, memory);
        self.within_memory(bytes, 2, run).map(NativeCode).map_err(|failure| match failure {
            Failure::Load(error) => error,
            Failure::Output(text) => LoadError::Compiler(text),
        })
    }

    /// Runs one compilation with a part of the memory that is left, unless it is known that this is not enough.
    fn within_memory<T>(
        &self,
        bytes: &[u8],
        parts: u64,
        run: impl FnOnce(MemoryLimit) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = memory_limit(memory::left(), self.most, parts);
        if limit.bytes < LEAST {
            return Err(LoadError::CompileMemory(MemoryLimit { bytes: LEAST, ..limit }).into());
        }
        let digest = Digest::of(bytes);
        refused.check(&digest, limit)?;
        let result = run(limit);
        if let Err(Failure::Load(LoadError::CompileMemory(limit))) = &result {
            refused.add(digest, *limit);
        }
        result
    }

    fn command(&self, memory: MemoryLimit, limits: &Limits) -> io::Result<Command> {
        let mut command = Command::new(executable()?);
        command.args(&self.arguments).arg(memory.bytes.to_string()).arg(limits.compile_cpu_time.as_secs().to_string());
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value))).current_dir("/");
        Ok(command)
    }
}

impl Refused {
    /// Returns the error of the last compilation if there is not considerably more memory than then.
    fn check(&self, digest: &Digest, limit: MemoryLimit) -> Result<(), LoadError> {
        match self.0.get(digest) {
            Some(before) if limit.bytes < before.bytes + before.bytes / 4 => Err(LoadError::CompileMemory(*before)),
            _ => Ok(()),
        }
    }

    fn add(&mut self, digest: Digest, limit: MemoryLimit) {
        if self.0.len() >= MOST_REFUSED {
            self.0.clear();
        }
        self.0.insert(digest, limit);
    }
}

/// The memory for a compilation: what the container leaves, without a margin, in equal parts; and `most` at most.
fn memory_limit(left: Option<u64>, most: u64, parts: u64) -> MemoryLimit {
    let left = left.map_or(u64::MAX, |left| left.saturating_sub(MARGIN) / parts);
    MemoryLimit { bytes: left.min(most), is_left: left < most }
}

/// The executable of this process, also if its file was replaced or removed since.
fn executable() -> io::Result<PathBuf> {
    let link = Path::new("/proc/self/exe");
    if link.exists() { Ok(link.to_owned()) } else { std::env::current_exe() }
}

/// Runs the child, and returns what it wrote to a pipe.
fn run(
    command: io::Result<Command>,
    output: Stdio,
    bytes: &[u8],
    limits: &Limits,
    memory: MemoryLimit,
) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| LoadError::Compiler(format!("the child process cannot be started: {error}"));
    let mut command = command.map_err(failed)?;
    let mut child = command.stdin(Stdio::piped()).stdout(output).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let most = limits.native_code as u64 + 1;
    let (sender, ended) = mpsc::channel();
    let result = thread::scope(|scope| {
        let start = || {
            // A child that ends before it has read everything says why.
            let write = move || input.map(|mut input| input.write_all(bytes));
            thread::Builder::new().spawn_scoped(scope, write)?;
            let native = thread::Builder::new().spawn_scoped(scope, move || read(output, most))?;
            let read_text = move || {
                let text = read(errors, MOST_TEXT);
                drop(sender);
                text
            };
            Ok((native, thread::Builder::new().spawn_scoped(scope, read_text)?))
        };
        let started: io::Result<_> = start();
        if started.is_err() {
            let _ = child.kill();
        }
        let status = wait(&mut child, &ended, limits.compile_time);
        let (native, text) = started?;
        Ok((status?, native.join().unwrap_or_default(), text.join().unwrap_or_default()))
    });
    let (status, native, text) = result.map_err(|error: io::Error| LoadError::Compiler(error.to_string()))?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let Some(status) = status else { return Err(LoadError::CompileTime(limits.compile_time).into()) };
    match failure(status, text, limits, memory) {
        Some(failure) => Err(failure),
        None => Ok(native),
    }
}

/// Reads at most `most` bytes, and discards the rest, so that the child does not wait.
fn read(source: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        // An incomplete text explains what it can, and incomplete native code is not loaded.
        let _ = source.by_ref().take(most).read_to_end(&mut bytes);
        let _ = io::copy(&mut source, &mut io::sink());
    }
    bytes
}

/// Waits until the child has ended, which closes its standard error, or ends it after the time limit.
fn wait(child: &mut Child, ended: &Receiver<()>, time: Duration) -> io::Result<Option<ExitStatus>> {
    if ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    }
    child.wait().map(Some)
}

/// Why the child has failed, if it has.
fn failure(status: ExitStatus, text: String, limits: &Limits, memory: MemoryLimit) -> Option<Failure> {
    let signal = |signal: Signal| status.signal() == Some(signal.as_raw());
    let error = if status.success() {
        return None;
    } else if status.code() == Some(OUTPUT.into()) {
        return Some(Failure::Output(text));
    } else if status.code() == Some(INVALID.into()) {
        LoadError::Compile(text)
    } else if signal(Signal::XCPU) {
        LoadError::CompileCpuTime(limits.compile_cpu_time)
    } else if signal(Signal::KILL) {
        // If the container or the node has no memory left, the kernel kills the child first, also if others use the memory: another
        // attempt may succeed.
        LoadError::CompilerKilled
    } else if status.code() == Some(MEMORY.into()) || LACK.iter().any(|lack| text.contains(lack)) {
        LoadError::CompileMemory(memory)
    } else {
        LoadError::CompilerCrash(format!("{status}: {text}"))
    };
    Some(Failure::Load(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 1 << 30;
    const LIMIT: MemoryLimit = MemoryLimit { bytes: 100 << 20, is_left: true };

    #[test]
    fn the_memory_is_what_the_container_leaves_or_the_setting_allows() {
        let limit = |bytes, is_left| MemoryLimit { bytes, is_left };
        assert_eq!(memory_limit(None, MOST, 1), limit(MOST, false));
        assert_eq!(memory_limit(None, MOST, 2), limit(MOST, false));
        assert_eq!(memory_limit(Some(MARGIN + 1000), MOST, 1), limit(1000, true));
        assert_eq!(memory_limit(Some(MARGIN + 1000), MOST, 2), limit(500, true));
        assert_eq!(memory_limit(Some(MARGIN + 1000), 100, 1), limit(100, false));
        assert_eq!(memory_limit(Some(1000), MOST, 1), limit(0, true));
    }

    #[test]
    fn the_end_of_the_child_says_what_is_wrong() {
        let with = |status: i32, text: &str| match failure(
            ExitStatus::from_raw(status),
            text.to_owned(),
            &Limits::default(),
            LIMIT,
        ) {
            None => "nothing".to_owned(),
            Some(Failure::Output(text)) => format!("output: {text}"),
            Some(Failure::Load(error)) => error.to_string(),
        };
        let code = |code: u8, text| with(i32::from(code) << 8, text);
        let signal = |signal: Signal, text| with(signal.as_raw(), text);
        assert_eq!(code(0, ""), "nothing");
        assert_eq!(code(OUTPUT, "no space"), "output: no space");
        assert_eq!(code(INVALID, "bad"), "the module is not a valid WebAssembly component: bad");
        let memory = "compiling the module needs more than 104 MB of memory, which is what the limit of the container leaves; \
                      raise the limit";
        assert_eq!(signal(Signal::ABORT, "memory allocation of 5 bytes failed"), memory);
        assert_eq!(code(MEMORY, ""), memory);
        assert!(signal(Signal::KILL, "").starts_with("the compiler was killed"), "which says nothing about the module");
        assert_eq!(code(101, "unhandled out-of-memory error: out of memory (failed to allocate 5 bytes)"), memory);
        assert!(signal(Signal::XCPU, "").contains("60s of CPU time"));
        assert_eq!(
            signal(Signal::ABORT, "stack overflow"),
            "the compiler crashed: signal: 6 (SIGABRT): stack overflow"
        );
        assert!(code(101, "a panic").starts_with("the compiler crashed: exit status: 101: a panic"));
    }

    #[test]
    fn what_needs_too_much_memory_is_compiled_again_only_with_more() {
        let (mut refused, digest) = (Refused::default(), Digest::of(b"large"));
        assert!(refused.check(&digest, LIMIT).is_ok());
        refused.add(digest.clone(), LIMIT);
        let with = |bytes| refused.check(&digest, MemoryLimit { bytes, is_left: true });
        for bytes in [50 << 20, LIMIT.bytes, 124 << 20] {
            assert!(matches!(with(bytes), Err(LoadError::CompileMemory(LIMIT))), "{bytes}");
        }
        assert!(with(125 << 20).is_ok() && refused.check(&Digest::of(b"other"), LIMIT).is_ok());
    }
}
