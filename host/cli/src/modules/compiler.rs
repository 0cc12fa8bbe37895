//! The compiler of modules: a child process with the executable of this program.

use std::ffi::OsString;

use kube_devops_engine::{ChildCompiler, Compiler};

use crate::arguments::CompileArguments;

/// The command of the child process.
pub const COMMAND: &str = "compile-component";
/// The environment of the child.
const ENVIRONMENT: [(&str, &str); 4] = [
    // What the allocator requests in advance counts as used: a gigabyte at once, and large pages for each size and thread, which is 100 MB
    // instead of 40 MB for a component of the SDK.
    ("MIMALLOC_ARENA_EAGER_COMMIT", "0"),
    ("MIMALLOC_PAGE_COMMIT_ON_DEMAND", "1"),
    // It would wait for memory that is not there.
    ("MIMALLOC_RETRY_ON_OOM", "0"),
    ("RUST_BACKTRACE", "0"),
];

impl CompileArguments {
    /// Returns the compiler of modules.
    pub fn compiler(&self) -> Compiler {
        let environment = ENVIRONMENT.map(|(name, value)| (name.into(), value.into()));
        let memory = u64::from(self.compile_memory) * 1024 * 1024;
        Compiler::Child(ChildCompiler::new([OsString::from(COMMAND)], environment, memory))
    }
}
