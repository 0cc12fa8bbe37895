//! The compilation of a module, within the memory of the container: a container that exceeds its limit is killed, and would be killed again
//! after each restart.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kube_devops_engine::{Engine, LoadedModule};

use super::store::{Load, LoadFailure};

/// The memory of a compilation regardless of the size of the component, in bytes.
const BASE: u64 = 40_000_000;
/// The memory of a compilation for each byte of a component. Measured with components of 1.1 MB (JavaScript, 55 MB) and 19.4 MB (Python,
/// 365 MB).
const FOR_EACH_BYTE: u64 = 18;

/// Compiles and loads a version, if there is memory for it.
pub fn compile(engine: &Engine, load: &Load) -> Result<Arc<LoadedModule>, LoadFailure> {
    let needed = needed(load.content.bytes.len());
    if let Some(available) = available().filter(|available| *available < needed && !engine.has(&load.content.bytes)) {
        let (needed, available) = (needed / 1_000_000, available / 1_000_000);
        let message = format!(
            "compiling the module needs up to {needed} MB of memory, and the limit of the container leaves {available} MB; raise it"
        );
        // There may be more memory later.
        return Err(LoadFailure { reason: "MemoryLimit", message, is_temporary: true });
    }
    let compile = || LoadedModule::compile(engine, &load.content.bytes, &load.content.digest, load.grants);
    match catch_unwind(AssertUnwindSafe(compile)) {
        Ok(loaded) => loaded.map(Arc::new).map_err(|error| LoadFailure::from(&error)),
        Err(_) => {
            let message = "loading the module crashed".to_owned();
            Err(LoadFailure { reason: "LoadFailed", message, is_temporary: false })
        }
    }
}

/// Returns the memory that the compilation of a component of `size` bytes needs at most, in bytes.
fn needed(size: usize) -> u64 {
    BASE + FOR_EACH_BYTE * size as u64
}

/// Returns the memory that the limit of the container leaves, in bytes; `None` if there is no limit.
fn available() -> Option<u64> {
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    free(&read("memory.max")?, &read("memory.stat")?)
}

/// The part of a limit that is not used by memory that cannot be reclaimed.
fn free(limit: &str, statistics: &str) -> Option<u64> {
    let limit: u64 = limit.trim().parse().ok()?;
    let used = ["anon ", "kernel "].iter().filter_map(|name| {
        let line = statistics.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    });
    Some(limit.saturating_sub(used.sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_without_used_memory_is_available() {
        let statistics = "anon 1000\nfile 5000\nkernel 500\nkernel_stack 7\n";
        assert_eq!(free("10000\n", statistics), Some(8500));
        assert_eq!(free("100\n", statistics), Some(0));
        assert_eq!(free("max\n", statistics), None);
    }

    #[test]
    fn small_modules_fit_into_the_limit_of_the_chart() {
        assert!(needed(1_100_000) < 64_000_000 && needed(19_400_000) > 350_000_000);
    }
}
