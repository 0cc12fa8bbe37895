//! `kube-devops`: Kubernetes governance.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    kube_devops::run(std::env::args_os())
}
