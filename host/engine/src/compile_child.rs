//! The child process that compiles a component.

use std::io::{self, Read, Write};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Limits, configuration};

/// The status of a child that cannot compile the component.
pub const INVALID: u8 = 3;
/// The status of a child that cannot start its threads, or read or write what it needs to.
pub const OUTPUT: u8 = 4;
/// The status of a child for which there is not enough memory.
pub const MEMORY: u8 = 5;

/// The most threads. Each needs more memory.
const THREADS: usize = 4;

/// Limits this process, and compiles the component on standard input to native code on standard output. This is the whole work of a
/// process that [`crate::ChildCompiler`] starts. Returns its exit code.
pub fn compile_as_child(memory: u64, cpu_time: Duration) -> u8 {
    match compile(memory, cpu_time) {
        Ok(()) => 0,
        Err((status, text)) => {
            let _ = writeln!(io::stderr(), "{text}");
            status
        }
    }
}

fn compile(memory: u64, cpu_time: Duration) -> Result<(), (u8, String)> {
    restrict(memory, cpu_time).map_err(|error| (OUTPUT, format!("the compiler cannot be limited: {error}")))?;
    // Before the memory is used, so that a thread that cannot be started is no crash.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let started = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    started.map_err(|error| (OUTPUT, format!("the threads of the compiler cannot be started: {error}")))?;
    let limits = Limits::default();
    let mut component = Vec::new();
    let input = io::stdin().lock().take(limits.module as u64 + 1).read_to_end(&mut component);
    input.map_err(|error| (OUTPUT, format!("the component cannot be read: {error}")))?;
    let invalid = |error: wasmtime::Error| match error.downcast_ref::<wasmtime::OutOfMemory>() {
        Some(_) => (MEMORY, String::new()),
        None => (INVALID, format!("{error:#}")),
    };
    let engine = wasmtime::Engine::new(&configuration(&limits)).map_err(invalid)?;
    let native = engine.precompile_component(&component).map_err(invalid)?;
    if native.len() > limits.native_code {
        let (size, most) = (native.len(), limits.native_code);
        return Err((INVALID, format!("its compiled code has {size} bytes; at most {most} are allowed")));
    }
    let mut output = io::stdout().lock();
    let written = output.write_all(&native).and_then(|()| output.flush());
    written.map_err(|error| (OUTPUT, format!("the compiled code cannot be written: {error}")))
}

/// Limits this process, and lets it end with its parent.
fn restrict(memory: u64, cpu_time: Duration) -> io::Result<()> {
    let limit = |resource, current, maximum| setrlimit(resource, lower(current, maximum, getrlimit(resource).maximum));
    // What is allocated, also by threads for their stacks; without what is mapped from files, such as the program itself.
    limit(Resource::Data, memory, memory)?;
    // A hard limit would end the process with SIGKILL, which says nothing about the component.
    let seconds = cpu_time.as_secs();
    limit(Resource::Cpu, seconds, seconds + 5)?;
    limit(Resource::Core, 0, 0)?;
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // If the memory of the container is exhausted nevertheless, this process is killed and not its parent.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    }
    Ok(())
}

/// A limit that is no higher than the hard limit of this process, which it must not raise.
fn lower(current: u64, maximum: u64, hard: Option<u64>) -> Rlimit {
    let maximum = hard.map_or(maximum, |hard| hard.min(maximum));
    Rlimit { current: Some(current.min(maximum)), maximum: Some(maximum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_no_higher_than_that_of_the_process() {
        let limit = |current, maximum| Rlimit { current: Some(current), maximum: Some(maximum) };
        assert_eq!(lower(60, 65, None), limit(60, 65));
        assert_eq!(lower(60, 65, Some(100)), limit(60, 65));
        assert_eq!(lower(60, 65, Some(62)), limit(60, 62));
        assert_eq!(lower(60, 65, Some(1)), limit(1, 1));
    }
}
