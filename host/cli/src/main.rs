//! `kube-devops`: Kubernetes governance.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Much of the work is small texts that come and go on all cores.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kube_devops::run(std::env::args_os())
}
