//! `kube-devops`: Kubernetes governance.
#![deny(unsafe_code)]

mod allocator;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::set_up();
    kube_devops::run(std::env::args_os())
}
